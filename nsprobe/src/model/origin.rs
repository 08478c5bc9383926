//! Where, when and by whom a snapshot was taken.

use crate::model::{Pid, Snapshot, Text};
use std::time::SystemTime;

/// What makes two snapshots comparable: the boot they are of, and who looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When the looking began, by the wall clock.
    pub taken_at: SystemTime,
    /// The process that looked, as the `/proc` that was read numbers it; `None` when it is not visible there.
    pub own_pid: Option<Pid>,
    /// nsprobe's version.
    pub version: String,
    /// The kernel's release, as uname(2) has it.
    pub kernel: String,
    /// The host name in the reader's uts namespace.
    pub hostname: Text,
    /// A random name of this boot of the machine: `/proc/sys/kernel/random/boot_id`. Pids, start times and
    /// inodes of another boot mean nothing in this one. `None` when it is not readable.
    pub boot_id: Option<String>,
}

/// A snapshot and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where, when and by whom.
    pub origin: Origin,
    /// What was found.
    pub snapshot: Snapshot,
}
