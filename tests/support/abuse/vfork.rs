//! Threads that stand in vfork, and what happens to them there.

use super::{exit, name, say};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The children of vfork, which share the memory of their parents.
static STANDING: AtomicUsize = AtomicUsize::new(0);

/// Begins a clone into a namespace of this kind and stands in it until this process ends, as does the child; that first
/// calls unshare(2) with `also`, unless that is 0.
fn stand_in_vfork(kind: i32, also: i32) {
    let flags = kind | libc::CLONE_VFORK | libc::CLONE_VM | libc::SIGCHLD;
    loop {
        // SAFETY: the child uses the stack of its parent, which stands still; it makes system calls only, and never returns.
        unsafe {
            if libc::syscall(libc::SYS_clone, i64::from(flags), 0, 0, 0, 0) == 0 {
                libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if also != 0 {
                    libc::unshare(also);
                }
                STANDING.fetch_add(1, Ordering::Relaxed);
                loop {
                    libc::syscall(libc::SYS_pause);
                }
            }
        }
        // The kernel may still count namespaces that have ended.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Has `count` threads stand in vfork until this process is killed.
pub fn stand(count: usize) -> ! {
    let call = || {
        name("abuse-stand");
        stand_in_vfork(libc::CLONE_NEWUSER, libc::CLONE_NEWUTS);
    };
    for _ in 0..count {
        std::thread::Builder::new().stack_size(64 << 10).spawn(call).expect("a thread");
    }
    while STANDING.load(Ordering::Relaxed) < count {
        std::thread::sleep(Duration::from_millis(20));
    }
    say("standing");
    loop {
        std::thread::park();
    }
}

/// Has a thread stand in vfork, `count` times, and ends its process in the middle: by another thread that executes a
/// program, or ends it.
pub fn ended_in_the_middle(count: usize, by_exec: bool) {
    for _ in 0..count {
        // SAFETY: the child has one thread, which goes on like a process of its own, and does not return.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let stand = || stand_in_vfork(libc::CLONE_NEWUTS, 0);
                let standing = std::thread::Builder::new().stack_size(64 << 10).spawn(stand);
                if standing.is_ok() {
                    while STANDING.load(Ordering::Relaxed) == 0 {
                        std::thread::yield_now();
                    }
                }
                let program = c"/bin/true";
                let none = std::ptr::null();
                if by_exec {
                    // SAFETY: arrays that end with a null pointer, of strings.
                    unsafe {
                        libc::execve(program.as_ptr(), [program.as_ptr(), none].as_ptr(), [none].as_ptr())
                    };
                }
                exit();
            }
            ForkResult::Parent { child } => drop(waitpid(child, None).expect("it ends")),
        }
    }
}
