//! The namespace tracker of `--lifecycle`: opened from a snapshot, updated by records, and after a loss resynchronized with
//! the probe's table and another snapshot.

use super::snapshots::Snapshots;
use super::survey::{Survey, Surveyor};
use super::table::{Entry, NamespaceTable, is_same};
use crate::model::{
    Body, Changes, Event, Lost, Mark, Namespace, NsId, NsKey, NsSlot, Origination, Snapshot, Stage,
};
use crate::trace::TraceError;
use crate::trace::record::End;
use nsprobe_ebpf::Watched;
use std::io;
use std::time::{Duration, Instant};

/// The tracker.
pub(super) struct NamespaceTracker {
    table: NamespaceTable,
    surveyor: Surveyor,
    nsfs_dev: u64,
    /// True if namespaces found in a snapshot are reported at once, not only when joined.
    report_all: bool,
}

impl NamespaceTracker {
    /// An empty tracker.
    pub(super) fn new(surveyor: Surveyor, nsfs_dev: u64, report_all: bool) -> Self {
        Self { table: NamespaceTable::default(), surveyor, nsfs_dev, report_all }
    }

    /// Processes an event: see [`NamespaceTable::take`].
    pub(super) fn take(&mut self, event: &mut Event) -> Vec<Body> {
        self.table.take(event)
    }

    /// Processes an end: see [`NamespaceTable::end`].
    pub(super) fn end(&mut self, end: &End) -> Option<Body> {
        self.table.end(end)
    }

    /// Adds the namespaces it could not watch to the source's `counted`, at the same stage.
    pub(super) fn count(&self, counted: &mut Vec<Lost>) {
        let unwatched = self.surveyor.unwatched();
        match counted.iter_mut().find(|lost| lost.stage == Stage::NamespacesFull) {
            Some(lost) => lost.count += unwatched,
            None => counted.push(Lost::at(Stage::NamespacesFull, unwatched)),
        }
    }

    /// Begins a survey.
    pub(super) fn begin(&mut self) -> Result<(), TraceError> {
        self.surveyor.begin()
    }

    /// Continues the survey: see [`Surveyor::go_on`].
    pub(super) fn go_on(&mut self) -> Result<Option<Survey>, TraceError> {
        self.surveyor.go_on(&self.table)
    }

    /// The snapshots of the survey.
    pub(super) const fn snapshots(&self) -> &Snapshots {
        self.surveyor.snapshots()
    }

    /// Limits the wait for any snapshot from now on.
    pub(super) fn limit(&mut self, limit: Instant) {
        self.surveyor.limit(limit);
    }

    /// Resynchronizes the tracker, after all items sent before the `survey` were processed. `room`: the probe has had
    /// room for all namespaces to watch.
    ///
    /// A namespace that the probe removed from its table has ended, whether the record could be sent or not; one in its
    /// table is alive. The snapshot shows those that never entered it. The lines to report are added to `news`, also
    /// before an error.
    pub(super) fn resync(
        &mut self,
        survey: &Survey,
        room: bool,
        news: &mut Vec<Body>,
    ) -> Result<Changes, TraceError> {
        let mut changes = Changes::default();
        for entry in self.unseen_ends(survey, room)? {
            changes.ended += u64::from(entry.reported);
            news.extend(self.table.remove_unseen(entry.key.id.ino));
        }
        for (ino, seen) in &survey.probe_table {
            let known = self.table.get(*ino).is_some_and(|entry| is_same_namespace(entry, seen));
            if !known && self.surveyor.watched(*ino)? == Some(*seen) {
                changes.ended += u64::from(self.table.get(*ino).is_some_and(|entry| entry.reported));
                changes.found += 1;
                self.add_watched(*ino, seen, survey, news);
            }
        }
        changes.found += self.add(survey, news)?;
        Ok(changes)
    }

    /// The namespaces in the table that the probe no longer watches: they have ended.
    fn unseen_ends(&self, survey: &Survey, room: bool) -> io::Result<Vec<Entry>> {
        let mut ended = Vec::new();
        if self.surveyor.sees_ends() {
            for entry in self.table.iter() {
                let unseen = || survey.snapshot.namespace(entry.key.id).is_none();
                if self.surveyor.watched(entry.key.id.ino)?.is_none() && (room || unseen()) {
                    ended.push(*entry);
                }
            }
        }
        Ok(ended)
    }

    /// Adds a namespace that the probe watches but the stream has not reported.
    fn add_watched(&mut self, ino: u64, seen: &Watched, survey: &Survey, news: &mut Vec<Body>) {
        let Some(slot) = NsSlot::ALL.get(seen.slot as usize) else { return };
        let id = NsId::new(slot.kind(), self.nsfs_dev, ino);
        let made = (seen.made_ns != 0).then(|| Duration::from_nanos(seen.made_ns));
        let owner = survey.snapshot.namespace(id).and_then(|namespace| owner(namespace, &survey.snapshot));
        let mark = match (Mark::of_id(seen.id), made) {
            (Mark::Unknown, Some(made)) => Mark::Made(made),
            (mark, _) => mark,
        };
        let alive = made.unwrap_or(survey.alive);
        let entry = Entry { key: NsKey { id, mark }, owner, made, alive, reported: true };
        self.table.begin(entry, Origination::FirstSeen, news);
    }

    /// Adds the namespaces that the tracker lacks, and returns how many of them are reported.
    fn add(&mut self, survey: &Survey, news: &mut Vec<Body>) -> io::Result<u64> {
        let Survey { snapshot, latest, added, alive, .. } = survey;
        let mut reported = 0;
        for namespace in &snapshot.namespaces {
            let key = snapshot.key(namespace);
            let is_there =
                |latest: &Snapshot| latest.namespace(key.id).is_some_and(|now| latest.key(now) == key);
            if !latest.as_ref().is_none_or(is_there) {
                if let Some(watched) = added.get(&key.id.ino)
                    && self.surveyor.watched(key.id.ino)? == Some(*watched)
                {
                    self.surveyor.unwatch(key.id.ino);
                }
            } else if self.table.lacks(key) {
                let owner = owner(namespace, snapshot);
                let entry = Entry { key, owner, made: None, alive: *alive, reported: self.report_all };
                self.table.begin(entry, Origination::FirstSeen, news);
                reported += u64::from(self.report_all);
            }
        }
        Ok(reported)
    }
}

fn owner(namespace: &Namespace, snapshot: &Snapshot) -> Option<NsKey> {
    let owner = snapshot.namespace(namespace.owner?)?;
    Some(snapshot.key(owner))
}

/// True if the probe watches the same namespace as the tracker.
fn is_same_namespace(entry: &Entry, watched: &Watched) -> bool {
    if entry.key.mark.kernel_id().is_some() || watched.id != 0 {
        return is_same(entry.key.mark, Mark::of_id(watched.id));
    }
    // One of them may only have been joined, which says nothing about its creation.
    match entry.made {
        Some(made) if watched.made_ns != 0 => made == Duration::from_nanos(watched.made_ns),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
