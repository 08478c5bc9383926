//! Where a process's namespaces or root differ from what its parent would have handed it.

use super::forest::Forest;
use crate::model::{NsId, NsKind, NsSlot, Process, Root, Snapshot};

/// What sets a process apart from its parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Boundary<'a> {
    /// The namespaces it is in and its parent is not.
    pub changed: Vec<NsId>,
    /// Those its children will be in and it is not, with their slots.
    pub for_children: Vec<(NsSlot, NsId)>,
    /// Its root directory, where that is not its parent's.
    pub root: Option<&'a Root>,
}

impl Boundary<'_> {
    /// Whether there is anything to tell.
    pub const fn is_any(&self) -> bool {
        !self.changed.is_empty() || !self.for_children.is_empty() || self.root.is_some()
    }
}

/// What a process hands to its children, as far as it is known: of what was not readable, its parent's.
#[derive(Clone, Copy)]
struct Inherited<'a> {
    namespaces: [Option<NsId>; 8],
    root: &'a Root,
}

/// The boundary above each process of `snapshot`, in its order.
///
/// A process is compared with its parent; where the parent's namespaces were not readable, with the
/// nearest ancestor's that were, at last with the initial ones. With nothing to compare with, no boundary is claimed.
pub(super) fn boundaries<'a>(snapshot: &'a Snapshot, forest: &Forest) -> Vec<Boundary<'a>> {
    let initial = NsKind::ALL.map(|kind| snapshot.initial(kind).map(|ns| ns.id));
    let top = Inherited { namespaces: initial, root: &Root::Whole };
    let mut handed = vec![top; snapshot.processes.len()];
    let mut found = vec![Boundary::default(); snapshot.processes.len()];
    for &i in &forest.order {
        let from = forest.parent[i].map_or(top, |parent| handed[parent]);
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
        handed[i] = own;
    }
    found
}

fn changed_root<'a>(from: Inherited<'a>, own: Inherited<'a>) -> Option<&'a Root> {
    let mnt = NsKind::Mnt as usize;
    let same_mounts = from.namespaces[mnt] == own.namespaces[mnt];
    match own.root {
        Root::Chrooted(_) | Root::Deleted(_) if same_mounts && !own.root.differs_from(from.root) => None,
        Root::Chrooted(_) | Root::Deleted(_) => Some(own.root),
        // Out of its parent's chroot with the same mounts: that is an escape, or a gift.
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
