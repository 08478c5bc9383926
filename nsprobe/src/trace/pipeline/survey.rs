//! Surveys: which namespaces exist, by the probe's table and by snapshots, taken in an order that misses none.

use super::snapshots::Snapshots;
use super::table::NamespaceTable;
use crate::kernel::clock::BootClock;
use crate::kernel::watches::Watches;
use crate::model::{Initial, Namespace, NsId, NsKind, NsSlot, Snapshot};
use crate::trace::{SnapshotFn, TraceError};
use nsprobe_ebpf::Watched;
use nsprobe_ebpf::share::ROWS;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// Makes one survey at a time.
pub(super) struct Surveyor {
    snapshots: Snapshots,
    /// The state of a survey under way.
    step: Option<Step>,
    /// The namespaces that the probe watches; `None` if it does not see ends.
    watches: Option<Watches>,
    clock: BootClock,
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
pub(super) struct Survey {
    /// The probe's table, read first.
    pub(super) probe_table: Vec<(u64, Watched)>,
    pub(super) snapshot: Snapshot,
    /// The second snapshot, taken after the probe began to watch new namespaces.
    pub(super) latest: Option<Snapshot>,
    /// The namespaces added to the probe's table.
    pub(super) added: HashMap<u64, Watched>,
    /// The time at which the last snapshot was begun: namespaces in both snapshots existed then.
    pub(super) alive: Duration,
}

impl Surveyor {
    /// A surveyor that takes snapshots by `snapshot`.
    pub(super) fn new(snapshot: SnapshotFn, watches: Option<Watches>, clock: BootClock) -> io::Result<Self> {
        Ok(Self { snapshots: Snapshots::new(snapshot)?, step: None, watches, clock, unwatched: 0 })
    }

    /// Begins a survey: reads the probe's table, then starts a snapshot, which takes a while.
    pub(super) fn begin(&mut self) -> Result<(), TraceError> {
        let probe_table = self.watches.as_ref().map_or(Ok(Vec::new()), Watches::all)?;
        self.snapshots.begin()?;
        self.step = Some(Step::First { probe_table });
        Ok(())
    }

    /// Continues the survey for a tracker with this `table`, without waiting, and returns the result once complete. An error ends the survey.
    ///
    /// A namespace that ended before the probe was requested to watch it would stay in the table: a second snapshot
    /// reveals that.
    pub(super) fn go_on(&mut self, table: &NamespaceTable) -> Result<Option<Survey>, TraceError> {
        let Some(snapshot) = self.snapshots.take() else { return Ok(None) };
        match (self.step.take(), snapshot?) {
            (None, _) => Ok(None),
            (Some(Step::First { probe_table }), snapshot) => self.watch(table, probe_table, snapshot),
            (Some(Step::Second(survey)), latest) => Ok(Some(Survey { latest: Some(latest), ..*survey })),
        }
    }

    /// Makes the probe watch the namespaces of the first snapshot that the `table` lacks, and takes another if there are any.
    fn watch(
        &mut self,
        table: &NamespaceTable,
        probe_table: Vec<(u64, Watched)>,
        snapshot: Snapshot,
    ) -> Result<Option<Survey>, TraceError> {
        // If ends are seen, an end during the snapshot must not be mistaken for one before it.
        let mut alive = self.clock.since_boot()?;
        let mut added = HashMap::new();
        if let Some(watches) = &mut self.watches {
            let new = snapshot.namespaces.iter().filter(|it| table.lacks(snapshot.key(it)));
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

    /// True if the probe watches namespaces, and so reports their ends.
    pub(super) const fn sees_ends(&self) -> bool {
        self.watches.is_some()
    }

    /// What the probe watches at this inode.
    pub(super) fn watched(&self, ino: u64) -> io::Result<Option<Watched>> {
        self.watches.as_ref().map_or(Ok(None), |watches| watches.get(ino))
    }

    /// Has the probe no longer watch a namespace that a survey added, and that has ended.
    pub(super) fn unwatch(&mut self, ino: u64) {
        if let Some(watches) = &mut self.watches {
            watches.remove(ino);
        }
    }

    /// The number of found namespaces that the probe had no room to watch.
    pub(super) const fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// The snapshots of the survey.
    pub(super) const fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Limits the wait for any snapshot from now on.
    pub(super) fn limit(&mut self, limit: Instant) {
        self.snapshots.limit(limit);
    }

    /// A surveyor that has met namespaces for which the probe had no room.
    #[cfg(test)]
    pub(super) fn with_unwatched(self, unwatched: u64) -> Self {
        Self { unwatched, ..self }
    }
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
