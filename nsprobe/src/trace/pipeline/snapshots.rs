//! Snapshots during a trace: taken on a thread of their own, and abandoned if they take too long.

use crate::kernel::signals;
use crate::model::Snapshot;
use crate::trace::{SnapshotFn, TraceError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// The maximum wait for a snapshot.
const LONGEST: Duration = Duration::from_secs(10);

/// Takes one snapshot at a time.
pub(super) struct Snapshots {
    snapshot: SnapshotFn,
    /// Readable when a snapshot has arrived, until [`Snapshots::take`].
    news: Arc<EventFd>,
    coming: Option<Coming>,
    /// The deadline for all snapshots.
    limit: Option<Instant>,
}

struct Coming {
    receiver: Receiver<Result<Snapshot, String>>,
    /// The deadline; `None` if the snapshot has been abandoned.
    until: Option<Instant>,
}

impl Snapshots {
    pub(super) fn new(snapshot: SnapshotFn) -> io::Result<Self> {
        let news = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        Ok(Self { snapshot, news, coming: None, limit: None })
    }

    /// Starts a snapshot. While an abandoned one is still being taken this is an error: threads do not pile up.
    pub(super) fn begin(&mut self) -> Result<(), TraceError> {
        if self.is_stuck() {
            return Err(TraceError::Slow);
        }
        let (sender, receiver) = channel();
        let (snapshot, news) = (Arc::clone(&self.snapshot), Arc::clone(&self.news));
        signals::spawn_without(std::thread::Builder::new().name("snapshot".to_owned()), move || {
            // At the end of the trace nobody wants it.
            let _ = sender.send(snapshot());
            let _ = news.write(1);
        })?;
        let until = Instant::now() + LONGEST;
        let until = Some(self.limit.map_or(until, |limit| limit.min(until)));
        self.coming = Some(Coming { receiver, until });
        Ok(())
    }

    /// True if an abandoned snapshot is still being taken.
    pub(super) fn is_stuck(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.until.is_none())
    }

    /// The snapshot that was started, if it has arrived, or its error.
    pub(super) fn take(&mut self) -> Option<Result<Snapshot, TraceError>> {
        // Fails if there is nothing to read.
        let _ = self.news.read();
        let coming = self.coming.as_mut()?;
        let given_up = coming.until.is_none();
        let result = match coming.receiver.try_recv() {
            Ok(result) => result.map_err(TraceError::Snapshot),
            // The thread ended without sending: it panicked.
            Err(TryRecvError::Disconnected) => Err(TraceError::Snapshot("taking it failed".to_owned())),
            Err(TryRecvError::Empty) => {
                let is_late = coming.until.is_some_and(|until| until <= Instant::now());
                return is_late.then(|| {
                    coming.until = None;
                    Err(TraceError::Slow)
                });
            }
        };
        self.coming = None;
        (!given_up).then_some(result)
    }

    /// Waits until the snapshot arrives or is abandoned.
    pub(super) fn wait(&self) {
        let Some(until) = self.due() else { return };
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let mut ready = [PollFd::new(self.news.as_fd(), PollFlags::POLLIN)];
        // Whatever the result, `take` comes next.
        let _ = poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    }

    /// Abandons snapshots at the `limit` from now on.
    pub(super) fn limit(&mut self, limit: Instant) {
        self.limit = Some(limit);
        if let Some(until) = self.coming.as_mut().and_then(|coming| coming.until.as_mut()) {
            *until = limit.min(*until);
        }
    }

    /// The time at which the current snapshot is abandoned.
    pub(super) fn due(&self) -> Option<Instant> {
        self.coming.as_ref()?.until
    }

    /// Readable when a snapshot has arrived.
    pub(super) fn news(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn late_snapshot_is_abandoned_and_blocks_the_next_until_it_arrives() {
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let snapshot = move || {
            wait.lock().unwrap().recv().map_err(|_| "never".to_owned())?;
            Ok(Snapshot::default())
        };
        let mut snapshots = Snapshots::new(Arc::new(snapshot)).unwrap();
        snapshots.begin().unwrap();
        assert!(snapshots.take().is_none() && !snapshots.is_stuck());
        snapshots.limit(Instant::now());
        assert!(matches!(snapshots.take(), Some(Err(TraceError::Slow))));
        assert!(snapshots.is_stuck() && matches!(snapshots.begin(), Err(TraceError::Slow)));
        // It arrives, but nobody gets it.
        go.send(()).unwrap();
        let mut ready = [PollFd::new(snapshots.news(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ready, PollTimeout::from(60_000_u16)).unwrap(), 1);
        assert!(snapshots.take().is_none() && !snapshots.is_stuck());
        // The next one is delivered.
        snapshots.limit(Instant::now() + LONGEST);
        snapshots.begin().unwrap();
        go.send(()).unwrap();
        snapshots.wait();
        assert_eq!(snapshots.take().unwrap().unwrap(), Snapshot::default());
        // A snapshot that fails returns its reason.
        drop(go);
        snapshots.begin().unwrap();
        snapshots.wait();
        assert!(matches!(snapshots.take(), Some(Err(TraceError::Snapshot(why))) if why == "never"));
    }
}
