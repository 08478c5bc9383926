//! How large the tables are that tenants fill.

use super::OpenError;
use crate::kernel::task_storage::TaskStorage;
use aya::Ebpf;
use aya::maps::Map;
use nsprobe_ebpf::map;
use std::os::fd::AsFd as _;

/// Calls that are kept with all their text where the kernel has no storage of tasks.
pub(super) const CALLS: u32 = 2048;

/// Events in the making at a time, there: before 5.11 a program is not preempted, so that there is one a processor.
pub(super) const SCRATCH: u32 = 512;

/// Namespaces whose end is reported: of those that calls make or join, and as many of those that were found.
pub(super) const NAMESPACES: u32 = 65536;

/// What the size of is decided by whoever traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the ring buffer.
    pub ring_bytes: u32,
    /// Most entries of a table that tenants fill; tests fill small ones.
    pub room: u32,
}

impl From<u32> for Size {
    fn from(ring_bytes: u32) -> Self {
        Self { ring_bytes, room: u32::MAX }
    }
}

/// How many tasks there may be at a time: proc_sys_kernel(5).
pub(super) fn tasks() -> u32 {
    /// `PID_MAX_LIMIT`, which neither is above.
    const MOST: u32 = 1 << 22;
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
        text.trim().parse::<u32>().ok()
    };
    let limits = ["pid_max", "threads-max"].into_iter().filter_map(read);
    limits.min().unwrap_or(MOST).clamp(1024, MOST)
}

/// Puts storage of tasks in the place of the table of calls.
pub(super) fn give(ebpf: &mut Ebpf, storage: TaskStorage) -> Result<(), OpenError> {
    match ebpf.map(map::CALLS) {
        Some(Map::HashMap(table)) => {
            storage.replace(table.fd().as_fd()).map_err(|error| OpenError::Storage { error })
        }
        _ => Err(OpenError::NoMap(map::CALLS)),
    }
}
