//! The common start of every event: time, caller, and namespaces.

use crate::{task, wanted};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use nsprobe_ebpf::{Event, Header, event_flags};

/// Fills in the facts of a call known at its start.
#[inline(always)]
pub fn fill(event: &mut Event, cause: u16, task: u64) {
    event.header = Header::of::<Event>(cause);
    event.time_ns = now();
    if task::is_compat(task) {
        event.flags |= event_flags::COMPAT;
    }
    event.flags |= wanted::marks(task);
    task::fill_namespaces(&mut event.before, Some(&mut event.before_ids), task);
    task::fill_actor(event, task);
}

/// Returns `CLOCK_BOOTTIME` in nanoseconds. Kernel 5.8.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no argument, nothing to get wrong.
    unsafe { bpf_ktime_get_boot_ns() }
}
