//! Catches up after losses: has the source follow the descendants that it does not follow, and brings the namespace
//! tracker up to date.

use super::Pipeline;
use super::survey::Survey;
use super::tracker::NamespaceTracker;
use crate::model::{Body, Changes, Stage};
use crate::trace::TraceError;
use std::time::{Duration, Instant};

/// The maximum wait for a snapshot at the end.
const AT_END: Duration = Duration::from_millis(300);

impl Pipeline<'_> {
    /// Begins to open the namespace tracker, if there is one.
    pub(in crate::trace) fn open(&mut self) -> Result<(), TraceError> {
        if let Some(tracker) = &mut self.tracker {
            tracker.begin()?;
            self.resync.open();
        }
        Ok(())
    }

    /// True if the tracker is not open yet.
    pub(in crate::trace) const fn is_opening(&self) -> bool {
        self.resync.is_opening()
    }

    /// The time when [`Pipeline::catch_up`] has something to do.
    pub(super) fn resync_due(&self) -> Option<Instant> {
        if self.resync.is_running() {
            self.tracker.as_ref().and_then(|tracker| tracker.snapshots().due())
        } else {
            self.resync_at()
        }
    }

    /// The time of the next resync.
    fn resync_at(&self) -> Option<Instant> {
        let is_possible = match &self.tracker {
            Some(tracker) => !tracker.snapshots().is_stuck(),
            None => self.intake.follows(),
        };
        // Its lines need room.
        if is_possible && self.sinks.any_keeps_up() { self.resync.at() } else { None }
    }

    /// Starts a resync if it is due, and continues one under way. A failure is reported in a line, and retried; an
    /// error means that there is no tracker at all.
    pub(super) fn catch_up(&mut self) -> Result<(), TraceError> {
        if !self.resync.is_running() && self.resync_at().is_some_and(|at| at <= Instant::now()) {
            self.begin_resync();
        }
        self.continue_resync()
    }

    /// The same at the end, due or not; a resync that takes too long is abandoned.
    pub(super) fn catch_up_at_end(&mut self) -> Result<(), TraceError> {
        let Some(tracker) = &mut self.tracker else { return Ok(()) };
        tracker.limit(Instant::now() + AT_END);
        self.finish_resync()?;
        if self.resync_at().is_some() {
            self.begin_resync();
            self.finish_resync()?;
        }
        Ok(())
    }

    fn begin_resync(&mut self) {
        let followed = self.intake.follow_present();
        let survey = self.tracker.as_mut().map(NamespaceTracker::begin);
        if let Some(rebuilt) = self.resync.begin(followed, survey) {
            self.put(Body::Rebuilt(rebuilt));
        }
    }

    fn continue_resync(&mut self) -> Result<(), TraceError> {
        let Some(survey) = self.tracker.as_mut().and_then(|tracker| tracker.go_on().transpose()) else {
            return Ok(());
        };
        let changes = survey.and_then(|survey| self.update(&survey));
        if let Some(rebuilt) = self.resync.end(changes)? {
            self.put(Body::Rebuilt(rebuilt));
        }
        Ok(())
    }

    fn finish_resync(&mut self) -> Result<(), TraceError> {
        self.continue_resync()?;
        while self.resync.is_running()
            && let Some(tracker) = &self.tracker
        {
            tracker.snapshots().wait();
            self.continue_resync()?;
        }
        Ok(())
    }

    /// Opens the namespace tracker, or brings it up to date.
    fn update(&mut self, survey: &Survey) -> Result<Changes, TraceError> {
        self.drain_all()?;
        // A namespace without room in the probe's table is not one that has ended.
        self.count_losses()?;
        let room = self.resync.none_at(Stage::NamespacesFull);
        let Some(tracker) = &mut self.tracker else { return Ok(Changes::default()) };
        let mut news = Vec::new();
        let changes = tracker.resync(survey, room, &mut news);
        self.put_lifecycle(self.numbering.now()?, news);
        changes
    }
}
