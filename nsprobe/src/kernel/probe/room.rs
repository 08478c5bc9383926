//! The sizes of the tables that tenants fill.

use super::OpenError;
use crate::kernel::task_storage::TaskStorage;
use aya::Ebpf;
use aya::maps::Map;
use nsprobe_ebpf::map;
use std::os::fd::AsFd as _;

/// The most calls kept with all their text if the kernel has no task storage.
pub(super) const CALLS: u32 = 2048;

/// The most events under construction at a time, in that case: before 5.11 a program is not preempted, so there is one
/// per processor.
pub(super) const SCRATCH: u32 = 512;

/// The most namespaces whose end is reported: this many that calls create or join, and as many that were found.
pub(super) const NAMESPACES: u32 = 65536;

/// Sizes chosen by whoever traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the ring buffer.
    pub ring_bytes: u32,
    /// The most entries of a table that tenants fill; tests fill small ones.
    pub room: u32,
}

impl From<u32> for Size {
    fn from(ring_bytes: u32) -> Self {
        Self { ring_bytes, room: u32::MAX }
    }
}

/// Returns the most tasks that can exist at a time: proc_sys_kernel(5).
pub(super) fn tasks() -> u32 {
    /// `PID_MAX_LIMIT`, the maximum of both.
    const MOST: u32 = 1 << 22;
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
        text.trim().parse::<u32>().ok()
    };
    let limits = ["pid_max", "threads-max"].into_iter().filter_map(read);
    limits.min().unwrap_or(MOST).clamp(1024, MOST)
}

/// Replaces the table of calls with task storage.
pub(super) fn use_task_storage(ebpf: &mut Ebpf, storage: TaskStorage) -> Result<(), OpenError> {
    match ebpf.map(map::CALLS) {
        Some(Map::HashMap(table)) => {
            storage.replace(table.fd().as_fd()).map_err(|error| OpenError::Storage { error })
        }
        _ => Err(OpenError::NoMap(map::CALLS)),
    }
}
