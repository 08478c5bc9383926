//! Decides when a resync is due after losses, and describes its result. The stream goes on while snapshots are taken
//! for it.

use crate::model::{Changes, Lost, Rebuilt, Stage};
use crate::trace::TraceError;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

/// The time without losses before a resync.
const QUIET: Duration = Duration::from_millis(50);

/// The maximum delay of a resync while losses go on, and the minimum between two resyncs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The losses that need a resync, and the resync under way.
#[derive(Default)]
pub(super) struct Resync {
    /// The losses counted so far that invalidate what is known.
    counts: BTreeMap<Stage, u64>,
    /// The losses since the last resync.
    lost: Option<Period>,
    /// The time of the last resync.
    last: Option<Instant>,
    /// The resync under way.
    state: Option<State>,
}

/// The time in which losses were counted.
#[derive(Clone, Copy)]
struct Period {
    first: Instant,
    last: Instant,
}

/// The state of a resync.
enum State {
    /// The namespace tracker is being opened.
    Opening,
    /// The tracker is being updated; with the number of descendants found, or the error.
    Updating(Result<Option<u64>, String>),
}

impl Resync {
    /// Notes that the namespace tracker is being opened.
    pub(super) fn open(&mut self) {
        self.state = Some(State::Opening);
    }

    /// True if the tracker is not open yet.
    pub(super) const fn is_opening(&self) -> bool {
        matches!(self.state, Some(State::Opening))
    }

    /// True if a resync is under way, or the tracker is being opened.
    pub(super) const fn is_running(&self) -> bool {
        self.state.is_some()
    }

    /// Takes the losses `counted` by the source since it began, at `now`.
    pub(super) fn count(&mut self, counted: &[Lost], now: Instant) {
        for lost in counted.iter().filter(|lost| invalidates(lost.stage)) {
            let known = self.counts.entry(lost.stage).or_default();
            if lost.count > *known {
                *known = lost.count;
                let first = self.lost.map_or(now, |lost| lost.first);
                self.lost = Some(Period { first, last: now });
            }
        }
    }

    /// True if nothing was ever lost at this stage, which must be one that invalidates what is known.
    pub(super) fn none_at(&self, stage: Stage) -> bool {
        debug_assert!(invalidates(stage), "{stage} is not counted");
        self.counts.get(&stage).is_none_or(|&count| count == 0)
    }

    /// The time of the next resync, if there is a reason for one.
    pub(super) fn at(&self) -> Option<Instant> {
        let lost = self.lost?;
        let at = (lost.last + QUIET).min(lost.first + PATIENCE);
        // The resync itself may find that there is no room.
        Some(self.last.map_or(at, |last| at.max(last + PATIENCE)))
    }

    /// Begins a resync: `followed` is the result of searching for tasks to follow, if some are followed, `survey` that
    /// of beginning a survey of the namespaces, if these are tracked. Returns its result if there is nothing to wait
    /// for.
    pub(super) fn begin(
        &mut self,
        followed: Option<io::Result<u64>>,
        survey: Option<Result<(), TraceError>>,
    ) -> Option<Rebuilt> {
        // Losses from now on are new ones.
        self.lost = None;
        let followed = followed.transpose().map_err(|error| format!("descendants: {error}"));
        match survey {
            None => Some(self.ended(followed, Ok(None))),
            Some(Err(error)) => Some(self.ended(followed, Err(error))),
            Some(Ok(())) => {
                self.state = Some(State::Updating(followed));
                None
            }
        }
    }

    /// Ends the survey under way, which made these `changes` to the tracker. Returns the result of the resync, unless
    /// it has only opened the tracker. A failure is retried; an error means that there is no tracker at all.
    pub(super) fn end(
        &mut self,
        changes: Result<Changes, TraceError>,
    ) -> Result<Option<Rebuilt>, TraceError> {
        match (self.state.take(), changes.map(Some)) {
            (None, _) | (Some(State::Opening), Ok(_)) => Ok(None),
            (Some(State::Opening), Err(error @ TraceError::Slow)) => {
                Ok(Some(self.ended(Ok(None), Err(error))))
            }
            (Some(State::Opening), Err(error)) => Err(error),
            (Some(State::Updating(followed)), changes) => Ok(Some(self.ended(followed, changes))),
        }
    }

    fn ended(
        &mut self,
        followed: Result<Option<u64>, String>,
        changes: Result<Option<Changes>, TraceError>,
    ) -> Rebuilt {
        let namespaces = changes.map_err(|error| format!("namespaces: {error}"));
        let failed = [followed.as_ref().err(), namespaces.as_ref().err()];
        let failed: Vec<&str> = failed.into_iter().flatten().map(String::as_str).collect();
        let failed = (!failed.is_empty()).then(|| failed.join("; "));
        let now = Instant::now();
        if failed.is_some() {
            self.lost.get_or_insert(Period { first: now, last: now });
        }
        self.last = Some(now);
        Rebuilt { namespaces: namespaces.ok().flatten(), followed: followed.ok().flatten(), failed }
    }
}

/// True if a loss at this stage invalidates the known namespaces and tasks. A call stopped by seccomp does not affect
/// later ones, events that the output had no room for were processed before, and the namespaces of a call without room
/// are known.
const fn invalidates(stage: Stage) -> bool {
    match stage {
        Stage::DeniedFull
        | Stage::DeniedUnread
        | Stage::OutputFull
        | Stage::OutputFullLifecycle
        | Stage::Sink
        | Stage::CallsFull => false,
        Stage::RingFull
        | Stage::Share
        | Stage::PendingFull
        | Stage::FollowFull
        | Stage::NamespacesFull
        | Stage::Recursion
        | Stage::PerfRingFull
        | Stage::Decode => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn resync_is_due_when_losses_pause_or_go_on_for_long() {
        let mut resync = Resync::default();
        let start = Instant::now();
        let count = |resync: &mut Resync, count, ms| {
            let counted = [Lost::at(Stage::DeniedFull, 9), Lost::at(Stage::FollowFull, count)];
            resync.count(&counted, start + MS * ms);
        };
        count(&mut resync, 0, 0);
        assert!(resync.at().is_none() && resync.none_at(Stage::FollowFull));
        count(&mut resync, 2, 10);
        assert_eq!(resync.at(), Some(start + MS * 60));
        assert!(resync.none_at(Stage::Decode) && !resync.none_at(Stage::FollowFull));
        // Counted again without news.
        count(&mut resync, 2, 30);
        assert_eq!(resync.at(), Some(start + MS * 60));
        for ms in 31..3000 {
            count(&mut resync, u64::from(ms), ms);
        }
        assert_eq!(resync.at(), Some(start + MS * 2010));
    }

    #[test]
    fn failed_resync_is_retried_later() {
        let mut resync = Resync::default();
        resync.count(&[Lost::at(Stage::RingFull, 1)], Instant::now());
        let found = resync.begin(Some(Ok(3)), None);
        assert_eq!(found, Some(Rebuilt { followed: Some(3), ..Rebuilt::default() }));
        assert!(resync.at().is_none() && !resync.is_running());
        // Losses that were counted before are no reason for another.
        resync.count(&[Lost::at(Stage::RingFull, 1)], Instant::now());
        assert!(resync.at().is_none());
        assert_eq!(resync.begin(Some(Err(io::Error::other("no room"))), Some(Ok(()))), None);
        assert!(resync.is_running() && !resync.is_opening());
        let before = Instant::now();
        let failed = resync.end(Err(TraceError::Slow)).unwrap().unwrap().failed;
        let why = "descendants: no room; namespaces: no snapshot: it took too long";
        assert_eq!(failed.as_deref(), Some(why));
        assert!(resync.at().is_some_and(|at| at >= before + PATIENCE));
    }

    #[test]
    fn tracker_that_cannot_be_opened_is_an_error_unless_it_is_only_late() {
        let opened = |changes| {
            let mut resync = Resync::default();
            resync.open();
            assert!(resync.is_opening());
            resync.end(changes)
        };
        assert!(matches!(opened(Ok(Changes::default())), Ok(None)));
        assert!(matches!(
            opened(Err(TraceError::Snapshot("no /proc".to_owned()))),
            Err(TraceError::Snapshot(_))
        ));
        assert!(opened(Err(TraceError::Slow)).unwrap().is_some_and(|rebuilt| rebuilt.failed.is_some()));
    }
}
