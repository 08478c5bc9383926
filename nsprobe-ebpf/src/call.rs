//! One call: begun at its entry, completed at its return, whichever hooks report them.

use crate::event::{fill, now};
use crate::pending::Pending;
use crate::syscall::{self, NEW_MNT, UNDER_WAY, kinds_of_unshare, number};
use crate::{directories, hook, maps, path, program, send, state, task, wanted, watched};
use nsprobe_ebpf::share::ROWS;
use nsprobe_ebpf::{Event, SLOTS, Watched, cause, config, event_flags, slot, text};

/// Begins an event of the running task, whose call names namespaces of these `kinds` (`CLONE_NEW*`): caller, time and
/// namespaces. `None` if it does not match the filter, or there is no room, which is counted.
#[inline(always)]
pub fn begin(cause: u16, kinds: u64) -> Option<&'static mut Pending> {
    let task = task::current();
    if !wanted::kinds(kinds) || !wanted::caller(task) {
        return None;
    }
    // A clone may last as long as its child likes (vfork), and has no text.
    let pending = if cause == cause::CLONE { state::begin_at_once() } else { state::begin() }?;
    fill(&mut pending.event, cause, task);
    // The namespaces that setns joins are known at its return.
    if cause == cause::SETNS || wanted::namespaces(&pending.event) {
        return Some(pending);
    }
    state::forget(pending);
    None
}

/// The kind of hook at the return of a call; the last argument of [`complete`].
pub mod how {
    /// A tracepoint, which also reports system calls that never reached the kernel: seccomp and ptrace can make a task
    /// return from any. A return without an entry is ignored.
    pub const TRACEPOINT: u64 = 0;
    /// The function itself: it has run, whether its entry was seen or not.
    pub const FUNCTION: u64 = 1;
    /// A tracepoint; seccomp had stopped the call.
    pub const DENIED: u64 = 2;
    /// The function itself, without its arguments.
    pub const FPROBE: u64 = 3;
}

/// Completes and sends the event that the running task has begun, if any. `last` may modify it, and returns whether to
/// send it.
#[inline(always)]
pub fn finish(pending: &mut Pending, result: i64, last: impl FnOnce(&mut Pending) -> bool) {
    if wanted::result(result) && last(pending) {
        let event = &mut pending.event;
        let now = now();
        event.result = result;
        if event.flags & event_flags::ENTRY_MISSED == 0 {
            event.duration_ns = now - event.time_ns;
        }
        event.time_ns = now;
        let task = task::current();
        task::fill_namespaces(&mut event.after, Some(&mut event.after_ids), task);
        if wanted::at_return(event) {
            watch(event);
            if is_change(event) {
                program::fill(pending, task);
                send::event(pending);
            }
        }
    }
    state::forget(pending);
}

/// Completes and sends the event of this `cause` that the running task has begun, if any, for every call but a clone.
/// `first` and `second` are the arguments at return, if `how` is [`how::FUNCTION`]. In the object only once, though
/// many programs call it: the verifier follows it from each.
#[inline(never)]
pub fn complete(cause: u64, result: i64, first: u64, second: u64, how: u64) {
    let cause = cause as u16;
    let mut pending = state::resume(cause);
    if how == how::FUNCTION {
        pending = match pending {
            // Left behind by another call, whose return the kernel did not report.
            Some(pending) if pending.event.args != [first, second] => {
                state::forget(pending);
                without_entry(cause, result, [first, second])
            }
            None => without_entry(cause, result, [first, second]),
            pending => pending,
        };
    }
    if how == how::FPROBE && pending.is_none() {
        pending = arguments(cause).and_then(|args| without_entry(cause, result, args));
    }
    let Some(pending) = pending else { return };
    if how == how::DENIED {
        pending.event.flags |= event_flags::DENIED;
    }
    finish(pending, result, |pending| {
        // Without paths neither has a fault.
        path::read_user_again::<{ text::FIRST }>(pending);
        path::read_user_again::<{ text::SECOND }>(pending);
        directories::after(pending, result);
        true
    });
}

/// Returns the arguments of the running task's current call, from its entry registers; not for a 32-bit call.
#[inline(always)]
fn arguments(cause: u16) -> Option<[u64; 2]> {
    let number = match cause {
        cause::UNSHARE => number::UNSHARE,
        cause::SETNS => number::SETNS,
        cause::CHROOT => number::CHROOT,
        _ => number::PIVOT_ROOT,
    };
    let task = task::current();
    if task::is_compat(task) {
        return None;
    }
    let [first, second] = hook::registers(task::registers(task, number, UNDER_WAY)?);
    Some(match cause {
        cause::SETNS => [first & 0xffff_ffff, second & 0xffff_ffff],
        cause::PIVOT_ROOT => [first, second],
        _ => [first, 0],
    })
}

/// Begins an event at the return of a call whose entry the kernel did not report: where tasks are preempted in the
/// kernel, it skips a program that is already running on the same CPU. The state before is known only if the call
/// failed.
#[inline(always)]
fn without_entry(cause: u16, result: i64, args: [u64; 2]) -> Option<&'static mut Pending> {
    let kinds = match cause {
        cause::UNSHARE => kinds_of_unshare(args[0]),
        // The kind it names is known at its return.
        cause::SETNS => u64::MAX,
        _ => NEW_MNT,
    };
    let task = task::current();
    if !wanted::kinds(kinds) || !wanted::caller(task) {
        return None;
    }
    let pending = state::begin_at_once()?;
    fill(&mut pending.event, cause, task);
    let event = &mut pending.event;
    event.args = args;
    event.flags |= event_flags::ENTRY_MISSED | event_flags::READ_AT_RETURN;
    if result >= 0 {
        for slot in 0..SLOTS {
            // A call never moves the caller itself to another pid namespace.
            if slot != slot::PID {
                event.before.ino[slot] = 0;
                event.before_ids.id[slot] = 0;
            }
        }
    }
    if cause == cause::CHROOT || cause == cause::PIVOT_ROOT {
        path::read_user::<{ text::FIRST }>(pending);
    }
    if cause == cause::PIVOT_ROOT {
        path::read_user::<{ text::SECOND }>(pending);
    }
    Some(pending)
}

/// Sends an event of the running task that needs no entry. `complete` returns whether it matches the filter.
#[inline(always)]
pub fn report(cause: u16, task: u64, complete: impl FnOnce(&mut Pending) -> bool) {
    let Some(pending) = state::begin_at_once() else { return };
    fill(&mut pending.event, cause, task);
    if complete(pending) && wanted::namespaces(&pending.event) {
        watch(&pending.event);
        program::fill(pending, task);
        send::event(pending);
    }
    state::forget(pending);
}

/// Marks the namespaces that a call created or joined, so that their end is reported.
#[inline(always)]
fn watch(event: &Event) {
    if maps::flags() & config::LIFECYCLE == 0 {
        return;
    }
    let makes = match event.header.cause {
        cause::CLONE => event.args[0],
        cause::UNSHARE => kinds_of_unshare(event.args[0]),
        _ => 0,
    };
    for slot in 0..SLOTS {
        let ino = event.after.ino[slot];
        if ino != event.before.ino[slot] && ino != 0 {
            let made = makes & u64::from(syscall::KINDS[slot]) != 0;
            let watched = Watched {
                id: event.after_ids.id[slot],
                made_ns: if made { event.time_ns } else { 0 },
                slot: slot as u32,
                shares: [0; ROWS],
                reserved: 0,
            };
            watched::watch(ino, &watched);
        }
    }
}

/// Returns true if there is something to report: a setns or unshare that succeeded without a change is reported only if
/// requested.
#[inline(always)]
fn is_change(event: &Event) -> bool {
    let may_do_nothing = matches!(event.header.cause, cause::SETNS | cause::UNSHARE) && event.result >= 0;
    if !may_do_nothing || maps::flags() & config::UNCHANGED != 0 {
        return true;
    }
    let mut difference = event.flags & event_flags::MOVED;
    for slot in 0..SLOTS {
        difference |= event.before.ino[slot] ^ event.after.ino[slot];
    }
    difference != 0
}
