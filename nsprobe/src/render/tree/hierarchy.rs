//! The pid or user namespaces as a forest, with what lives in each.

use super::Wanted;
use super::forest::Forest;
use crate::model::{Initial, Namespace, NsId, NsKind, NsSlot, Process, Snapshot};
use std::collections::HashMap;

/// A namespace of the hierarchy and what is directly in it.
#[derive(Debug, Default)]
pub(super) struct Place<'a> {
    /// The namespace; `None` for what could not be placed.
    pub namespace: Option<&'a Namespace>,
    /// The processes in it, in the order of their pids.
    pub members: Vec<&'a Process>,
    /// The namespaces of other kinds that it owns; of a user namespace only.
    pub owned: Vec<&'a Namespace>,
}

/// The namespaces of one kind, each below its parent.
pub(super) struct Hierarchy<'a> {
    pub places: Vec<Place<'a>>,
    pub forest: Forest,
}

impl<'a> Hierarchy<'a> {
    /// The pid namespaces with the processes in each. Last comes, as a root, what could not be placed.
    pub fn of_pid(snapshot: &'a Snapshot, wanted: Option<Wanted<'_>>) -> Self {
        let mut hierarchy = Self::new(snapshot, NsKind::Pid, &[]);
        hierarchy.narrow(wanted);
        hierarchy
    }

    /// The user namespaces with the processes in each and the namespaces each owns. Last comes, as a
    /// root, what could not be placed.
    pub fn of_user(snapshot: &'a Snapshot, wanted: Option<Wanted<'_>>) -> Self {
        let owned: Vec<_> = snapshot.namespaces.iter().filter(|ns| ns.id.kind != NsKind::User).collect();
        let mut hierarchy = Self::new(snapshot, NsKind::User, &owned);
        hierarchy.narrow(wanted);
        hierarchy
    }

    /// Keeps the namespaces that are wanted and those above them, and of what they own what is wanted.
    fn narrow(&mut self, wanted: Option<Wanted<'_>>) {
        let Some(Wanted::Namespaces(wanted)) = wanted else { return };
        for place in &mut self.places {
            place.owned.retain(|namespace| wanted.contains(&namespace.id));
        }
        let places = &self.places;
        let is_wanted = |place: &Place<'_>| {
            !place.owned.is_empty() || place.namespace.is_some_and(|namespace| wanted.contains(&namespace.id))
        };
        self.forest.keep_with_ancestors(|i| is_wanted(&places[i]));
    }

    fn new(snapshot: &'a Snapshot, kind: NsKind, owned: &[&'a Namespace]) -> Self {
        let mut of_kind: Vec<_> = snapshot.namespaces.iter().filter(|ns| ns.id.kind == kind).collect();
        of_kind.sort_by_key(|ns| ns.initial != Initial::Yes);
        let unplaced = of_kind.len();
        let indices: HashMap<NsId, usize> = of_kind.iter().enumerate().map(|(i, ns)| (ns.id, i)).collect();
        let index = |id: Option<NsId>| id.and_then(|id| indices.get(&id).copied());
        let mut places: Vec<Place<'a>> =
            of_kind.iter().map(|&ns| Place { namespace: Some(ns), ..Place::default() }).collect();
        places.push(Place::default());
        for process in &snapshot.processes {
            let at = index(process.namespace(NsSlot::In(kind)));
            places[at.unwrap_or(unplaced)].members.push(process);
        }
        for namespace in owned {
            places[index(namespace.owner).unwrap_or(unplaced)].owned.push(namespace);
        }
        if places[unplaced].members.is_empty() && places[unplaced].owned.is_empty() {
            places.pop();
        }
        let parents = places.iter().map(|place| index(place.namespace.and_then(|ns| ns.parent))).collect();
        Self { places, forest: Forest::new(parents) }
    }
}
