//! The namespaces of a trace: created by a call, or first seen; destroyed by the kernel.
//!
//! No two namespaces have the same inode at a time, so the table is by inode, and reuse of an inode ends the former.

use crate::model::kinds_of_unshare;
use crate::model::{
    Body, Created, Destroyed, Event, Mark, NsId, NsKey, NsKind, NsSlot, Operation, Origination, Outcome,
    SlotMarks,
};
use crate::trace::record::End;
use std::collections::HashMap;
use std::time::Duration;

/// A namespace in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its key.
    pub(super) key: NsKey,
    /// The user namespace that owns it, as far as known.
    pub(super) owner: Option<NsKey>,
    /// The time of its creation, if seen.
    pub(super) made: Option<Duration>,
    /// A time at which it existed: an end before that is of another namespace.
    pub(super) alive: Duration,
    /// True if the stream has reported it.
    pub(super) reported: bool,
}

/// The existing namespaces, as far as known.
#[derive(Debug, Default)]
pub(super) struct NamespaceTable(HashMap<u64, Entry>);

impl NamespaceTable {
    /// Adds the namespaces that a call created and joined, and returns the lines to report. Sets the event's marks if
    /// the kernel has none.
    pub(super) fn take(&mut self, event: &mut Event) -> Vec<Body> {
        let before = event.marks.is_none().then(|| event.before.map(|id| self.mark(id)));
        let mut news = Vec::new();
        let mut changed: Vec<(NsSlot, NsId)> =
            event.changed_slots().map(|(slot, _, id)| (slot, id)).collect();
        if matches!(event.operation, Operation::Change { scans: Some(_) }) {
            // The namespace before is unknown, but not the one after.
            let unknown = |slot: NsSlot| event.before.get(slot).is_none();
            changed.extend(
                event.after.iter().filter_map(|(slot, id)| id.filter(|_| unknown(slot)).map(|id| (slot, id))),
            );
        }
        // The owner of the others first.
        changed.sort_by_key(|(slot, _)| slot.kind() != NsKind::User);
        for &(slot, id) in &changed {
            let mark = event.marks.as_ref().map_or(Mark::Unknown, |marks| *marks.after.get(slot));
            if is_made(event, slot) {
                let mark = if mark == Mark::Unknown { Mark::Made(event.since_boot) } else { mark };
                let owner = self.owner(event, slot);
                let by = Origination::Call { name: event.operation.name(), pid: event.process.pid };
                let entry = Entry {
                    key: NsKey { id, mark },
                    owner,
                    made: Some(event.since_boot),
                    alive: event.since_boot,
                    reported: true,
                };
                self.begin(entry, by, &mut news);
            } else {
                self.see(NsKey { id, mark }, event.since_boot, &mut news);
            }
        }
        if let Some(before) = before {
            let after = event.after.map(|id| self.mark(id));
            event.marks = Some(Box::new(SlotMarks { before, after }));
        }
        news
    }

    /// Adds a namespace that was created, or was not known to exist.
    pub(super) fn begin(&mut self, entry: Entry, by: Origination, news: &mut Vec<Body>) {
        match self.0.insert(entry.key.id.ino, entry) {
            // An item after a loss, before its own event arrived.
            Some(former) if former.reported && is_same_namespace(&former, &entry) => {
                self.0.insert(former.key.id.ino, Entry { made: entry.made.or(former.made), ..former });
                return;
            }
            Some(former) if former.key != entry.key => news.extend(unseen_end(former)),
            _ => {}
        }
        if entry.reported {
            news.push(Body::Created(Created { namespace: entry.key, owner: entry.owner, by }));
        }
    }

    /// Adds a namespace that exists at the time `alive`, and was not created just now.
    fn see(&mut self, key: NsKey, alive: Duration, news: &mut Vec<Body>) {
        let known = self.0.get_mut(&key.id.ino).filter(|known| is_same(known.key.mark, key.mark));
        let (key, owner, made) = match known {
            Some(known) if known.reported => return,
            Some(known) => (known.key, known.owner, known.made),
            None => (key, None, None),
        };
        let entry = Entry { key, owner, made, alive, reported: true };
        self.begin(entry, Origination::FirstSeen, news);
    }

    /// Removes a namespace that ended; returns `None` if it had not been reported.
    pub(super) fn end(&mut self, end: &End) -> Option<Body> {
        let entry = *self.0.get(&end.ino)?;
        if end.since_boot < entry.alive || !is_same(entry.key.mark, end.mark) {
            return None;
        }
        self.0.remove(&end.ino);
        let age = entry.made.map(|made| end.since_boot.saturating_sub(made));
        let destroyed = Destroyed { namespace: entry.key, age, seen: true };
        entry.reported.then_some(Body::Destroyed(destroyed))
    }

    /// Removes the namespace with this inode, whose end was not seen.
    pub(super) fn remove_unseen(&mut self, ino: u64) -> Option<Body> {
        unseen_end(self.0.remove(&ino)?)
    }

    /// Iterates over the namespaces believed to exist.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// True if it does not have this namespace.
    pub(super) fn lacks(&self, key: NsKey) -> bool {
        self.get(key.id.ino).is_none_or(|known| !is_same(known.key.mark, key.mark))
    }

    /// The namespace with this inode.
    pub(super) fn get(&self, ino: u64) -> Option<&Entry> {
        self.0.get(&ino)
    }

    fn mark(&self, id: Option<NsId>) -> Mark {
        id.and_then(|id| self.0.get(&id.ino)).map_or(Mark::Unknown, |entry| entry.key.mark)
    }

    /// The owner of a namespace that a call created: the caller's user namespace, or the one created by the same call.
    fn owner(&self, event: &Event, slot: NsSlot) -> Option<NsKey> {
        let of_user = slot == NsSlot::In(NsKind::User);
        let id = (*if of_user { &event.before } else { &event.after }.of(NsKind::User))?;
        let known = self.mark(Some(id));
        let mark = event
            .marks
            .as_ref()
            .map_or(known, |marks| *if of_user { &marks.before } else { &marks.after }.of(NsKind::User));
        Some(NsKey { id, mark })
    }
}

/// True if this is the same namespace: by its mark, or because it was created before the former was seen.
fn is_same_namespace(former: &Entry, entry: &Entry) -> bool {
    let unmarked = former.key.mark == Mark::Unknown && former.key.id == entry.key.id;
    former.key == entry.key || unmarked && entry.made.is_some_and(|made| made <= former.alive)
}

/// True if two marks of one inode may belong to the same namespace.
pub(super) fn is_same(one: Mark, other: Mark) -> bool {
    one == other || one == Mark::Unknown || other == Mark::Unknown
}

fn unseen_end(entry: Entry) -> Option<Body> {
    let destroyed = Destroyed { namespace: entry.key, age: None, seen: false };
    entry.reported.then_some(Body::Destroyed(destroyed))
}

/// True if the call created the namespace in this slot: its flags give the kinds.
fn is_made(event: &Event, slot: NsSlot) -> bool {
    let (flags, of_children) = match (&event.operation, event.outcome) {
        (Operation::Clone { flags: Some(flags), .. }, Outcome::Success(_) | Outcome::Unseen) => {
            (*flags, false)
        }
        (Operation::Unshare { flags }, Outcome::Success(_)) => (kinds_of_unshare(*flags), true),
        _ => return false,
    };
    // The caller of unshare does not enter these itself; the child of a clone does.
    let slot_of_kind = match slot.kind() {
        NsKind::Pid if of_children => NsSlot::PidForChildren,
        NsKind::Time if of_children => NsSlot::TimeForChildren,
        kind => NsSlot::In(kind),
    };
    flags & slot.kind().clone_flag() != 0 && slot == slot_of_kind
}

#[cfg(test)]
mod tests;
