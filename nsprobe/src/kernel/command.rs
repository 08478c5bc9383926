//! A command started without waiting until its program is executed: that takes as long as the program's file system
//! takes, whose server may not answer.

use super::advice::not_started;
use super::inherited;
use super::outpost::is_running;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::unistd::{ForkResult, Pid, pipe2, read, write};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

/// The time to wait for a child that sleeps before its program is executed: a disk may be slow.
const STILL: Duration = Duration::from_millis(200);

/// The same for one that runs, or waits for a processor.
const BUSY: Duration = Duration::from_millis(400);

/// The interval at which its state is checked.
const CHECK: Duration = Duration::from_millis(10);

/// A child process that executes a program, or is about to.
#[derive(Debug)]
pub struct Command {
    pid: Pid,
    /// Carries the errno if the program cannot be executed, and ends if it is; `None` once either was read.
    report: Option<OwnedFd>,
    status: Option<ExitStatus>,
}

impl Command {
    /// Starts it with the signals, descriptors and limits that nsprobe inherited; `mask` are the signals to block. The
    /// first of the `words` is the program.
    pub(super) fn start(words: &[OsString], mask: SigSet) -> io::Result<Self> {
        let words: Vec<CString> =
            words.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
        let pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
        let (report, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: of the threads only this one is in the child, which makes system calls and ends by exec or _exit(2).
        match unsafe { nix::unistd::fork() }.map_err(|errno| not_started(errno.into()))? {
            ForkResult::Parent { child } => Ok(Self { pid: child, report: Some(report), status: None }),
            ForkResult::Child => {
                let prepared = inherited::restore()
                    .and_then(|()| Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?));
                let error = prepared.err().unwrap_or_else(|| {
                    // SAFETY: an array of pointers to texts that end with a zero byte, and a null pointer at its end.
                    unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
                    io::Error::last_os_error()
                });
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                let _ = write(&theirs, &errno.to_ne_bytes());
                // SAFETY: ends the child and does nothing else.
                unsafe { libc::_exit(127) }
            }
        }
    }

    /// Returns its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Returns true if the program has been executed, after waiting briefly: for a shorter time if the child sleeps
    /// than if the machine is busy. Fails if it cannot be executed.
    pub fn is_soon_executed(&mut self) -> io::Result<bool> {
        let (mut still, mut busy) = (STILL, BUSY);
        loop {
            if self.is_executed(CHECK)? {
                return Ok(true);
            }
            let left = if is_running(self.pid) { &mut busy } else { &mut still };
            *left = left.saturating_sub(CHECK);
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Returns true if the program has been executed, after waiting for at most `limit`. Fails if it cannot be
    /// executed.
    pub fn is_executed(&mut self, limit: Duration) -> io::Result<bool> {
        let Some(report) = &self.report else { return Ok(true) };
        let mut ready = [PollFd::new(report.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut errno = [0; 4];
        let length = read(report, &mut errno)?;
        self.report = None;
        if length == 0 {
            return Ok(true);
        }
        // It exits by itself.
        self.ended_within(Duration::from_secs(1))?;
        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
    }

    /// Returns a descriptor that is readable once [`Command::is_executed`] has a result.
    #[must_use]
    pub fn report(&self) -> Option<BorrowedFd<'_>> {
        self.report.as_ref().map(AsFd::as_fd)
    }

    /// Returns its exit status, if it has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let mut status = 0;
            // SAFETY: `status` lives for the call. The child has not been reaped, so the pid is still its own.
            let reaped = unsafe { libc::waitpid(self.pid.as_raw(), &raw mut status, libc::WNOHANG) };
            if Errno::result(reaped)? != 0 {
                self.status = Some(ExitStatus::from_raw(status));
            }
        }
        Ok(self.status)
    }

    /// Does the same, waiting for at most `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let end = std::time::Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || std::time::Instant::now() >= end {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // Not reaped yet, so the pid is still its own.
            let _ = kill(self.pid, signal);
        }
    }
}
