//! Signals read from a descriptor, and commands that inherit the former mask.

use super::advice::not_started;
use super::command::Command;
use super::inherited;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::Builder;

/// The signals that end nsprobe or report its child, blocked and read from a descriptor instead.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// The signals that were blocked before.
    former: SigSet,
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The signal.
    pub signal: Signal,
    /// True if a process sent it, not the kernel: a terminal's Ctrl-C goes to a whole process group, a kill(2) may have
    /// been meant for nsprobe alone.
    pub by_process: bool,
}

impl Signals {
    /// Blocks `SIGCHLD`, and those of `SIGINT`, `SIGTERM`, `SIGHUP` and `SIGXCPU` that were not ignored at the start, for good.
    /// The others stay ignored: nohup(1), and `&` in a script.
    pub fn block() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGXCPU] {
            if !inherited::is_ignored(signal) {
                mask.add(signal);
            }
        }
        mask.add(Signal::SIGCHLD);
        // SAFETY: the default action is no function of this program. If it were ignored instead, the kernel would reap
        // children by itself, and COMMAND's exit status would be lost.
        unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl)? };
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut former = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut former))?;
        Ok(Self { fd, former })
    }

    /// Returns the next signal that has arrived; `None` if there is none now.
    pub fn next(&self) -> io::Result<Option<Arrived>> {
        Ok(self.fd.read_signal()?.and_then(|info| {
            let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
            Some(Arrived { signal, by_process: info.ssi_code <= 0 })
        }))
    }

    /// Takes all that have arrived, and returns true if one of them should end nsprobe.
    #[must_use]
    pub fn end_is_requested(&self) -> bool {
        let arrived = std::iter::from_fn(|| self.next().ok().flatten());
        arrived.filter(|arrived| arrived.signal != Signal::SIGCHLD).count() > 0
    }

    /// Starts `command` with the signals, descriptors and limits that nsprobe inherited.
    pub fn start(&self, command: &[OsString]) -> io::Result<Command> {
        Command::start(command, self.former)
    }
}

/// Starts a thread to which no signal is delivered: the main thread handles them all.
pub fn spawn_without(builder: Builder, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let former = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = builder.spawn(work);
    former.thread_set_mask()?;
    spawned
        .map(drop)
        .map_err(|error| inherited::without_threads().map_or_else(|| not_started(error), io::Error::other))
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
