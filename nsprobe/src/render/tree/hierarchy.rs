//! The pid or user namespaces as a forest, with their members and owned namespaces.

use super::Wanted;
use super::forest::Forest;
use crate::model::{Initial, Namespace, NsId, NsKind, NsSlot, Process, Snapshot};
use std::collections::HashMap;

/// A namespace of the hierarchy, its members and the namespaces it owns.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    /// The namespace; `None` for members whose namespace is not known.
    pub namespace: Option<&'a Namespace>,
    /// The processes in it, in the order of their pids.
    pub members: Vec<&'a Process>,
    /// For a user namespace: the namespaces of other kinds that it owns.
    pub owned: Vec<&'a Namespace>,
}

/// The namespaces of one kind, each below its parent.
pub(super) struct Hierarchy<'a> {
    pub entries: Vec<Entry<'a>>,
    pub forest: Forest,
}

impl<'a> Hierarchy<'a> {
    /// The pid namespaces with the processes in each. The last root has those whose namespace is not known.
    pub fn of_pid(snapshot: &'a Snapshot, wanted: Option<Wanted<'_>>) -> Self {
        let mut hierarchy = Self::new(snapshot, NsKind::Pid, &[]);
        hierarchy.narrow(wanted);
        hierarchy
    }

    /// The user namespaces with the processes in each and the namespaces each owns. The last root has those whose
    /// user namespace or owner is not known.
    pub fn of_user(snapshot: &'a Snapshot, wanted: Option<Wanted<'_>>) -> Self {
        let owned: Vec<_> = snapshot.namespaces.iter().filter(|ns| ns.id.kind != NsKind::User).collect();
        let mut hierarchy = Self::new(snapshot, NsKind::User, &owned);
        hierarchy.narrow(wanted);
        hierarchy
    }

    /// Keeps the namespaces that are wanted and their ancestors, and of the namespaces they own those that are
    /// wanted.
    fn narrow(&mut self, wanted: Option<Wanted<'_>>) {
        let Some(Wanted::Namespaces(wanted)) = wanted else { return };
        for entry in &mut self.entries {
            entry.owned.retain(|namespace| wanted.contains(&namespace.id));
        }
        let entries = &self.entries;
        let is_wanted = |entry: &Entry<'_>| {
            !entry.owned.is_empty() || entry.namespace.is_some_and(|namespace| wanted.contains(&namespace.id))
        };
        self.forest.keep_with_ancestors(|i| is_wanted(&entries[i]));
    }

    fn new(snapshot: &'a Snapshot, kind: NsKind, owned: &[&'a Namespace]) -> Self {
        let mut of_kind: Vec<_> = snapshot.namespaces.iter().filter(|ns| ns.id.kind == kind).collect();
        of_kind.sort_by_key(|ns| ns.initial != Initial::Yes);
        let unplaced = of_kind.len();
        let indices: HashMap<NsId, usize> = of_kind.iter().enumerate().map(|(i, ns)| (ns.id, i)).collect();
        let index = |id: Option<NsId>| id.and_then(|id| indices.get(&id).copied());
        let mut entries: Vec<Entry<'a>> =
            of_kind.iter().map(|&ns| Entry { namespace: Some(ns), ..Entry::default() }).collect();
        entries.push(Entry::default());
        for process in &snapshot.processes {
            let at = index(process.namespace(NsSlot::In(kind)));
            entries[at.unwrap_or(unplaced)].members.push(process);
        }
        for namespace in owned {
            entries[index(namespace.owner).unwrap_or(unplaced)].owned.push(namespace);
        }
        if entries[unplaced].members.is_empty() && entries[unplaced].owned.is_empty() {
            entries.pop();
        }
        let parents = entries.iter().map(|entry| index(entry.namespace.and_then(|ns| ns.parent))).collect();
        Self { entries, forest: Forest::new(parents) }
    }
}
