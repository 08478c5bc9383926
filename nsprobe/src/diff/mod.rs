//! Two snapshots → what came, went and changed. Nothing here opens anything.
//!
//! A process is the same if its pid and its start time are. A namespace is not the same just because its inode is:
//! the kernel reuses the inode of a namespace that is gone. See `pairs.rs`.

mod document;
mod error;
mod key;
mod pairs;
mod read;
mod unseen;

pub use document::{Side, SideGap};
pub use error::Error;

use crate::model::{self, Difference, Moved, Namespace, NsSlot, Process, VisibilityChange};
use key::{ProcessKey, key, process_key};
use pairs::{Pairs, Verdict};
use std::collections::{BTreeMap, HashMap, HashSet};
use unseen::Unseen;

/// Compares two snapshots. Kernel threads, and the processes that took the snapshots, are left out.
#[must_use]
pub fn compare<'a>(old: &'a Side, new: &'a Side) -> Difference<'a> {
    let same_boot = old.taken.origin.boot_id == new.taken.origin.boot_id;
    let pairs = if same_boot { Pairs::new(&old.taken, &new.taken) } else { Pairs::default() };
    let only = |side: &'a Side, gone: Verdict| -> Vec<&'a Namespace> {
        let namespaces = side.taken.snapshot.namespaces.iter();
        namespaces.filter(|ns| pairs.verdict(key(ns.id)).is_none_or(|verdict| verdict == gone)).collect()
    };
    let missed = |side, other| if same_boot { Unseen::find(side, other) } else { Unseen::default() };
    let (by_new, by_old) = (missed(old, new), missed(new, old));
    let (mut came, mut went) = (only(new, Verdict::Different), only(old, Verdict::Different));
    let mut unseen = Vec::new();
    for (by, side, namespaces) in
        [(&by_new, model::Side::New, &mut went), (&by_old, model::Side::Old, &mut came)]
    {
        namespaces.retain(|&what| match by.namespace(what) {
            None => true,
            Some(reason) => {
                unseen.push(model::Unseen { what, by: side, reason: reason.to_owned() });
                false
            }
        });
    }
    let unsure = pairs.unsure().filter_map(|id| {
        let find = |side: &'a Side| {
            let namespaces = &side.taken.snapshot.namespaces;
            namespaces.binary_search_by_key(&id, |ns| key(ns.id)).ok().map(|at| &namespaces[at])
        };
        Some((find(old)?, find(new)?))
    });
    let observers: HashSet<ProcessKey> = [old, new].into_iter().filter_map(Side::observer).collect();
    let seen = |side: &'a Side| -> BTreeMap<ProcessKey, &'a Process> {
        let processes = side.taken.snapshot.processes.iter();
        processes
            .map(|process| (process_key(process), process))
            .filter(|(key, process)| !observers.contains(key) && !process.kernel_thread)
            .collect()
    };
    let (before, after) = (seen(old), seen(new));
    let lacks = |other: &BTreeMap<ProcessKey, &Process>, key| !same_boot || !other.contains_key(key);
    let changed = before.iter().filter(|_| same_boot).filter_map(|(key, old)| {
        let new = after.get(key)?;
        moved(old, new, &pairs)
    });
    let mut processes_came: Vec<_> =
        after.iter().filter(|(key, _)| lacks(&before, key)).map(|(_, new)| *new).collect();
    let mut processes_went: Vec<_> =
        before.iter().filter(|(key, _)| lacks(&after, key)).map(|(_, old)| *old).collect();
    let mut processes_unseen = Vec::new();
    for (by, side, processes) in
        [(&by_new, model::Side::New, &mut processes_went), (&by_old, model::Side::Old, &mut processes_came)]
    {
        let Some(why) = by.process() else { continue };
        processes_unseen.extend(processes.drain(..).map(|what| model::Unseen {
            what,
            by: side,
            reason: why.to_owned(),
        }));
    }
    Difference {
        old: &old.taken,
        new: &new.taken,
        same_boot,
        came,
        went,
        unsure: unsure.collect(),
        processes_came,
        processes_went,
        processes_changed: changed.collect(),
        unseen,
        processes_unseen,
        visibility: visibility(old, new),
    }
}

fn moved<'a>(old: &'a Process, new: &'a Process, pairs: &Pairs) -> Option<Moved<'a>> {
    let namespaces: Vec<_> = NsSlot::ALL
        .into_iter()
        .filter_map(|slot| {
            // A slot that was not readable at one of the two times says nothing.
            let (before, after) = (old.namespace(slot)?, new.namespace(slot)?);
            let other = key(before) != key(after) || pairs.verdict(key(before)) == Some(Verdict::Different);
            other.then_some((slot, before, after))
        })
        .collect();
    let root = new.root.differs_from(&old.root).then_some((&old.root, &new.root));
    (!namespaces.is_empty() || root.is_some()).then_some(Moved { old, new, namespaces, root })
}

fn visibility(old: &Side, new: &Side) -> Vec<VisibilityChange> {
    let count = |side: &Side| -> HashMap<(String, String), u64> {
        side.gaps.iter().map(|gap| ((gap.kind.clone(), gap.reason.clone()), gap.count)).collect()
    };
    let (old, new) = (count(old), count(new));
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &(String, String)| {
        let count = |side: &HashMap<_, u64>| side.get(name).copied().unwrap_or(0);
        let (kind, reason) = name.clone();
        VisibilityChange { kind, reason, old: count(&old), new: count(&new) }
    };
    names.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

#[cfg(test)]
mod tests;
