//! The account of namespaces that a trace keeps with `--lives`: opened from a snapshot, kept by records, and after a
//! loss put right from what the probe knows and another snapshot.

use super::table::{Entry, NamespaceTable, is_same};
use super::losses::UNWATCHED;
use super::record::End;
use super::snapshots::Snapshots;
use super::{Look, TraceError};
use crate::kernel::clock::BootClock;
use crate::kernel::watches::Watches;
use crate::model::{
    Body, Changes, Event, Initial, Life, Lost, Mark, Namespace, NsId, NsKind, NsSlot, Origination, Snapshot,
};
use nsprobe_ebpf::Watched;
use nsprobe_ebpf::share::ROWS;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// The account.
pub struct NamespaceTracker {
    lives: NamespaceTable,
    snapshots: Snapshots,
    /// How far it has looked, while it looks.
    step: Option<Step>,
    /// What the probe watches; `None` where it does not see ends.
    watches: Option<Watches>,
    clock: BootClock,
    nsfs_dev: u64,
    /// Whether what is found is told at once, not only when it is met.
    tell_all: bool,
    /// Namespaces that the probe had no room to watch for us.
    unwatched: u64,
}

/// How far a look has come.
enum Step {
    /// The first snapshot is being taken; this is what the probe watched before.
    First { survey: Vec<(u64, Watched)> },
    /// The second is, which is all that is missing here.
    Second(Box<Survey>),
}

/// What `NamespaceTracker::go_on` saw.
#[derive(Debug)]
pub struct Survey {
    /// What the probe watched, first of all.
    survey: Vec<(u64, Watched)>,
    snapshot: Snapshot,
    /// Taken after the probe was told to watch what is new.
    latest: Option<Snapshot>,
    /// What it was told to.
    added: HashMap<u64, Watched>,
    /// When the latter was begun: what is in both was there then.
    alive: Duration,
}

impl NamespaceTracker {
    /// An empty one.
    pub fn new(
        look: Look,
        watches: Option<Watches>,
        clock: BootClock,
        nsfs_dev: u64,
        tell_all: bool,
    ) -> io::Result<Self> {
        let (lives, snapshots) = (NamespaceTable::default(), Snapshots::new(look)?);
        Ok(Self { lives, snapshots, step: None, watches, clock, nsfs_dev, tell_all, unwatched: 0 })
    }

    /// Takes an event: see [`NamespaceTable::take`].
    pub fn take(&mut self, event: &mut Event) -> Vec<Body> {
        self.lives.take(event)
    }

    /// Takes an end: see [`NamespaceTable::end`].
    pub fn end(&mut self, end: &End) -> Option<Body> {
        self.lives.end(end)
    }

    /// Adds what it could not have watched to what the source has `counted`, at the same stage.
    pub fn count(&self, counted: &mut Vec<Lost>) {
        match counted.iter_mut().find(|lost| lost.stage == UNWATCHED) {
            Some(lost) => lost.count += self.unwatched,
            None => counted.push(Lost::at(UNWATCHED, self.unwatched)),
        }
    }

    /// Begins to look: at the probe's table, and then at the machine, which takes a while.
    pub(super) fn begin(&mut self) -> Result<(), TraceError> {
        let survey = self.watches.as_ref().map_or(Ok(Vec::new()), Watches::all)?;
        self.snapshots.begin()?;
        self.step = Some(Step::First { survey });
        Ok(())
    }

    /// Goes on looking, without waiting, and gives what was seen once that is all. After an error it looks no more.
    ///
    /// A namespace that ended before the probe was requested to watch it would stay for ever: a second snapshot shows
    /// that.
    pub(super) fn go_on(&mut self) -> Result<Option<Survey>, TraceError> {
        let Some(snapshot) = self.snapshots.take() else { return Ok(None) };
        match (self.step.take(), snapshot?) {
            (None, _) => Ok(None),
            (Some(Step::First { survey }), snapshot) => self.watch(survey, snapshot),
            (Some(Step::Second(sight)), latest) => Ok(Some(Survey { latest: Some(latest), ..*sight })),
        }
    }

    /// Has the probe watch what is new in the first snapshot, and takes another if there is such.
    fn watch(
        &mut self,
        survey: Vec<(u64, Watched)>,
        snapshot: Snapshot,
    ) -> Result<Option<Survey>, TraceError> {
        // Where ends are seen, an end during the snapshot must not be taken for one before it.
        let mut alive = self.clock.since_boot()?;
        let mut added = HashMap::new();
        if let Some(watches) = &mut self.watches {
            let new = snapshot.namespaces.iter().filter(|it| is_new(&self.lives, it, &snapshot));
            for namespace in by_turns(new, &snapshot) {
                let id = snapshot.life(namespace).mark.kernel_id().unwrap_or(0);
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
        let sight = Survey { survey, snapshot, latest: None, added, alive };
        if again {
            self.step = Some(Step::Second(Box::new(sight)));
            return Ok(None);
        }
        Ok(Some(sight))
    }

    /// The snapshots that it looks by.
    pub(super) const fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// From now on none is waited for beyond the `limit`.
    pub(super) fn limit(&mut self, limit: Instant) {
        self.snapshots.limit(limit);
    }

    /// Puts the account right, after everything was taken that had been sent by the time of the `sight`. `room`: the
    /// probe has had room for all that it was to watch.
    ///
    /// What the probe has taken out of its table has ended, whether it could send the record or not; what is in there
    /// is alive. What never came in there the snapshot shows. What is to be told of that comes to the `news`, before an
    /// error as well.
    pub fn rebuild(
        &mut self,
        sight: &Survey,
        room: bool,
        news: &mut Vec<Body>,
    ) -> Result<Changes, TraceError> {
        let mut changes = Changes::default();
        if let Some(watches) = &self.watches {
            let gone = |entry: &&Entry| {
                let unseen = || sight.snapshot.namespace(entry.life.id).is_none();
                watches.get(entry.life.id.ino).map(|watched| watched.is_none() && (room || unseen()))
            };
            let mut ended = Vec::new();
            for entry in self.lives.iter() {
                if gone(&entry)? {
                    ended.push((entry.life.id.ino, entry.told));
                }
            }
            for (ino, told) in ended {
                changes.ended += u64::from(told);
                news.extend(self.lives.miss(ino));
            }
        }
        for (ino, seen) in &sight.survey {
            let known = self.lives.get(*ino).is_some_and(|entry| is_same_life(entry, seen));
            let is_there =
                self.watches.as_ref().map_or(Ok(None), |watches| watches.get(*ino))? == Some(*seen);
            if !known && is_there {
                changes.ended += u64::from(self.lives.get(*ino).is_some_and(|entry| entry.told));
                changes.found += 1;
                self.found(*ino, seen, sight, news);
            }
        }
        changes.found += self.add(sight, news)?;
        Ok(changes)
    }

    /// Takes in what the probe watches, and the stream has not heard of.
    fn found(&mut self, ino: u64, seen: &Watched, sight: &Survey, news: &mut Vec<Body>) {
        let Some(slot) = NsSlot::ALL.get(seen.slot as usize) else { return };
        let id = NsId::new(slot.kind(), self.nsfs_dev, ino);
        let made = (seen.made_ns != 0).then(|| Duration::from_nanos(seen.made_ns));
        let owner = sight.snapshot.namespace(id).and_then(|namespace| owner(namespace, &sight.snapshot));
        let mark = match (Mark::of_id(seen.id), made) {
            (Mark::Unknown, Some(made)) => Mark::Made(made),
            (mark, _) => mark,
        };
        let alive = made.unwrap_or(sight.alive);
        let entry = Entry { life: Life { id, mark }, owner, made, alive, told: true };
        self.lives.begin(entry, Origination::FirstSeen, news);
    }

    /// Takes in what was seen and is not in the account, and gives how many of that are told of.
    fn add(&mut self, sight: &Survey, news: &mut Vec<Body>) -> io::Result<u64> {
        let Survey { snapshot, latest, added, alive, .. } = sight;
        let mut told = 0;
        for namespace in &snapshot.namespaces {
            let life = snapshot.life(namespace);
            let is_there =
                |latest: &Snapshot| latest.namespace(life.id).is_some_and(|now| latest.life(now) == life);
            if !latest.as_ref().is_none_or(is_there) {
                if let (Some(watches), Some(watched)) = (&mut self.watches, added.get(&life.id.ino))
                    && watches.get(life.id.ino)? == Some(*watched)
                {
                    watches.remove(life.id.ino);
                }
            } else if is_new(&self.lives, namespace, snapshot) {
                let owner = owner(namespace, snapshot);
                let entry = Entry { life, owner, made: None, alive: *alive, told: self.tell_all };
                self.lives.begin(entry, Origination::FirstSeen, news);
                told += u64::from(self.tell_all);
            }
        }
        Ok(told)
    }
}

fn is_new(lives: &NamespaceTable, namespace: &Namespace, snapshot: &Snapshot) -> bool {
    let mark = snapshot.life(namespace).mark;
    lives.get(namespace.id.ino).is_none_or(|known| !is_same(known.life.mark, mark))
}

/// These in another order: one of each tenant, then another of each. So whoever has many takes no room from others.
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

/// Who has made the outermost user namespace that it lies in, below the initial one; `None`: nobody, as far as known.
fn tenant(namespace: &Namespace, snapshot: &Snapshot) -> Option<u32> {
    /// How deep user namespaces nest, at most.
    const DEPTH: usize = 33;
    let of = |id: Option<NsId>| id.and_then(|id| snapshot.namespace(id));
    let is_user = namespace.id.kind == NsKind::User;
    let mut user = if is_user { Some(namespace) } else { of(namespace.owner) };
    let mut made_by = None;
    for _ in 0..DEPTH {
        let Some(now) = user.filter(|now| now.initial != Initial::Yes) else { break };
        made_by = now.owner_uid.or(made_by);
        user = of(now.parent);
    }
    made_by
}

fn owner(namespace: &Namespace, snapshot: &Snapshot) -> Option<Life> {
    let owner = snapshot.namespace(namespace.owner?)?;
    Some(snapshot.life(owner))
}

/// Whether the probe watches the life that the account has.
fn is_same_life(entry: &Entry, watched: &Watched) -> bool {
    if entry.life.mark.kernel_id().is_some() || watched.id != 0 {
        return is_same(entry.life.mark, Mark::of_id(watched.id));
    }
    // One of them may have been joined only, which says nothing of its making.
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
    fn what_could_not_be_watched_is_lost_where_the_probe_loses_it_too() {
        let look = Arc::new(|| Err(String::new()));
        let clock = BootClock::read().unwrap();
        let account = NamespaceTracker { unwatched: 2, ..NamespaceTracker::new(look, None, clock, 4, true).unwrap() };
        let lost = Lost::at;
        let counted = |mut counted| {
            account.count(&mut counted);
            counted
        };
        let both = counted(vec![lost("ring_full", 1), lost("namespaces_full", 3)]);
        assert_eq!(both, [lost("ring_full", 1), lost("namespaces_full", 5)]);
        assert_eq!(counted(vec![]), [lost("namespaces_full", 2)]);
    }
}
