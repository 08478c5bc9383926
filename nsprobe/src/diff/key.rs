//! By what processes and namespaces of two snapshots are compared.

use crate::model::{NsId, NsKind, Pid, Process};

/// What of a process stays as long as it lives, and is another process's never (in one boot).
pub(super) type ProcessKey = (Pid, u64);

pub(super) const fn process_key(process: &Process) -> ProcessKey {
    (process.pid, process.start_ticks)
}

/// A namespace's kind and inode.
pub(super) type NsKey = (NsKind, u64);

pub(super) const fn key(id: NsId) -> NsKey {
    (id.kind, id.ino)
}
