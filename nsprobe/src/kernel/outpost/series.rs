//! One piece of work after the other by one child process, for as long as somebody wants the answers.

use super::{Answer, Child, PATIENCE_WHEN_BUSY, Reason, Reply};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// More than there will ever be. They have no size.
static WITHOUT_END: [(); 1 << 40] = [(); 1 << 40];

/// A child process that answers again and again. It ends with this, and with the thread that started it.
pub struct Series {
    child: Child,
}

impl Series {
    /// Starts it: it does the `work` again whenever there is room for an answer. It has none of nsprobe's descriptors but
    /// `keep`, and heeds no signal but SIGKILL: Ctrl-C is nsprobe's to heed.
    pub fn start(keep: &[BorrowedFd<'_>], mut work: impl FnMut() -> Reply) -> Result<Self, Reason> {
        let former = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(Reason::NoChild)?;
        let child = Child::start(&WITHOUT_END, keep, &mut |()| work());
        // It was in effect before.
        let _ = former.thread_set_mask();
        Ok(Self { child: child? })
    }

    /// The number of the child.
    #[cfg(test)]
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.child.pid.as_raw()
    }

    /// The next answer, for which the child may stand still for all of `patience`.
    #[must_use]
    pub fn next(&self, patience: Duration) -> Answer {
        let end = Instant::now() + patience + PATIENCE_WHEN_BUSY;
        self.child.answer_within(patience, &mut { patience }, end)
    }

    /// The next answer, however long it takes.
    #[must_use]
    pub fn wait(&self) -> Answer {
        self.child.read().map_or(Answer::Ended, Answer::Done)
    }
}
