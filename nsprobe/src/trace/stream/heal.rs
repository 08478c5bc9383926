//! Resyncs after losses: finds descendants that are not followed, opens the namespace tracker and brings it up to date.
//! The stream goes on while snapshots are taken for that.

use super::Stream;
use super::healing::Healing;
use crate::model::{Body, Changes, Rebuilt};
use crate::trace::TraceError;
use crate::trace::tracker::{NamespaceTracker, Survey};
use crate::trace::losses::UNWATCHED;
use crate::trace::source::Source;
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
        if let Some(account) = &mut self.account {
            account.begin()?;
            self.healing = Some(Healing::Opening);
        }
        Ok(())
    }

    /// True if the tracker is not open yet.
    pub(in crate::trace) const fn is_opening(&self) -> bool {
        matches!(self.healing, Some(Healing::Opening))
    }

    /// Readable when [`Stream::resync`] has something to do.
    pub(in crate::trace) fn news(&self) -> Option<BorrowedFd<'_>> {
        self.account.as_ref().map(|account| account.snapshots().news())
    }

    /// The time when it has something to do, with or without news.
    pub(super) fn heal_due(&self) -> Option<Instant> {
        if self.healing.is_some() {
            self.account.as_ref().and_then(|account| account.snapshots().due())
        } else {
            self.heals_at()
        }
    }

    /// The time of the next resync.
    fn heals_at(&self) -> Option<Instant> {
        let is_stuck = self.account.as_ref().is_some_and(|account| account.snapshots().is_stuck());
        let is_wanted = self.losses.unhealed() && !self.choked.now && !is_stuck;
        let is_possible = self.account.is_some() || self.follows;
        let (last, first) = self.lost.filter(|_| is_wanted && is_possible)?;
        let at = (last + QUIET).min(first + PATIENCE);
        // The resync itself may find that there is no room.
        Some(self.healed.map_or(at, |healed| at.max(healed + PATIENCE)))
    }

    /// Starts a resync if it is due, and continues one under way. A failure is reported in a line, and retried; an
    /// error means that there is no tracker at all.
    pub(in crate::trace) fn heal(&mut self, source: &mut dyn Source, most: usize) -> Result<(), TraceError> {
        if self.healing.is_none() && self.heals_at().is_some_and(|at| at <= Instant::now()) {
            self.begin(source);
        }
        self.go_on(source, most)
    }

    /// The same at the end, due or not; a resync that takes too long is abandoned.
    pub(super) fn heal_at_end(&mut self, source: &mut dyn Source, most: usize) -> Result<(), TraceError> {
        let Some(account) = &mut self.account else { return Ok(()) };
        account.limit(Instant::now() + AT_END);
        self.go_through(source, most)?;
        if self.heals_at().is_some() {
            self.begin(source);
            self.go_through(source, most)?;
        }
        Ok(())
    }

    fn go_through(&mut self, source: &mut dyn Source, most: usize) -> Result<(), TraceError> {
        self.go_on(source, most)?;
        while self.healing.is_some()
            && let Some(account) = &self.account
        {
            account.snapshots().wait();
            self.go_on(source, most)?;
        }
        Ok(())
    }

    fn begin(&mut self, source: &mut dyn Source) {
        // Losses from now on are new ones.
        self.losses.heal();
        self.lost = None;
        let followed = self.follows.then(|| source.follow_present()).transpose();
        let followed = followed.map_err(|error| format!("descendants: {error}"));
        match self.account.as_mut().map(NamespaceTracker::begin) {
            None => self.say(followed, Ok(None)),
            Some(Err(error)) => self.say(followed, Err(error)),
            Some(Ok(())) => self.healing = Some(Healing::NamespaceTracker(followed)),
        }
    }

    fn go_on(&mut self, source: &mut dyn Source, most: usize) -> Result<(), TraceError> {
        let Some(sight) = self.account.as_mut().and_then(|account| account.go_on().transpose()) else {
            return Ok(());
        };
        let changes = sight.and_then(|sight| self.settle(source, most, &sight).map(Some));
        match (self.healing.take(), changes) {
            (None, _) | (Some(Healing::Opening), Ok(_)) => {}
            (Some(Healing::Opening), Err(error @ TraceError::Slow)) => self.say(Ok(None), Err(error)),
            (Some(Healing::Opening), Err(error)) => return Err(error),
            (Some(Healing::NamespaceTracker(followed)), changes) => self.say(followed, changes),
        }
        Ok(())
    }

    /// Opens the namespace tracker, or brings it up to date.
    fn settle(&mut self, source: &mut dyn Source, most: usize, sight: &Survey) -> Result<Changes, TraceError> {
        self.drain_all(source, most)?;
        let room = self.losses.none_at(UNWATCHED);
        let Some(account) = &mut self.account else { return Ok(Changes::default()) };
        let mut news = Vec::new();
        let rebuilt = account.rebuild(sight, room, &mut news);
        let now = self.clock.now()?;
        for life in news {
            self.put_life(now, life);
        }
        rebuilt
    }

    fn say(&mut self, followed: Result<Option<u64>, String>, changes: Result<Option<Changes>, TraceError>) {
        let namespaces = changes.map_err(|error| format!("namespaces: {error}"));
        let failed = [followed.as_ref().err(), namespaces.as_ref().err()];
        let failed: Vec<&str> = failed.into_iter().flatten().map(String::as_str).collect();
        let failed = (!failed.is_empty()).then(|| failed.join("; "));
        if failed.is_some() {
            self.losses.worsen();
            let now = Instant::now();
            self.lost.get_or_insert((now, now));
        }
        let (namespaces, followed) = (namespaces.ok().flatten(), followed.ok().flatten());
        self.put_now(Body::Rebuilt(Rebuilt { namespaces, followed, failed }));
        self.healed = Some(Instant::now());
    }
}
