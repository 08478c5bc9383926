//! Resyncs after losses: finds descendants that are not followed, opens the namespace tracker and brings it up to date.
//! The stream goes on while snapshots are taken for that.

use super::Stream;
use super::resync_state::ResyncState;
use crate::model::{Body, Changes, Rebuilt, Stage};
use crate::trace::TraceError;
use crate::trace::source::Source;
use crate::trace::tracker::{NamespaceTracker, Survey};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The time without losses before a resync.
const QUIET: Duration = Duration::from_millis(50);

/// The maximum delay of a resync while losses go on, and the minimum between two resyncs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The maximum wait for a snapshot at the end.
const AT_END: Duration = Duration::from_millis(300);

impl Stream<'_> {
    /// Begins to open the namespace tracker, if there is one.
    pub(in crate::trace) fn open(&mut self) -> Result<(), TraceError> {
        if let Some(tracker) = &mut self.tracker {
            tracker.begin()?;
            self.resync = Some(ResyncState::Opening);
        }
        Ok(())
    }

    /// True if the tracker is not open yet.
    pub(in crate::trace) const fn is_opening(&self) -> bool {
        matches!(self.resync, Some(ResyncState::Opening))
    }

    /// Readable when [`Stream::resync`] has something to do.
    pub(in crate::trace) fn news(&self) -> Option<BorrowedFd<'_>> {
        self.tracker.as_ref().map(|tracker| tracker.snapshots().news())
    }

    /// The time when it has something to do, with or without news.
    pub(super) fn resync_due(&self) -> Option<Instant> {
        if self.resync.is_some() {
            self.tracker.as_ref().and_then(|tracker| tracker.snapshots().due())
        } else {
            self.resync_at()
        }
    }

    /// The time of the next resync.
    fn resync_at(&self) -> Option<Instant> {
        let is_stuck = self.tracker.as_ref().is_some_and(|tracker| tracker.snapshots().is_stuck());
        let is_wanted = self.losses.needs_resync() && !self.overflow.active && !is_stuck;
        let is_possible = self.tracker.is_some() || self.follows;
        let (last, first) = self.lost.filter(|_| is_wanted && is_possible)?;
        let at = (last + QUIET).min(first + PATIENCE);
        // The resync itself may find that there is no room.
        Some(self.resynced.map_or(at, |resynced| at.max(resynced + PATIENCE)))
    }

    /// Starts a resync if it is due, and continues one under way. A failure is reported in a line, and retried; an
    /// error means that there is no tracker at all.
    pub(in crate::trace) fn resync(
        &mut self,
        source: &mut dyn Source,
        most: usize,
    ) -> Result<(), TraceError> {
        if self.resync.is_none() && self.resync_at().is_some_and(|at| at <= Instant::now()) {
            self.begin(source);
        }
        self.go_on(source, most)
    }

    /// The same at the end, due or not; a resync that takes too long is abandoned.
    pub(super) fn resync_at_end(&mut self, source: &mut dyn Source, most: usize) -> Result<(), TraceError> {
        let Some(tracker) = &mut self.tracker else { return Ok(()) };
        tracker.limit(Instant::now() + AT_END);
        self.go_through(source, most)?;
        if self.resync_at().is_some() {
            self.begin(source);
            self.go_through(source, most)?;
        }
        Ok(())
    }

    fn go_through(&mut self, source: &mut dyn Source, most: usize) -> Result<(), TraceError> {
        self.go_on(source, most)?;
        while self.resync.is_some()
            && let Some(tracker) = &self.tracker
        {
            tracker.snapshots().wait();
            self.go_on(source, most)?;
        }
        Ok(())
    }

    fn begin(&mut self, source: &mut dyn Source) {
        // Losses from now on are new ones.
        self.losses.mark_resynced();
        self.lost = None;
        let followed = self.follows.then(|| source.follow_present()).transpose();
        let followed = followed.map_err(|error| format!("descendants: {error}"));
        match self.tracker.as_mut().map(NamespaceTracker::begin) {
            None => self.report_resync(followed, Ok(None)),
            Some(Err(error)) => self.report_resync(followed, Err(error)),
            Some(Ok(())) => self.resync = Some(ResyncState::Updating(followed)),
        }
    }

    fn go_on(&mut self, source: &mut dyn Source, most: usize) -> Result<(), TraceError> {
        let Some(survey) = self.tracker.as_mut().and_then(|tracker| tracker.go_on().transpose()) else {
            return Ok(());
        };
        let changes = survey.and_then(|survey| self.update(source, most, &survey).map(Some));
        match (self.resync.take(), changes) {
            (None, _) | (Some(ResyncState::Opening), Ok(_)) => {}
            (Some(ResyncState::Opening), Err(error @ TraceError::Slow)) => {
                self.report_resync(Ok(None), Err(error));
            }
            (Some(ResyncState::Opening), Err(error)) => return Err(error),
            (Some(ResyncState::Updating(followed)), changes) => self.report_resync(followed, changes),
        }
        Ok(())
    }

    /// Opens the namespace tracker, or brings it up to date.
    fn update(
        &mut self,
        source: &mut dyn Source,
        most: usize,
        survey: &Survey,
    ) -> Result<Changes, TraceError> {
        self.drain_all(source, most)?;
        let room = self.losses.none_at(Stage::NamespacesFull);
        let Some(tracker) = &mut self.tracker else { return Ok(Changes::default()) };
        let mut news = Vec::new();
        let changes = tracker.resync(survey, room, &mut news);
        let now = self.clock.now()?;
        for line in news {
            self.put_lifecycle(now, line);
        }
        changes
    }

    fn report_resync(
        &mut self,
        followed: Result<Option<u64>, String>,
        changes: Result<Option<Changes>, TraceError>,
    ) {
        let namespaces = changes.map_err(|error| format!("namespaces: {error}"));
        let failed = [followed.as_ref().err(), namespaces.as_ref().err()];
        let failed: Vec<&str> = failed.into_iter().flatten().map(String::as_str).collect();
        let failed = (!failed.is_empty()).then(|| failed.join("; "));
        if failed.is_some() {
            self.losses.mark_failed();
            let now = Instant::now();
            self.lost.get_or_insert((now, now));
        }
        let (namespaces, followed) = (namespaces.ok().flatten(), followed.ok().flatten());
        self.put_now(Body::Rebuilt(Rebuilt { namespaces, followed, failed }));
        self.resynced = Some(Instant::now());
    }
}
