//! setns(2).
//!
//! fentry: `long __x64_sys_setns(const struct pt_regs *)`, since 4.17; likewise `__ia32_sys_setns` for 32 bits.

use crate::call::how;
use crate::{call, directories, hook, path, state, target, task};
use aya_ebpf::macros::{fentry, fexit, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, TracePointContext};
use nsprobe_ebpf::cause;

/// Both arguments are `int`s: the upper halves of their registers are undefined.
#[inline(never)]
pub fn enter(fd: u64, nstype: u64) {
    // The kinds, and the namespaces joined, are known at return.
    let Some(pending) = call::begin(cause::SETNS, u64::MAX) else { return };
    pending.event.args = [fd & 0xffff_ffff, nstype & 0xffff_ffff];
    let file = task::file(task::current(), fd as u32);
    target::fill(&mut pending.event.target, file);
    if pending.event.target.ino != 0 {
        path::walk_mount(pending, file);
    }
    // Whatever the descriptor is now: it may refer to a mount namespace when the kernel uses it.
    directories::before(pending);
    state::keep(pending);
}

#[inline(always)]
fn exit([fd, nstype]: [u64; 2], result: i64) {
    let [fd, nstype] = [fd & 0xffff_ffff, nstype & 0xffff_ffff];
    call::complete(cause::SETNS.into(), result, fd, nstype, how::FUNCTION);
}

#[fentry(function = "__x64_sys_setns")]
pub fn fentry_setns(context: FEntryContext) -> i32 {
    let [first, second] = hook::registers(context.arg(0));
    enter(first, second);
    0
}

#[fexit(function = "__x64_sys_setns")]
pub fn fexit_setns(context: FExitContext) -> i32 {
    exit(hook::registers(context.arg(0)), hook::returned(&context));
    0
}

#[fentry(function = "__ia32_sys_setns")]
pub fn fentry_setns32(context: FEntryContext) -> i32 {
    let [first, second] = hook::registers32(context.arg(0));
    enter(first, second);
    0
}

#[fexit(function = "__ia32_sys_setns")]
pub fn fexit_setns32(context: FExitContext) -> i32 {
    exit(hook::registers32(context.arg(0)), hook::returned(&context));
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_setns")]
pub fn enter_setns(context: TracePointContext) -> u32 {
    enter(hook::argument(&context, 0), hook::argument(&context, 1));
    0
}
