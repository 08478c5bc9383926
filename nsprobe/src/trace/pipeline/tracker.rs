//! The namespace tracker of `--lifecycle`: opened from a snapshot, updated by records, and after a loss resynchronized with
//! the probe's table and another snapshot.

use super::snapshots::Snapshots;
use super::table::{Entry, NamespaceTable, is_same};
use crate::kernel::clock::BootClock;
use crate::kernel::watches::Watches;
use crate::model::{
    Body, Changes, Event, Initial, Lost, Mark, Namespace, NsId, NsKey, NsKind, NsSlot, Origination, Snapshot,
    Stage,
};
use crate::trace::record::End;
use crate::trace::{SnapshotFn, TraceError};
use nsprobe_ebpf::Watched;
use nsprobe_ebpf::share::ROWS;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// The tracker.
pub struct NamespaceTracker {
    table: NamespaceTable,
    snapshots: Snapshots,
    /// The state of a survey under way.
    step: Option<Step>,
    /// The namespaces that the probe watches; `None` if it does not see ends.
    watches: Option<Watches>,
    clock: BootClock,
    nsfs_dev: u64,
    /// True if namespaces found in a snapshot are reported at once, not only when joined.
    report_all: bool,
    /// The number of found namespaces that the probe had no room to watch.
    unwatched: u64,
}

/// The state of a survey.
enum Step {
    /// The first snapshot is being taken; with the probe's table from before.
    First { probe_table: Vec<(u64, Watched)> },
    /// The second is being taken; the rest is here.
    Second(Box<Survey>),
}

/// The result of a survey.
#[derive(Debug)]
pub struct Survey {
    /// The probe's table, read first.
    probe_table: Vec<(u64, Watched)>,
    snapshot: Snapshot,
    /// The second snapshot, taken after the probe began to watch new namespaces.
    latest: Option<Snapshot>,
    /// The namespaces added to the probe's table.
    added: HashMap<u64, Watched>,
    /// The time at which the last snapshot was begun: namespaces in both snapshots existed then.
    alive: Duration,
}

impl NamespaceTracker {
    /// An empty tracker.
    pub fn new(
        snapshot: SnapshotFn,
        watches: Option<Watches>,
        clock: BootClock,
        nsfs_dev: u64,
        report_all: bool,
    ) -> io::Result<Self> {
        let (table, snapshots) = (NamespaceTable::default(), Snapshots::new(snapshot)?);
        Ok(Self { table, snapshots, step: None, watches, clock, nsfs_dev, report_all, unwatched: 0 })
    }

    /// Processes an event: see [`NamespaceTable::take`].
    pub fn take(&mut self, event: &mut Event) -> Vec<Body> {
        self.table.take(event)
    }

    /// Processes an end: see [`NamespaceTable::end`].
    pub fn end(&mut self, end: &End) -> Option<Body> {
        self.table.end(end)
    }

    /// Adds the namespaces it could not watch to the source's `counted`, at the same stage.
    pub fn count(&self, counted: &mut Vec<Lost>) {
        match counted.iter_mut().find(|lost| lost.stage == Stage::NamespacesFull) {
            Some(lost) => lost.count += self.unwatched,
            None => counted.push(Lost::at(Stage::NamespacesFull, self.unwatched)),
        }
    }

    /// Begins a survey: reads the probe's table, then starts a snapshot, which takes a while.
    pub(super) fn begin(&mut self) -> Result<(), TraceError> {
        let probe_table = self.watches.as_ref().map_or(Ok(Vec::new()), Watches::all)?;
        self.snapshots.begin()?;
        self.step = Some(Step::First { probe_table });
        Ok(())
    }

    /// Continues the survey, without waiting, and returns the result once complete. An error ends the survey.
    ///
    /// A namespace that ended before the probe was requested to watch it would stay in the table: a second snapshot
    /// reveals that.
    pub(super) fn go_on(&mut self) -> Result<Option<Survey>, TraceError> {
        let Some(snapshot) = self.snapshots.take() else { return Ok(None) };
        match (self.step.take(), snapshot?) {
            (None, _) => Ok(None),
            (Some(Step::First { probe_table }), snapshot) => self.watch(probe_table, snapshot),
            (Some(Step::Second(survey)), latest) => Ok(Some(Survey { latest: Some(latest), ..*survey })),
        }
    }

    /// Makes the probe watch the new namespaces of the first snapshot, and takes another if there are any.
    fn watch(
        &mut self,
        probe_table: Vec<(u64, Watched)>,
        snapshot: Snapshot,
    ) -> Result<Option<Survey>, TraceError> {
        // If ends are seen, an end during the snapshot must not be mistaken for one before it.
        let mut alive = self.clock.since_boot()?;
        let mut added = HashMap::new();
        if let Some(watches) = &mut self.watches {
            let new = snapshot.namespaces.iter().filter(|it| is_new(&self.table, it, &snapshot));
            for namespace in by_turns(new, &snapshot) {
                let id = snapshot.key(namespace).mark.kernel_id().unwrap_or(0);
                let slot = u32::try_from(NsSlot::In(namespace.id.kind).index()).unwrap_or(u32::MAX);
                let watched = Watched { id, made_ns: 0, shares: [0; ROWS], slot, reserved: 0 };
                if watches.add(namespace.id.ino, watched) {
                    added.insert(namespace.id.ino, watched);
                } else {
                    self.unwatched += 1;
                }
            }
            if !added.is_empty() {
                alive = self.clock.since_boot()?;
                self.snapshots.begin()?;
            }
        }
        let again = !added.is_empty();
        let survey = Survey { probe_table, snapshot, latest: None, added, alive };
        if again {
            self.step = Some(Step::Second(Box::new(survey)));
            return Ok(None);
        }
        Ok(Some(survey))
    }

    /// The snapshots of the survey.
    pub(super) const fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Limits the wait for any snapshot from now on.
    pub(super) fn limit(&mut self, limit: Instant) {
        self.snapshots.limit(limit);
    }

    /// Resynchronizes the tracker, after all items sent before the `survey` were processed. `room`: the probe has had
    /// room for all namespaces to watch.
    ///
    /// A namespace that the probe removed from its table has ended, whether the record could be sent or not; one in its
    /// table is alive. The snapshot shows those that never entered it. The lines to report are added to `news`, also
    /// before an error.
    pub fn resync(
        &mut self,
        survey: &Survey,
        room: bool,
        news: &mut Vec<Body>,
    ) -> Result<Changes, TraceError> {
        let mut changes = Changes::default();
        if let Some(watches) = &self.watches {
            let gone = |entry: &&Entry| {
                let unseen = || survey.snapshot.namespace(entry.key.id).is_none();
                watches.get(entry.key.id.ino).map(|watched| watched.is_none() && (room || unseen()))
            };
            let mut ended = Vec::new();
            for entry in self.table.iter() {
                if gone(&entry)? {
                    ended.push((entry.key.id.ino, entry.reported));
                }
            }
            for (ino, reported) in ended {
                changes.ended += u64::from(reported);
                news.extend(self.table.remove_unseen(ino));
            }
        }
        for (ino, seen) in &survey.probe_table {
            let known = self.table.get(*ino).is_some_and(|entry| is_same_namespace(entry, seen));
            let is_there =
                self.watches.as_ref().map_or(Ok(None), |watches| watches.get(*ino))? == Some(*seen);
            if !known && is_there {
                changes.ended += u64::from(self.table.get(*ino).is_some_and(|entry| entry.reported));
                changes.found += 1;
                self.add_watched(*ino, seen, survey, news);
            }
        }
        changes.found += self.add(survey, news)?;
        Ok(changes)
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
                if let (Some(watches), Some(watched)) = (&mut self.watches, added.get(&key.id.ino))
                    && watches.get(key.id.ino)? == Some(*watched)
                {
                    watches.remove(key.id.ino);
                }
            } else if is_new(&self.table, namespace, snapshot) {
                let owner = owner(namespace, snapshot);
                let entry = Entry { key, owner, made: None, alive: *alive, reported: self.report_all };
                self.table.begin(entry, Origination::FirstSeen, news);
                reported += u64::from(self.report_all);
            }
        }
        Ok(reported)
    }
}

fn is_new(table: &NamespaceTable, namespace: &Namespace, snapshot: &Snapshot) -> bool {
    let mark = snapshot.key(namespace).mark;
    table.get(namespace.id.ino).is_none_or(|known| !is_same(known.key.mark, mark))
}

/// Reorders namespaces: one of each tenant, then another of each, so that a tenant with many takes no room from others.
fn by_turns<'a>(
    namespaces: impl Iterator<Item = &'a Namespace>,
    snapshot: &Snapshot,
) -> impl Iterator<Item = &'a Namespace> {
    let mut turns: HashMap<Option<u32>, usize> = HashMap::new();
    let turn = |namespace: &'a Namespace| {
        let turn = turns.entry(tenant(namespace, snapshot)).or_default();
        *turn += 1;
        (*turn, namespace)
    };
    let mut all: Vec<_> = namespaces.map(turn).collect();
    all.sort_by_key(|(turn, _)| *turn);
    all.into_iter().map(|(_, namespace)| namespace)
}

/// The creator of the outermost user namespace around it, below the initial one; `None` if none is known.
fn tenant(namespace: &Namespace, snapshot: &Snapshot) -> Option<u32> {
    /// The maximum nesting depth of user namespaces.
    const DEPTH: usize = 33;
    let of = |id: Option<NsId>| id.and_then(|id| snapshot.namespace(id));
    let is_user = namespace.id.kind == NsKind::User;
    let mut user = if is_user { Some(namespace) } else { of(namespace.owner) };
    let mut creator = None;
    for _ in 0..DEPTH {
        let Some(now) = user.filter(|now| now.initial != Initial::Yes) else { break };
        creator = now.owner_uid.or(creator);
        user = of(now.parent);
    }
    creator
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
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn unwatched_namespaces_count_at_the_probes_stage() {
        let snapshot = Arc::new(|| Err(String::new()));
        let clock = BootClock::read().unwrap();
        let empty = NamespaceTracker::new(snapshot, None, clock, 4, true).unwrap();
        let tracker = NamespaceTracker { unwatched: 2, ..empty };
        let lost = Lost::at;
        let counted = |mut counted| {
            tracker.count(&mut counted);
            counted
        };
        let both = counted(vec![lost(Stage::RingFull, 1), lost(Stage::NamespacesFull, 3)]);
        assert_eq!(both, [lost(Stage::RingFull, 1), lost(Stage::NamespacesFull, 5)]);
        assert_eq!(counted(vec![]), [lost(Stage::NamespacesFull, 2)]);
    }
}
