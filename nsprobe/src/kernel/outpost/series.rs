//! A job that one child process repeats for as long as answers are wanted.

use super::{Answer, Child, PATIENCE_WHEN_BUSY, Reason, Reply};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Jobs, more than will ever be needed. They have no size.
static WITHOUT_END: [(); 1 << 40] = [(); 1 << 40];

/// A child process that answers repeatedly. It ends when this is dropped, and with the thread that started it.
pub struct Series {
    child: Child,
}

impl Series {
    /// Starts it: it repeats the `work` whenever there is room for an answer. It has none of nsprobe's descriptors but
    /// `keep`, and all signals but SIGKILL are blocked: Ctrl-C is for nsprobe to handle.
    pub fn start(keep: &[BorrowedFd<'_>], mut work: impl FnMut() -> Reply) -> Result<Self, Reason> {
        let former = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(Reason::NoChild)?;
        let child = Child::start(&WITHOUT_END, keep, &mut |()| work());
        // It was in effect before.
        let _ = former.thread_set_mask();
        Ok(Self { child: child? })
    }

    /// Returns the child's pid.
    #[cfg(test)]
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.child.pid.as_raw()
    }

    /// Returns the next answer, for which the child may stand still for all of `patience`.
    #[must_use]
    pub fn next(&self, patience: Duration) -> Answer {
        let end = Instant::now() + patience + PATIENCE_WHEN_BUSY;
        self.child.answer_within(patience, &mut { patience }, end)
    }

    /// Returns the next answer, however long it takes.
    #[must_use]
    pub fn wait(&self) -> Answer {
        self.child.read().map_or(Answer::Ended, Answer::Done)
    }
}
