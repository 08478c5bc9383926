//! What two snapshots of one machine do not have in common.

use crate::model::{Namespace, NsId, NsSlot, Process, Root, Taken};

/// What came, went and changed from one snapshot to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    /// The earlier snapshot.
    pub old: &'a Taken,
    /// The later one.
    pub new: &'a Taken,
    /// Whether both are of one boot of one machine; if not, they have nothing in common.
    pub same_boot: bool,
    /// Namespaces that are in the new snapshot and were not there before; by kind, then inode.
    pub came: Vec<&'a Namespace>,
    /// Namespaces of the old snapshot that are there no more.
    pub went: Vec<&'a Namespace>,
    /// Namespaces of both that may be two of the same number: old, then new.
    pub unsure: Vec<(&'a Namespace, &'a Namespace)>,
    /// Processes of the new snapshot that were not in the old one; by pid.
    pub processes_came: Vec<&'a Process>,
    /// Processes of the old snapshot that are not in the new one.
    pub processes_went: Vec<&'a Process>,
    /// Processes of both that are elsewhere now.
    pub processes_changed: Vec<Moved<'a>>,
    /// Namespaces of one snapshot that the other may have missed: neither came nor gone.
    pub unseen: Vec<Unseen<&'a Namespace>>,
    /// Processes of one snapshot that the other may have missed.
    pub processes_unseen: Vec<Unseen<&'a Process>>,
    /// What the two could not see, where that differs.
    pub sight: Vec<SightChange>,
}

impl Difference<'_> {
    /// Whether nothing came, went, changed or is unsure.
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

    /// Leaves nothing but the namespaces.
    pub fn forget_processes(&mut self) {
        self.processes_came.clear();
        self.processes_went.clear();
        self.processes_changed.clear();
        self.processes_unseen.clear();
    }

    /// Leaves nothing but the processes.
    pub fn forget_namespaces(&mut self) {
        self.came.clear();
        self.went.clear();
        self.unsure.clear();
        self.unseen.clear();
    }
}

/// Something that is in one snapshot, and that the other could not see if it were there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen<T> {
    /// What.
    pub what: T,
    /// Which of the two does not show it.
    pub by: Side,
    /// Why that may have missed it, in words.
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

/// A process that is in other namespaces than it was, or has another root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved<'a> {
    /// As it was.
    pub old: &'a Process,
    /// As it is.
    pub new: &'a Process,
    /// The slots that refer to another namespace, with the one before and the one now; equal when the new
    /// one has got the number of the old.
    pub namespaces: Vec<(NsSlot, NsId, NsId)>,
    /// The root directory before and now, where it is another.
    pub root: Option<(&'a Root, &'a Root)>,
}

/// How many things of one sort a snapshot lacked for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SightChange {
    /// The gap's kind, by its name in JSON.
    pub kind: String,
    /// Why, in words.
    pub reason: String,
    /// How many in the old snapshot.
    pub old: u64,
    /// How many in the new one.
    pub new: u64,
}
