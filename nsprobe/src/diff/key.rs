//! The keys by which processes and namespaces of two snapshots are compared.

use crate::model::{NsId, NsKind, Pid, Process};

/// A key that a process keeps as long as it lives, and that no other process of the same boot has.
pub(super) type ProcessKey = (Pid, u64);

pub(super) const fn process_key(process: &Process) -> ProcessKey {
    (process.pid, process.start_ticks)
}

/// A namespace's kind and inode.
pub(super) type NsKey = (NsKind, u64);

pub(super) const fn key(id: NsId) -> NsKey {
    (id.kind, id.ino)
}
