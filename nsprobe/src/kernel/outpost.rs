//! Work that may wait for somebody else for ever, done by a child process that can be given up.
//!
//! Who asks a FUSE file system waits for its server in the kernel, and not even SIGKILL ends that once the server has read
//! the question. A thread of nsprobe would keep the whole process from ending; a child does not.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long one piece of work may stand still.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long all of those that stand still may take together; then the rest is left out.
const PATIENCE_FOR_ALL: Duration = Duration::from_millis(750);

/// The most that a piece of work may answer.
pub const MOST: usize = 8192;

/// What came of a piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done; `None`: it had nothing to say.
    Done(Option<Vec<u8>>),
    /// It was still waiting when it was given up.
    Waiting,
    /// It was not begun: others had waited too long, or there is no child process.
    NotBegun,
}

/// Does the `jobs` in a child process, one after the other, and gives what each answers. The child has of all
/// descriptors `keep` and no other.
pub fn each<J>(jobs: &[J], keep: BorrowedFd<'_>, mut work: impl FnMut(&J) -> Option<Vec<u8>>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(jobs.len());
    let mut patience = PATIENCE_FOR_ALL;
    while answers.len() < jobs.len() && !patience.is_zero() {
        let Ok(child) = Child::start(&jobs[answers.len()..], keep, &mut work) else { break };
        let mut last = Instant::now();
        while answers.len() < jobs.len() {
            let Some(answer) = child.answer() else { break };
            answers.push(Answer::Done(answer));
            last = Instant::now();
        }
        if answers.len() < jobs.len() {
            // It waits, or has been killed; either way not a second time.
            answers.push(Answer::Waiting);
            patience = patience.saturating_sub(last.elapsed());
        }
    }
    answers.resize(jobs.len(), Answer::NotBegun);
    answers
}

/// The child, and the socket that it writes its answers to. It ends with this.
struct Child {
    pid: Pid,
    answers: OwnedFd,
}

impl Child {
    fn start<J>(
        jobs: &[J],
        keep: BorrowedFd<'_>,
        work: &mut impl FnMut(&J) -> Option<Vec<u8>>,
    ) -> io::Result<Self> {
        let cloexec = SockFlag::SOCK_CLOEXEC;
        let (answers, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, cloexec)?;
        // SAFETY: of the threads only this one is in the child. It locks nothing that another may have held but the
        // allocator, which fork(3) leaves usable; it returns to no caller and ends by _exit(2).
        match unsafe { nix::unistd::fork() }? {
            ForkResult::Parent { child } => Ok(Self { pid: child, answers }),
            ForkResult::Child => {
                close_all_but([theirs.as_fd(), keep]);
                let all = catch_unwind(AssertUnwindSafe(|| {
                    for job in jobs {
                        let answer = work(job);
                        let mut packet = vec![u8::from(answer.is_some())];
                        packet.extend(answer.unwrap_or_default().iter().take(MOST));
                        if send(theirs.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL).is_err() {
                            return;
                        }
                    }
                }));
                // SAFETY: ends the child and does nothing else.
                unsafe { libc::_exit(i32::from(all.is_err())) }
            }
        }
    }

    /// The next answer; `None` when it does not come.
    #[expect(clippy::option_option, reason = "no answer and nothing to say are two things")]
    fn answer(&self) -> Option<Option<Vec<u8>>> {
        let mut left = PATIENCE_WHEN_BUSY;
        loop {
            let mut ready = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO)) {
                // It has the processor, or waits for it.
                Ok(0) if left > 0 && is_running(self.pid) => left -= 1,
                Ok(0) => return None,
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        let mut packet = vec![0; MOST + 1];
        let length = recv(self.answers.as_raw_fd(), &mut packet, MsgFlags::empty()).ok()?;
        packet.truncate(length);
        let (&some, text) = packet.split_first()?;
        Some((some == 1).then(|| text.to_vec()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        // Nearly always it has ended by now, or is about to. One that cannot end is left to whoever reaps orphans.
        let end = Instant::now() + Duration::from_millis(20);
        while waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_none())
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// How often more a child is waited for that is running all the time: on a machine that is busy.
const PATIENCE_WHEN_BUSY: u32 = 4;

/// Whether a process has the processor, or waits for nothing but that.
fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.iter().rposition(|&byte| byte == b')').map_or(stat.len(), |at| at + 2);
    stat.get(after) == Some(&b'R')
}

/// Closes all descriptors but two, so that a child that cannot end holds nothing of nsprobe's, and no pipe that a reader
/// waits at the end of.
fn close_all_but(keep: [BorrowedFd<'_>; 2]) {
    let mut keep = keep.map(|fd| fd.as_raw_fd().unsigned_abs());
    keep.sort_unstable();
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: the descriptors closed are not used any more: this process does nothing but its work.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    if keep[0] > 0 {
        close(0, keep[0] - 1);
    }
    close(keep[0] + 1, keep[1].saturating_sub(1));
    close(keep[1] + 1, u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_waits_is_given_up_and_the_rest_is_done() {
        let keep = File::open("/dev/null").unwrap();
        let jobs: Vec<u32> = (0..50).collect();
        let answers = each(&jobs, keep.as_fd(), |&job| {
            if job == 7 {
                std::thread::sleep(Duration::from_secs(1000));
            }
            (job != 8).then(|| job.to_string().into_bytes())
        });
        for (job, answer) in answers.into_iter().enumerate() {
            let expected = match job {
                7 => Answer::Waiting,
                8 => Answer::Done(None),
                job => Answer::Done(Some(job.to_string().into_bytes())),
            };
            assert_eq!(answer, expected, "{job}");
        }
    }

    #[test]
    fn there_is_an_end_to_waiting() {
        let keep = File::open("/dev/null").unwrap();
        let begin = Instant::now();
        let answers = each(&[(); 100], keep.as_fd(), |()| {
            std::thread::sleep(Duration::from_secs(1000));
            None
        });
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert_eq!(answers.iter().filter(|&answer| *answer == Answer::Waiting).count(), 3);
        assert_eq!(answers[99], Answer::NotBegun);
    }

    #[test]
    fn a_child_has_two_descriptors() {
        let keep = File::open("/dev/null").unwrap();
        let count = each(&[()], keep.as_fd(), |()| {
            Some(vec![u8::try_from(std::fs::read_dir("/proc/self/fd").unwrap().count()).unwrap()])
        });
        // The third is the directory that is read.
        assert_eq!(count, [Answer::Done(Some(vec![3]))]);
    }
}
