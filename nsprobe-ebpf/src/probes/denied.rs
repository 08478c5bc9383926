//! Calls that a seccomp filter stops, if requested.
//!
//! On x86 the kernel consults ptrace, then seccomp, and then reaches `sys_enter`: a call that a filter answers (with an
//! errno, by a supervisor, for want of a tracer) never gets there, nor to any function, but returns by `sys_exit`. So
//! every call that gets past seccomp gets a note at its entry, and one that fails without a note has been stopped. One
//! that ends the process (`SECCOMP_RET_KILL_*`) does not return; one that sends a signal (`SECCOMP_RET_TRAP`) returns
//! its own syscall number, which is not a failure.
//!
//! By perf, as in `compat`: these programs cannot be preempted, so that no entry is missed because of another.
//! `PTRACE_SYSEMU`, which skips calls before seccomp is consulted, looks the same if there is also a filter.

use super::tasks::Context;
use super::{chroot, clone, pivot_root, setns, unshare};
use crate::call::how;
use crate::syscall::{UNDER_WAY, number};
use crate::{call, hook, maps, state, task};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use nsprobe_ebpf::{Counter, Field, cause, is_restart};

/// Runs at the entry of each of these calls.
#[tracepoint(category = "syscalls", name = "sys_enter_unshare")]
pub fn enter_denied(context: TracePointContext) -> u32 {
    maps::note(task::current(), number(&context));
    0
}

/// Runs at the return of each.
#[tracepoint(category = "syscalls", name = "sys_exit_unshare")]
pub fn exit_denied(context: TracePointContext) -> u32 {
    use number::{CHROOT, CLONE, CLONE3, FORK, PIVOT_ROOT, SETNS, UNSHARE, VFORK};
    let task = task::current();
    let (number, result) = (number(&context), hook::result(&context));
    // Restarted: a signal came while a supervisor was consulted.
    if maps::unnote(task, number) || result >= 0 || is_restart(result) {
        return 0;
    }
    if !task::is_judged(task) {
        return 0;
    }
    match maps::notes() {
        maps::notes::WHOLE => {}
        maps::notes::FULL => {
            maps::count(Counter::DeniedFull);
            return 0;
        }
        _ => return 0,
    }
    let Some(registers) = task::registers(task, number, result) else {
        maps::count(Counter::DeniedUnread);
        return 0;
    };
    let first = task::read(registers, Field::PtRegsFirst);
    let second = task::read(registers, Field::PtRegsSecond);
    // Nothing left behind may be mistaken for this call.
    state::clear();
    match number {
        UNSHARE => unshare::enter(first),
        SETNS => setns::enter(first, second),
        CHROOT => chroot::enter(first),
        PIVOT_ROOT => pivot_root::enter(first, second),
        CLONE => clone::enter(first),
        FORK => clone::enter(0),
        VFORK => clone::enter(clone::VFORK_FLAGS),
        CLONE3 => clone::enter3(first),
        _ => {}
    }
    let cause = match number {
        UNSHARE => cause::UNSHARE,
        SETNS => cause::SETNS,
        CHROOT => cause::CHROOT,
        PIVOT_ROOT => cause::PIVOT_ROOT,
        _ => {
            clone::exit(result, how::DENIED, 0);
            return 0;
        }
    };
    call::complete(cause.into(), result, 0, 0, how::DENIED);
    0
}

/// Returns the syscall number, an `int` with undefined upper bits.
#[inline(always)]
fn number(context: &TracePointContext) -> u32 {
    hook::number(context) as u32
}

/// Adds notes for the calls in progress when the hooks above are attached: their entry was not seen. Once it has run,
/// it is known of every call whether it got past seccomp.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn note_present(context: *const Context) -> i32 {
    use number::{CHROOT, CLONE, CLONE3, FORK, PIVOT_ROOT, SETNS, UNSHARE, VFORK};
    // SAFETY: the kernel hands a context of this layout; the verifier checks the loads.
    let task = unsafe { (*context).task };
    if task == 0 {
        maps::trust_notes();
        return 0;
    }
    for number in [CLONE, FORK, VFORK, PIVOT_ROOT, CHROOT, UNSHARE, SETNS, CLONE3] {
        if task::registers(task, number, UNDER_WAY).is_some() {
            maps::note(task, number);
            // It may have returned meanwhile, with nothing to remove.
            if task::registers(task, number, UNDER_WAY).is_none() {
                maps::unnote(task, number);
            }
        }
    }
    0
}
