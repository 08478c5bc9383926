//! setns(2).
//!
//! Functions plan: `long __x64_sys_setns(const struct pt_regs *)`, since 4.17; so for 32 bits, `__ia32_sys_setns`.

use crate::{call, hook, path, place, target, task, wanted};
use aya_ebpf::macros::{fentry, fexit, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, TracePointContext};
use nsprobe_ebpf::{Target, cause};

/// Both arguments are `int`s: the upper halves of their registers are no part of them.
#[inline(never)]
pub fn enter(fd: u64, nstype: u64) {
    // Which kinds are named is known when the target is.
    let Some(pending) = call::begin_unless_target(cause::SETNS, u64::MAX) else { return };
    let nstype = nstype & 0xffff_ffff;
    pending.event.args = [fd & 0xffff_ffff, nstype];
    let file = task::file(task::current(), fd as u32);
    target::fill(&mut pending.event.target, file);
    let Target { ino, clone_flag, .. } = pending.event.target;
    if !wanted::kinds(nstype | u64::from(clone_flag)) || !wanted::namespaces(&pending.event) {
        return call::forget();
    }
    if ino != 0 {
        path::walk_mount(pending, file);
    }
    // A namespace file says its own kind, a pidfd leaves it to the caller.
    let kinds = if ino == 0 { nstype } else { u64::from(clone_flag) };
    if kinds & place::NEW_MNT != 0 {
        place::before(pending);
    }
}

#[fentry(function = "__x64_sys_setns")]
pub fn fentry_setns(context: FEntryContext) -> i32 {
    let [first, second] = hook::registers(&context);
    enter(first, second);
    0
}

#[fexit(function = "__x64_sys_setns")]
pub fn fexit_setns(context: FExitContext) -> i32 {
    call::complete(hook::returned(&context));
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
    call::complete(hook::returned(&context));
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_setns")]
pub fn enter_setns(context: TracePointContext) -> u32 {
    enter(hook::argument(&context, 0), hook::argument(&context, 1));
    0
}
