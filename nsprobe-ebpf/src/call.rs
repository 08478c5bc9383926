//! One call: begun at its entry, completed at its return, whatever hook told of them.

use crate::maps::Pending;
use crate::{maps, path, place, program, task, wanted};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns};
use nsprobe_ebpf::{Event, Header, RECORD_VERSION, SLOTS, Watched, cause, config, event_flags, text};

/// Begins an event of the running task, whose call names namespaces of these `kinds` (`CLONE_NEW*`): who, when and
/// in which namespaces. `None` when nobody asked for it or there is no room, which is counted.
#[inline(always)]
pub fn begin(cause: u16, kinds: u64) -> Option<&'static mut Pending> {
    let pending = begin_unless_target(cause, kinds)?;
    if wanted::namespaces(&pending.event) {
        return Some(pending);
    }
    forget();
    None
}

/// The same, where the event may still be asked for because of its target.
#[inline(always)]
pub fn begin_unless_target(cause: u16, kinds: u64) -> Option<&'static mut Pending> {
    let task = task::current();
    if !wanted::kinds(kinds) || !wanted::caller(task) {
        return None;
    }
    let pending = maps::begin(bpf_get_current_pid_tgid())?;
    fill(&mut pending.event, cause, task);
    Some(pending)
}

/// Drops the event that the running thread has begun.
#[inline(always)]
pub fn forget() {
    maps::forget(bpf_get_current_pid_tgid());
}

/// Fills in what is known of a call from the start.
#[inline(always)]
pub fn fill(event: &mut Event, cause: u16, task: u64) {
    event.header = Header { size: size_of::<Event>() as u32, version: RECORD_VERSION, cause };
    event.time_ns = now();
    if task::is_compat(task) {
        event.flags |= event_flags::COMPAT;
    }
    event.flags |= wanted::marks(task);
    task::fill_namespaces(&mut event.before, Some(&mut event.before_ids), task);
    task::fill_actor(event, task);
}

/// Completes and sends the event that the running thread has begun, if it has. `last` may look at it once more,
/// and says whether it is to be sent.
#[inline(always)]
pub fn finish(result: i64, last: impl FnOnce(&mut Pending) -> bool) {
    let id = bpf_get_current_pid_tgid();
    let Some(pending) = maps::pending(id) else { return };
    if wanted::result(result) && last(pending) {
        let event = &mut pending.event;
        let now = now();
        event.result = result;
        event.duration_ns = now - event.time_ns;
        event.time_ns = now;
        let task = task::current();
        task::fill_namespaces(&mut event.after, Some(&mut event.after_ids), task);
        watch(event);
        if is_change(event) {
            program::fill(pending, task);
            maps::send(pending);
        }
    }
    maps::forget(id);
}

/// Completes and sends the event that the running thread has begun, if it has, for every call but a clone. Once in
/// the object, though many programs call it: the verifier looks into it from each.
#[inline(never)]
pub fn complete(result: i64) {
    finish(result, |pending| {
        // Of the calls without paths neither has a fault.
        path::read_user_again::<{ text::FIRST }>(pending);
        path::read_user_again::<{ text::SECOND }>(pending);
        place::after(pending, result);
        true
    });
}

/// What sets the entry of an event that is begun and sent at once, while the thread may have begun another, apart
/// from that: no thread id is as large.
const AT_ONCE: u64 = 1 << 63;

/// Sends an event of the running task that needs no entry to be known. `complete` says whether it is asked for.
#[inline(always)]
pub fn tell(cause: u16, task: u64, complete: impl FnOnce(&mut Event) -> bool) {
    let id = bpf_get_current_pid_tgid() | AT_ONCE;
    let Some(pending) = maps::begin(id) else { return };
    fill(&mut pending.event, cause, task);
    if complete(&mut pending.event) && wanted::namespaces(&pending.event) {
        watch(&pending.event);
        program::fill(pending, task);
        maps::send(pending);
    }
    maps::forget(id);
}

/// Has the ends told of the namespaces that a call made or joined.
#[inline(always)]
fn watch(event: &Event) {
    if maps::flags() & config::LIVES == 0 {
        return;
    }
    let makes = matches!(event.header.cause, cause::CLONE | cause::UNSHARE);
    for slot in 0..SLOTS {
        let ino = event.after.ino[slot];
        if ino != event.before.ino[slot] && ino != 0 {
            let made = makes && event.args[0] & u64::from(wanted::KINDS[slot]) != 0;
            let watched = Watched {
                id: event.after_ids.id[slot],
                made_ns: if made { event.time_ns } else { 0 },
                slot: slot as u32,
                reserved: 0,
            };
            maps::watch(ino, &watched);
        }
    }
}

/// Whether there is anything to tell: of setns and unshare a success that changed nothing is not, unless it is
/// asked for.
#[inline(always)]
fn is_change(event: &Event) -> bool {
    let may_do_nothing = matches!(event.header.cause, cause::SETNS | cause::UNSHARE) && event.result >= 0;
    if !may_do_nothing || maps::flags() & config::UNCHANGED != 0 {
        return true;
    }
    let mut difference = event.flags & place::MOVED;
    for slot in 0..SLOTS {
        difference |= event.before.ino[slot] ^ event.after.ino[slot];
    }
    difference != 0
}

/// `CLOCK_BOOTTIME` in nanoseconds. Kernel 5.8.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no argument, nothing to get wrong.
    unsafe { bpf_ktime_get_boot_ns() }
}
