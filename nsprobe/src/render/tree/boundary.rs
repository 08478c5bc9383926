//! Boundaries: the processes whose namespaces or root differ from those that their parent would pass on.

use super::forest::Forest;
use crate::model::{NsId, NsKind, NsSlot, Process, Root, Snapshot};

/// The differences of a process from its parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Boundary<'a> {
    /// The namespaces that it is in and its parent is not.
    pub changed: Vec<NsId>,
    /// The namespaces that its children will be in and it is not, with their slots.
    pub for_children: Vec<(NsSlot, NsId)>,
    /// Its root directory, if it differs from its parent's.
    pub root: Option<&'a Root>,
}

impl Boundary<'_> {
    /// True if there is a difference.
    pub const fn is_any(&self) -> bool {
        !self.changed.is_empty() || !self.for_children.is_empty() || self.root.is_some()
    }
}

/// The namespaces and root that a process passes on to its children; those that were not readable are its parent's.
#[derive(Clone, Copy)]
struct Inherited<'a> {
    namespaces: [Option<NsId>; 8],
    root: &'a Root,
}

/// The boundary above each process of `snapshot`, in its order.
///
/// A process is compared with its parent; if the parent's namespaces were not readable, with the nearest ancestor's
/// that were, otherwise with the initial ones. Without anything to compare with, no boundary is claimed.
pub(super) fn boundaries<'a>(snapshot: &'a Snapshot, forest: &Forest) -> Vec<Boundary<'a>> {
    let initial = NsKind::ALL.map(|kind| snapshot.initial(kind).map(|ns| ns.id));
    let top = Inherited { namespaces: initial, root: &Root::Whole };
    let mut inherited = vec![top; snapshot.processes.len()];
    let mut found = vec![Boundary::default(); snapshot.processes.len()];
    for &i in &forest.order {
        let from = forest.parent[i].map_or(top, |parent| inherited[parent]);
        let process = &snapshot.processes[i];
        let mut own = from;
        for kind in NsKind::ALL {
            let Some(id) = process.namespace(NsSlot::In(kind)) else { continue };
            let before = own.namespaces[kind as usize].replace(id);
            if before.is_some_and(|before| before != id) {
                found[i].changed.push(id);
            }
        }
        if process.root != Root::Unknown {
            own.root = &process.root;
        }
        found[i].root = changed_root(from, own);
        found[i].for_children = for_children(process);
        inherited[i] = own;
    }
    found
}

fn changed_root<'a>(from: Inherited<'a>, own: Inherited<'a>) -> Option<&'a Root> {
    let mnt = NsKind::Mnt as usize;
    let same_mounts = from.namespaces[mnt] == own.namespaces[mnt];
    match own.root {
        Root::Chrooted(_) | Root::Deleted(_) if same_mounts && !own.root.differs_from(from.root) => None,
        Root::Chrooted(_) | Root::Deleted(_) => Some(own.root),
        // It left its parent's chroot but has the same mounts: an escape, or a descriptor passed to it.
        Root::Whole if same_mounts && from.root.is_chrooted() == Some(true) => Some(own.root),
        Root::Whole | Root::Unknown => None,
    }
}

fn for_children(process: &Process) -> Vec<(NsSlot, NsId)> {
    [NsSlot::PidForChildren, NsSlot::TimeForChildren]
        .into_iter()
        .filter_map(|slot| {
            let id = process.namespace(slot)?;
            let own = process.namespace(NsSlot::In(slot.kind()))?;
            (id != own).then_some((slot, id))
        })
        .collect()
}
