//! Detaches hooks in the background.
//!
//! For each hook, the kernel waits until no processor runs its program: with a dozen tracepoints that takes a second.
//! It does so when the last descriptor of a hook is closed, in whichever process: here in a child, which has nothing
//! else to do.

use super::outpost::close_all_but;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, pipe2};
use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// The interval at which the child is checked.
const CHECK: Duration = Duration::from_millis(2);

/// Hooks that are being detached.
#[derive(Debug)]
pub struct Detaching(Option<Pid>);

/// Drops `hooks`, and has a child process detach all hooks that nsprobe has at that time. If no child can be started,
/// dropping them takes its full time.
pub fn in_background<T>(hooks: T) -> Detaching {
    let child = start().unwrap_or_else(|error| {
        log::info!("no child process to detach hooks in the background: {error}");
        None
    });
    drop(hooks);
    // This closes the other end of the pipe: the child has the last descriptors.
    Detaching(child.map(|(pid, _go)| pid))
}

/// Starts the child, which proceeds when the returned descriptor is closed. `None`: nothing to do.
fn start() -> nix::Result<Option<(Pid, OwnedFd)>> {
    let mut descriptors = descriptors();
    if descriptors.is_empty() {
        return Ok(None);
    }
    let (wait, go) = pipe2(OFlag::O_CLOEXEC)?;
    descriptors.push(wait.as_raw_fd());
    // SAFETY: of the threads only this one is in the child, which makes system calls and ends by _exit(2).
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some((child, go))),
        ForkResult::Child => {
            // Ctrl-C has been handled already.
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
            // SAFETY: they are open in this process, and stay so until it ends.
            let keep = descriptors.iter().map(|&fd| unsafe { BorrowedFd::borrow_raw(fd) });
            // Right away, because a reader may wait at the end of one of them.
            let _ = close_all_but(&keep.collect::<Vec<_>>());
            let _ = nix::unistd::read(&wait, &mut [0]);
            // SAFETY: ends the child, which closes the hooks, and does nothing else.
            unsafe { libc::_exit(0) }
        }
    }
}

impl Detaching {
    /// Waits until they are detached, but no longer than `limit`: the child then continues, and ends soon.
    pub fn wait(self, limit: Duration) {
        let Some(child) = self.0 else { return };
        let end = Instant::now() + limit;
        while waitpid(child, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_none()) {
            if Instant::now() >= end {
                return;
            }
            std::thread::sleep(CHECK);
        }
    }
}

/// Returns the descriptors of hooks, by their link targets; none without `/proc`.
fn descriptors() -> Vec<RawFd> {
    let files = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let is_hook = |entry: &fs::DirEntry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        ["bpf_link", "perf_event"].iter().any(|kind| target.to_string_lossy().contains(kind))
    };
    files.filter(is_hook).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
