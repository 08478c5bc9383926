//! pivot_root(2).
//!
//! Functions plan: `long __x64_sys_pivot_root(const struct pt_regs *)`, since 4.17.

use crate::{call, hook, path};
use aya_ebpf::macros::{fentry, fexit, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, TracePointContext};
use nsprobe_ebpf::cause;

#[inline(always)]
fn enter(addresses: [u64; 2]) {
    if let Some(event) = call::begin(cause::PIVOT_ROOT) {
        event.args = addresses;
        path::read_user::<0>(event);
        path::read_user::<1>(event);
    }
}

#[inline(always)]
fn exit(result: i64) {
    call::finish(result, |event| {
        path::read_user_again::<0>(event);
        path::read_user_again::<1>(event);
        true
    });
}

#[fentry(function = "__x64_sys_pivot_root")]
pub fn fentry_pivot_root(context: FEntryContext) -> i32 {
    enter(hook::registers(&context));
    0
}

#[fexit(function = "__x64_sys_pivot_root")]
pub fn fexit_pivot_root(context: FExitContext) -> i32 {
    exit(hook::returned(&context));
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_pivot_root")]
pub fn enter_pivot_root(context: TracePointContext) -> u32 {
    enter([hook::argument(&context, 0), hook::argument(&context, 1)]);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_pivot_root")]
pub fn exit_pivot_root(context: TracePointContext) -> u32 {
    exit(hook::result(&context));
    0
}
