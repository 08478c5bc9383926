//! The difference between two snapshots of one machine.

use crate::model::{Namespace, NsId, NsSlot, Process, Root, Taken};

/// The namespaces and processes that appeared, disappeared or changed between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    /// The earlier snapshot.
    pub old: &'a Taken,
    /// The later one.
    pub new: &'a Taken,
    /// True if both are from the same boot of the same machine; if not, they have nothing in common.
    pub same_boot: bool,
    /// Namespaces of the new snapshot that are not in the old one; by kind, then inode.
    pub came: Vec<&'a Namespace>,
    /// Namespaces of the old snapshot that are not in the new one.
    pub went: Vec<&'a Namespace>,
    /// Namespaces in both that may differ although they have the same inode: old, then new.
    pub unsure: Vec<(&'a Namespace, &'a Namespace)>,
    /// Processes of the new snapshot that are not in the old one; by pid.
    pub processes_came: Vec<&'a Process>,
    /// Processes of the old snapshot that are not in the new one.
    pub processes_went: Vec<&'a Process>,
    /// Processes in both whose namespaces or root changed.
    pub processes_changed: Vec<Moved<'a>>,
    /// Namespaces in one snapshot that the other may have missed: neither added nor removed.
    pub unseen: Vec<Unseen<&'a Namespace>>,
    /// Processes in one snapshot that the other may have missed.
    pub processes_unseen: Vec<Unseen<&'a Process>>,
    /// Differences in what the two snapshots could not see.
    pub visibility: Vec<VisibilityChange>,
}

impl Difference<'_> {
    /// True if nothing was added, removed, changed or is uncertain.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.came.is_empty()
            && self.went.is_empty()
            && self.unsure.is_empty()
            && self.processes_came.is_empty()
            && self.processes_went.is_empty()
            && self.processes_changed.is_empty()
            && self.unseen.is_empty()
            && self.processes_unseen.is_empty()
    }

    /// Drops everything but the namespaces.
    pub fn forget_processes(&mut self) {
        self.processes_came.clear();
        self.processes_went.clear();
        self.processes_changed.clear();
        self.processes_unseen.clear();
    }

    /// Drops everything but the processes.
    pub fn forget_namespaces(&mut self) {
        self.came.clear();
        self.went.clear();
        self.unsure.clear();
        self.unseen.clear();
    }
}

/// An item of one snapshot that the other could not have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen<T> {
    /// The item.
    pub what: T,
    /// The snapshot that lacks it.
    pub by: Side,
    /// The reason why that one may have missed it, in words.
    pub reason: String,
}

/// One of the two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The earlier one.
    Old,
    /// The later one.
    New,
}

/// A process whose namespaces or root directory differ between the snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved<'a> {
    /// Its earlier state.
    pub old: &'a Process,
    /// Its later state.
    pub new: &'a Process,
    /// The slots whose namespace changed, with the old and the new id; these are equal if the new namespace reuses the
    /// inode of the old.
    pub namespaces: Vec<(NsSlot, NsId, NsId)>,
    /// The old and the new root directory, if they differ.
    pub root: Option<(&'a Root, &'a Root)>,
}

/// A gap of either snapshot, with its count in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibilityChange {
    /// The gap's kind, by its JSON name.
    pub kind: String,
    /// The reason, in words.
    pub reason: String,
    /// The count in the old snapshot.
    pub old: u64,
    /// The count in the new snapshot.
    pub new: u64,
}
