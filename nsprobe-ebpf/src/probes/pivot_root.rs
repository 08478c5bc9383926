//! pivot_root(2).
//!
//! fentry: `long __x64_sys_pivot_root(const struct pt_regs *)`, since 4.17; likewise `__ia32_sys_pivot_root`
//! for 32 bits. `int security_sb_pivotroot(const struct path *old_path, const struct path *new_path)` gets the resolved
//! arguments before anything is moved, in every kernel with CONFIG_SECURITY: `put_old` first.

use crate::call::how;
use crate::syscall::NEW_MNT;
use crate::{call, directories, hook, path, state, task};
use aya_ebpf::macros::{fentry, fexit, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, TracePointContext};
use nsprobe_ebpf::{cause, text};

#[inline(never)]
pub fn enter(new_root: u64, put_old: u64) {
    if let Some(pending) = call::begin(cause::PIVOT_ROOT, NEW_MNT) {
        pending.event.args = [new_root, put_old];
        path::read_user::<0>(pending);
        path::read_user::<1>(pending);
        directories::before(pending);
        state::keep(pending);
    }
}

#[inline(always)]
fn exit([new_root, put_old]: [u64; 2], result: i64) {
    call::complete(cause::PIVOT_ROOT.into(), result, new_root, put_old, how::FUNCTION);
}

#[fentry(function = "__x64_sys_pivot_root")]
pub fn fentry_pivot_root(context: FEntryContext) -> i32 {
    let [first, second] = hook::registers(context.arg(0));
    enter(first, second);
    0
}

#[fentry(function = "security_sb_pivotroot")]
pub fn fentry_pivot_paths(context: FEntryContext) -> i32 {
    resolved(context.arg(0), context.arg(1));
    0
}

/// Adds the resolved arguments of the call in progress.
#[inline(always)]
pub fn resolved(put_old: u64, new_root: u64) {
    // Nothing can be added to an event kept without text.
    if let Some(pending) = state::resume_whole(cause::PIVOT_ROOT) {
        path::walk::<{ text::FIRST_RESOLVED }>(pending, task::path(new_root));
        path::walk::<{ text::SECOND_RESOLVED }>(pending, task::path(put_old));
    }
}

#[fexit(function = "__x64_sys_pivot_root")]
pub fn fexit_pivot_root(context: FExitContext) -> i32 {
    exit(hook::registers(context.arg(0)), hook::returned(&context));
    0
}

#[fentry(function = "__ia32_sys_pivot_root")]
pub fn fentry_pivot_root32(context: FEntryContext) -> i32 {
    let [first, second] = hook::registers32(context.arg(0));
    enter(first, second);
    0
}

#[fexit(function = "__ia32_sys_pivot_root")]
pub fn fexit_pivot_root32(context: FExitContext) -> i32 {
    exit(hook::registers32(context.arg(0)), hook::returned(&context));
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_pivot_root")]
pub fn enter_pivot_root(context: TracePointContext) -> u32 {
    enter(hook::argument(&context, 0), hook::argument(&context, 1));
    0
}
