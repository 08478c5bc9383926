//! The time, place and author of a snapshot.

use crate::model::{Pid, Snapshot, Text};
use std::time::SystemTime;

/// The data that makes two snapshots comparable: their boot and their reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The time at which the snapshot began, by the wall clock.
    pub taken_at: SystemTime,
    /// The pid of nsprobe in the `/proc` that was read; `None` if not visible there.
    pub own_pid: Option<Pid>,
    /// nsprobe's version.
    pub version: String,
    /// The kernel's release, as uname(2) has it.
    pub kernel: String,
    /// The host name in the reader's uts namespace.
    pub hostname: Text,
    /// The random id of this boot: `/proc/sys/kernel/random/boot_id`. Pids, start times and inodes of another boot mean
    /// nothing in this one. `None` if not readable.
    pub boot_id: Option<String>,
}

/// A snapshot with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its origin.
    pub origin: Origin,
    /// Its contents.
    pub snapshot: Snapshot,
}
