//! Changes that a tracer makes to the calls of its tracee.

use super::exit;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::mem::offset_of;

/// clone(2) with these flags, as fork calls it.
fn clone(flags: i32) -> i64 {
    let flags = i64::from(flags | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child has a copy of everything.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }
}

/// Makes a task that is traced by this one, stopped, and then calls clone(2), clone3(2), unshare(2), setns(2), chroot(2)
/// and pivot_root(2); `tracer` acts on it until it has ended.
fn traced(tracer: &mut dyn FnMut(Pid)) {
    // SAFETY: the child only makes system calls.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            let _ = ptrace::traceme();
            let _ = nix::sys::signal::raise(Signal::SIGSTOP);
            if clone(libc::CLONE_NEWUTS) == 0 {
                exit();
            }
            let path = c"/nowhere".as_ptr();
            let args = [
                libc::CLONE_NEWUTS.unsigned_abs().into(),
                0,
                0,
                0,
                libc::SIGCHLD.unsigned_abs().into(),
                0,
                0,
                0_u64,
            ];
            // SAFETY: as above, and the arguments have the size that is passed.
            if unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) } == 0 {
                exit();
            }
            // SAFETY: the paths are strings, and nothing else is a pointer.
            unsafe {
                libc::unshare(-1);
                libc::syscall(libc::SYS_setns, -1, 0);
                libc::chroot(path);
                libc::syscall(libc::SYS_pivot_root, path, path);
            }
            exit();
        }
        ForkResult::Parent { child } => {
            waitpid(child, None).expect("it stops");
            let options = Options::PTRACE_O_TRACEFORK
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_EXITKILL;
            ptrace::setoptions(child, options).expect("a traced task");
            tracer(child);
            // Its child is traced as well.
            while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
                let _ = match status {
                    // A task that cannot even call exit, because its syscall number was hidden, is ended by the fault
                    // that follows.
                    WaitStatus::Stopped(pid, signal) if signal != Signal::SIGSTOP => {
                        ptrace::cont(pid, signal)
                    }
                    WaitStatus::Stopped(pid, _)
                    | WaitStatus::PtraceEvent(pid, ..)
                    | WaitStatus::PtraceSyscall(pid) => ptrace::cont(pid, None),
                    _ => Ok(()),
                };
            }
        }
    }
}

/// The offsets of the system call number, and of its result.
const NUMBER: usize = offset_of!(libc::user_regs_struct, orig_rax);
const RESULT: usize = offset_of!(libc::user_regs_struct, rax);

fn poke(pid: Pid, register: usize, value: i64) {
    // Fails if the task was killed.
    let _ = ptrace::write_user(pid, register as ptrace::AddressType, value);
}

/// Rewrites the number of clone(2) in the middle, `count` times, so that no tracepoint shows its return, and ends the
/// task.
pub fn leave_nothing_seen(count: usize) {
    for _ in 0..count {
        traced(&mut |pid| {
            let _ = ptrace::cont(pid, None);
            if let Ok(WaitStatus::PtraceEvent(..)) = waitpid(pid, None) {
                poke(pid, NUMBER, -1);
            }
            let _ = ptrace::kill(pid);
        });
    }
}

/// Does the same in a thread that then executes a program, and so gets the pid of its process.
pub fn leave_by_exec(count: usize) {
    let options = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    for _ in 0..count {
        // SAFETY: the child has one thread, which goes on like a process of its own, and does not return.
        if let ForkResult::Child = unsafe { fork() }.expect("fork") {
            let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(call_and_execute);
            let _ = thread.map(std::thread::JoinHandle::join);
            exit();
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
            let _ = match status {
                WaitStatus::PtraceEvent(pid, ..) => {
                    poke(pid, NUMBER, -1);
                    ptrace::cont(pid, None)
                }
                WaitStatus::Stopped(pid, Signal::SIGSTOP) => {
                    let _ = ptrace::setoptions(pid, options);
                    ptrace::cont(pid, None)
                }
                // Of exec.
                WaitStatus::Stopped(pid, Signal::SIGTRAP) => ptrace::cont(pid, None),
                WaitStatus::Stopped(pid, signal) => ptrace::cont(pid, signal),
                _ => Ok(()),
            };
        }
    }
}

/// Has this thread traced by the parent of its process, calls clone(2), and executes a program.
fn call_and_execute() {
    let _ = ptrace::traceme();
    let _ = nix::sys::signal::raise(Signal::SIGSTOP);
    if clone(libc::CLONE_NEWUTS) == 0 {
        exit();
    }
    let (program, none) = (c"/bin/true".as_ptr(), std::ptr::null());
    // SAFETY: arrays that end with a null pointer, of strings.
    unsafe { libc::execve(program, [program, none].as_ptr(), [none].as_ptr()) };
    exit();
}

/// At each stop in turn: kills the task, hides the number of its call, and replaces it by others with a successful
/// result.
pub fn every_stop() {
    const STOPS: usize = 16;
    let calls =
        [libc::SYS_unshare, libc::SYS_setns, libc::SYS_chroot, libc::SYS_pivot_root, libc::SYS_clone3];
    for stop in 0..STOPS {
        for action in 0..calls.len() + 2 {
            traced(&mut |pid| {
                for _ in 0..stop {
                    let _ = ptrace::syscall(pid, None);
                    let ended = |status| matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
                    if waitpid(pid, None).is_ok_and(ended) {
                        return;
                    }
                }
                match action {
                    0 => {
                        let _ = ptrace::kill(pid);
                    }
                    1 => poke(pid, NUMBER, -1),
                    other => {
                        // Skipped before seccomp and the probe can see it, with a number and a result set by its
                        // tracer.
                        poke(pid, NUMBER, calls[other - 2]);
                        poke(pid, RESULT, 0);
                        if ptrace::sysemu(pid, None).is_ok() {
                            let _ = waitpid(pid, None);
                        }
                        poke(pid, NUMBER, calls[other - 2]);
                        poke(pid, RESULT, 0);
                    }
                }
                let _ = ptrace::cont(pid, None);
            });
        }
    }
}
