//! Decides which namespaces of two snapshots of one boot are the same, and which only have the same inode.
//!
//! Certain evidence: the kernel's own id (6.18); the initial namespaces stay; a namespace never changes its parent,
//! its owner or the uid of its creator; a pid namespace is as old as the init in it; an nsfs inode that was in memory
//! before the first snapshot, and still is, was there all the time; and if a namespace is the same, so are its parent
//! and its owner.
//!
//! Nearly certain: a process that was in it, and is in a namespace with its inode, has stayed there.
//!
//! Mounts, descriptors and sockets with the same path or fd are not evidence: `ip netns del t; ip netns add t` puts a
//! different namespace there, with the inode that has become free.

use super::key::{NsKey, ProcessKey, key, process_key};
use crate::model::{Initial, Namespace, NsId, NsKind, NsSlot, Process, Taken};
use std::collections::{BTreeMap, HashMap};

/// The verdict on an inode that is in both snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the same namespace.
    Same,
    /// It is two namespaces.
    Different,
    /// There is no evidence.
    Unsure,
}

/// A verdict for every inode that is in both snapshots.
#[derive(Debug, Default)]
pub(super) struct Pairs(BTreeMap<NsKey, Verdict>);

impl Pairs {
    /// Compares two snapshots of one boot.
    pub(super) fn new(old: &Taken, new: &Taken) -> Self {
        let before: HashMap<NsKey, &Namespace> =
            old.snapshot.namespaces.iter().map(|ns| (key(ns.id), ns)).collect();
        let members = members(old, new);
        let (old_inits, new_inits) = (inits(&old.snapshot.processes), inits(&new.snapshot.processes));
        let mut pairs = Self::default();
        let mut same = Vec::new();
        for new in &new.snapshot.namespaces {
            let id = key(new.id);
            let Some(before) = before.get(&id) else { continue };
            let verdict = facts(before, new)
                .or_else(|| match (old_inits.get(&id), new_inits.get(&id)) {
                    (Some(old), Some(new)) => {
                        Some(if old == new { Verdict::Same } else { Verdict::Different })
                    }
                    _ => None,
                })
                .or_else(|| kept(before, new, old).then_some(Verdict::Same))
                .or_else(|| members.contains_key(&id).then_some(Verdict::Same))
                .unwrap_or(Verdict::Unsure);
            if verdict == Verdict::Same {
                same.push(new);
            }
            pairs.0.insert(id, verdict);
        }
        // If a namespace is the same, so are those above it.
        let after: HashMap<NsKey, &Namespace> =
            new.snapshot.namespaces.iter().map(|ns| (key(ns.id), ns)).collect();
        while let Some(namespace) = same.pop() {
            for above in [namespace.parent, namespace.owner].into_iter().flatten() {
                if let Some(verdict) = pairs.0.get_mut(&key(above))
                    && *verdict == Verdict::Unsure
                {
                    *verdict = Verdict::Same;
                    same.extend(after.get(&key(above)));
                }
            }
        }
        pairs
    }

    /// The verdict on an inode; `None` if it is not in both snapshots.
    pub(super) fn verdict(&self, id: NsKey) -> Option<Verdict> {
        self.0.get(&id).copied()
    }

    /// The inodes without a certain verdict.
    pub(super) fn unsure(&self) -> impl Iterator<Item = NsKey> {
        self.0.iter().filter(|(_, verdict)| **verdict == Verdict::Unsure).map(|(id, _)| *id)
    }
}

/// The verdict from the namespaces' own properties; `None` if they say nothing.
fn facts(old: &Namespace, new: &Namespace) -> Option<Verdict> {
    if let (Some(old), Some(new)) = (old.kernel_id, new.kernel_id) {
        return Some(if old == new { Verdict::Same } else { Verdict::Different });
    }
    match (old.initial, new.initial) {
        (Initial::Yes, Initial::Yes) => return Some(Verdict::Same),
        (Initial::Yes, Initial::No) | (Initial::No, Initial::Yes) => return Some(Verdict::Different),
        _ => {}
    }
    let differ =
        |old: Option<NsId>, new: Option<NsId>| old.zip(new).is_some_and(|(old, new)| key(old) != key(new));
    let other = differ(old.parent, new.parent)
        || differ(old.owner, new.owner)
        || old.owner_uid.zip(new.owner_uid).is_some_and(|(old, new)| old != new);
    other.then_some(Verdict::Different)
}

/// True if the inode was in memory before the old snapshot was begun, and still is.
fn kept(before: &Namespace, after: &Namespace, old: &Taken) -> bool {
    before.file_since.is_some_and(|since| since < old.origin.taken_at && after.file_since == Some(since))
}

/// The namespaces to which a process referred in the old snapshot and refers in the new one.
fn members(old: &Taken, new: &Taken) -> HashMap<NsKey, ProcessKey> {
    let after: HashMap<ProcessKey, &Process> =
        new.snapshot.processes.iter().map(|process| (process_key(process), process)).collect();
    let mut members = HashMap::new();
    for process in &old.snapshot.processes {
        let Some(now) = after.get(&process_key(process)) else { continue };
        for slot in NsSlot::ALL {
            if let (Some(before), Some(after)) = (process.namespace(slot), now.namespace(slot))
                && key(before) == key(after)
            {
                members.insert(key(before), process_key(process));
            }
        }
    }
    members
}

/// The init of each pid namespace: it has the pid 1 there, and the namespace ends with it.
fn inits(processes: &[Process]) -> HashMap<NsKey, ProcessKey> {
    let init = |process: &Process| {
        let id = process.namespace(NsSlot::In(NsKind::Pid))?;
        (process.pids.last() == Some(&1)).then_some((key(id), process_key(process)))
    };
    processes.iter().filter_map(init).collect()
}
