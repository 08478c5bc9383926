//! Work that may block forever on somebody else, done by a child process that can be abandoned.
//!
//! A call into a FUSE file system waits for its server in the kernel, and not even SIGKILL ends that once the server
//! has read the request. A thread of nsprobe would keep the whole process from ending; a child does not.

pub mod series;

use super::advice::{NO_MORE_PROCESSES, exhausted};
use super::{allowance, status};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time that one job may stand still.
const PATIENCE: Duration = Duration::from_millis(250);

/// The interval at which a child is checked.
const CHECK: Duration = Duration::from_millis(10);

/// The time that one job may take while the child runs: the machine may be busy.
const PATIENCE_WHEN_BUSY: Duration = Duration::from_secs(1);

/// The most time for all jobs, still or not: a constant, and an amount per job.
const LONGEST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_micros(100));

/// The most abandoned children that cannot end, before no more are started.
const MOST_STUCK: usize = 8;

/// The children that were killed and had not ended when they were abandoned. They end with the server's connection, and
/// are reaped before the next is started. If nsprobe ends first, they are left to whoever reaps orphans.
static STUCK: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// The most bytes in a reply.
pub const MOST: usize = 8192;

/// The reply of a job.
#[derive(Debug, Default)]
pub struct Reply {
    /// Bytes, at most [`MOST`]; `None`: nothing.
    pub bytes: Option<Vec<u8>>,
    /// A descriptor that it passes back.
    pub descriptor: Option<OwnedFd>,
}

impl From<Option<Vec<u8>>> for Reply {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Self { bytes, descriptor: None }
    }
}

impl<const N: usize> From<[u64; N]> for Reply {
    fn from(numbers: [u64; N]) -> Self {
        Some(numbers.map(u64::to_ne_bytes).concat()).into()
    }
}

impl Reply {
    /// Returns the numbers that it was made from.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        let (numbers, _) = self.bytes.as_deref().unwrap_or_default().as_chunks();
        numbers.iter().map(|&number| u64::from_ne_bytes(number)).collect()
    }
}

/// The outcome of a job.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done(Reply),
    /// It was still waiting when it was abandoned.
    Waiting,
    /// The child ended without an answer: it was killed, could not close what it inherited, or panicked.
    Ended,
    /// It was not started.
    NotBegun(Reason),
}

/// The reason that a job was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Others took too long.
    #[error("other requests took too long")]
    OutOfTime,
    /// The kernel refused.
    #[error("no child process can be started: {text}", text = refusal(*.0))]
    NoChild(Errno),
    /// Too many earlier ones are still waiting.
    #[error("{MOST_STUCK} child processes wait for file system servers: no more are started")]
    TooManyStuck,
}

/// Returns the text of an error, with the limit to raise if it is one.
fn refusal(error: Errno) -> String {
    match error {
        Errno::EAGAIN => NO_MORE_PROCESSES.to_owned(),
        _ => exhausted(&error.into()).unwrap_or_else(|| error.to_string()),
    }
}

impl Answer {
    /// Returns the reply. `Err(ETIMEDOUT)`: it did not come in time; `Err(EMFILE)` and `Err(ENFILE)`: a child needs one
    /// more descriptor than allowed. Other errors have no errno, but say what failed.
    pub fn reply(self) -> io::Result<Reply> {
        match self {
            Self::Done(reply) => Ok(reply),
            Self::Waiting | Self::NotBegun(Reason::OutOfTime) => Err(Errno::ETIMEDOUT.into()),
            Self::Ended => Err(io::Error::other("a child process ended before it answered")),
            Self::NotBegun(Reason::NoChild(error @ (Errno::EMFILE | Errno::ENFILE))) => Err(error.into()),
            Self::NotBegun(reason) => Err(io::Error::other(reason)),
        }
    }
}

/// Does the `jobs` in a child process, one after the other, and passes each answer to `done`, in order. The child has
/// none of nsprobe's descriptors but `keep`. `patience` is the time that all jobs that stand still may take together,
/// within the `allowance` of the calling thread; the time taken is subtracted. Once it is used up, the rest is not
/// started.
pub fn each<'a, J>(
    jobs: &'a [J],
    keep: &[BorrowedFd<'_>],
    patience: &mut Duration,
    mut work: impl FnMut(&J) -> Reply,
    mut done: impl FnMut(&'a J, Answer),
) {
    *patience = allowance::left().min(*patience);
    let end = Instant::now() + LONGEST.0 + LONGEST.1 * u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    let mut left = jobs;
    let mut reason = Reason::OutOfTime;
    while !left.is_empty() && !patience.is_zero() && Instant::now() < end {
        let child = match Child::start(left, keep, &mut work) {
            Ok(child) => child,
            Err(refused) => {
                reason = refused;
                break;
            }
        };
        while let Some((job, rest)) = left.split_first() {
            let before = *patience;
            let answer = child.answer(patience, end);
            allowance::spend(before.saturating_sub(*patience));
            let goes_on = matches!(answer, Answer::Done(_));
            left = rest;
            // It waits, or has been killed; in either case it is not tried again.
            done(job, answer);
            if !goes_on {
                *patience = patience.saturating_sub(CHECK);
                break;
            }
        }
    }
    for job in left {
        done(job, Answer::NotBegun(reason));
    }
}

/// The child, and the socket that it writes its answers to. Dropping this ends it.
struct Child {
    pid: Pid,
    answers: OwnedFd,
}

impl Child {
    fn start<J>(
        jobs: &[J],
        keep: &[BorrowedFd<'_>],
        work: &mut impl FnMut(&J) -> Reply,
    ) -> Result<Self, Reason> {
        if stuck().len() >= MOST_STUCK {
            return Err(Reason::TooManyStuck);
        }
        let cloexec = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, cloexec);
        let (answers, theirs) = pair.map_err(Reason::NoChild)?;
        let parent = getpid();
        // SAFETY: of the threads only this one is in the child. It locks nothing that another may have held but the
        // allocator, which fork(3) leaves usable; it returns to no caller and ends by _exit(2).
        match unsafe { nix::unistd::fork() }.map_err(Reason::NoChild)? {
            ForkResult::Parent { child } => Ok(Self { pid: child, answers }),
            ForkResult::Child => {
                let all = catch_unwind(AssertUnwindSafe(|| {
                    end_with(parent)?;
                    close_all_but(&[keep, &[theirs.as_fd()]].concat())?;
                    jobs.iter().try_for_each(|job| reply(theirs.as_fd(), &work(job)).map(drop))
                }));
                // SAFETY: ends the child and does nothing else.
                unsafe { libc::_exit(i32::from(!matches!(all, Ok(Ok(()))))) }
            }
        }
    }

    /// Returns the next answer.
    fn answer(&self, patience: &mut Duration, end: Instant) -> Answer {
        self.answer_within(PATIENCE.min(*patience), patience, end)
    }

    fn answer_within(&self, mut still: Duration, patience: &mut Duration, end: Instant) -> Answer {
        let mut busy = PATIENCE_WHEN_BUSY;
        loop {
            let mut ready = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::try_from(CHECK).unwrap_or(PollTimeout::ZERO)) {
                Ok(0) if Instant::now() >= end => return Answer::Waiting,
                // It runs, or waits for a processor.
                Ok(0) if is_running(self.pid) && !busy.is_zero() => busy = busy.saturating_sub(CHECK),
                Ok(0) => {
                    *patience = patience.saturating_sub(CHECK);
                    still = still.saturating_sub(CHECK);
                    if still.is_zero() {
                        return Answer::Waiting;
                    }
                }
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return Answer::Ended,
            }
        }
        self.read().map_or(Answer::Ended, Answer::Done)
    }

    fn read(&self) -> Option<Reply> {
        let mut packet = vec![0; MOST + 1];
        let mut space = cmsg_space!([std::os::fd::RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut packet)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.answers.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
        let mut descriptor = None;
        for control in message.cmsgs().ok()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                // SAFETY: the kernel has just created these descriptors for us, and nothing else owns them.
                descriptor = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).next_back();
            }
        }
        let length = message.bytes;
        packet.truncate(length);
        let (&some, text) = packet.split_first()?;
        Some(Reply { bytes: (some == 1).then(|| text.to_vec()), descriptor })
    }
}

/// Sends the reply of a job as one packet.
fn reply(to: BorrowedFd<'_>, Reply { bytes, descriptor }: &Reply) -> nix::Result<usize> {
    let text = bytes.as_deref().unwrap_or_default();
    let some = [u8::from(bytes.is_some())];
    let parts = [IoSlice::new(&some), IoSlice::new(&text[..text.len().min(MOST)])];
    let fds = descriptor.as_ref().map(|fd| [fd.as_raw_fd()]);
    let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    sendmsg::<()>(to.as_raw_fd(), &parts, rights.as_slice(), MsgFlags::MSG_NOSIGNAL, None)
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        // Nearly always it has ended by now, or is about to.
        let end = Instant::now() + Duration::from_millis(20);
        while waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_none()) {
            if Instant::now() > end {
                stuck().push(self.pid);
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Returns the children that cannot end yet, after reaping those that have ended.
fn stuck() -> MutexGuard<'static, Vec<Pid>> {
    let mut stuck = STUCK.lock().unwrap_or_else(PoisonError::into_inner);
    stuck.retain(|&child| {
        waitpid(child, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_none())
    });
    stuck
}

/// Makes the kernel kill the calling child when the thread that started it ends; fails if nsprobe has ended already.
fn end_with(parent: Pid) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // 0: the child is in a pid namespace that nsprobe is not in.
    match getppid() {
        now if now == parent || now.as_raw() == 0 => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

/// Returns true if a process runs, waits only for a processor, or is being traced.
pub(super) fn is_running(pid: Pid) -> bool {
    let status = std::fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    matches!(status::state(&status), Some('R' | 't'))
}

/// Closes all descriptors but some, so that a child that cannot end holds nothing of nsprobe's, and no pipe whose
/// reader waits for its end.
pub(super) fn close_all_but(keep: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    keep.sort_unstable();
    let close = |first: u32, last: u32| {
        // SAFETY: the descriptors closed are not used any more: this process does nothing but its work.
        Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
    };
    let mut first = 0;
    for fd in keep {
        if fd > first {
            close(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close(first, u32::MAX)
}

#[cfg(test)]
mod tests;
