//! One call: begun at its entry, completed at its return, whatever hook told of them.

use crate::{maps, task};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns};
use nsprobe_ebpf::{Event, Header, RECORD_VERSION};

/// Begins an event of the running task: who, when and in which namespaces. `None` when nobody asked for this
/// task's events or there is no room, which is counted.
#[inline(always)]
pub fn begin(cause: u16) -> Option<&'static mut Event> {
    let task = task::current();
    if !maps::wanted(task) {
        return None;
    }
    let event = maps::begin(bpf_get_current_pid_tgid())?;
    fill(event, cause, task);
    Some(event)
}

/// Fills in what is known of a call from the start.
#[inline(always)]
pub fn fill(event: &mut Event, cause: u16, task: u64) {
    event.header = Header { size: size_of::<Event>() as u32, version: RECORD_VERSION, cause };
    event.time_ns = now();
    task::fill_namespaces(&mut event.before, task);
    task::fill_actor(event, task);
}

/// Completes and sends the event that the running thread has begun, if it has. `last` may look at it once more,
/// and says whether it is to be sent.
#[inline(always)]
pub fn finish(result: i64, last: impl FnOnce(&mut Event) -> bool) {
    let id = bpf_get_current_pid_tgid();
    let Some(event) = maps::pending(id) else { return };
    if last(event) {
        let now = now();
        event.result = result;
        event.duration_ns = now - event.time_ns;
        event.time_ns = now;
        task::fill_namespaces(&mut event.after, task::current());
        maps::send(event);
    }
    maps::forget(id);
}

/// `CLOCK_BOOTTIME` in nanoseconds. Kernel 5.8.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: no argument, nothing to get wrong.
    unsafe { bpf_ktime_get_boot_ns() }
}
