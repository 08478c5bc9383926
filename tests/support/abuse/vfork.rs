//! Threads that are blocked in vfork, and what can happen to them there.

use super::{exit, name, say};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The number of children of vfork, which share the memory of their parents.
static STANDING: AtomicUsize = AtomicUsize::new(0);

/// Calls clone into a namespace of this kind and stays in it until this process ends, as does the child; the child
/// first calls unshare(2) with `also`, unless that is 0.
fn stand_in_vfork(kind: i32, also: i32) {
    let flags = kind | libc::CLONE_VFORK | libc::CLONE_VM | libc::SIGCHLD;
    loop {
        // SAFETY: the child uses the stack of its parent, which is blocked; it only makes system calls, and never
        // returns.
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

/// Keeps `count` threads in vfork until this process is killed.
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

/// Puts a thread into vfork, `count` times, and ends its process in the middle: another thread executes a program, or
/// exits.
pub fn ended_in_the_middle(count: usize, by_exec: bool) {
    for _ in 0..count {
        // SAFETY: the child has one thread, which continues as a separate process, and does not return.
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
                    // SAFETY: arrays of strings that end with a null pointer.
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
