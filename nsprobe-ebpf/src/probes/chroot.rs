//! chroot(2).
//!
//! fentry: `long __x64_sys_chroot(const struct pt_regs *)`, since 4.17; likewise `__ia32_sys_chroot` for 32
//! bits.

use crate::call::how;
use crate::syscall::NEW_MNT;
use crate::{call, directories, hook, path, state};
use aya_ebpf::macros::{fentry, fexit, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, TracePointContext};
use nsprobe_ebpf::cause;

#[inline(never)]
pub fn enter(address: u64) {
    if let Some(pending) = call::begin(cause::CHROOT, NEW_MNT) {
        pending.event.args[0] = address;
        path::read_user::<0>(pending);
        directories::before(pending);
        state::keep(pending);
    }
}

#[inline(always)]
fn exit(address: u64, result: i64) {
    call::complete(cause::CHROOT.into(), result, address, 0, how::FUNCTION);
}

#[fentry(function = "__x64_sys_chroot")]
pub fn fentry_chroot(context: FEntryContext) -> i32 {
    enter(hook::registers(context.arg(0))[0]);
    0
}

#[fexit(function = "__x64_sys_chroot")]
pub fn fexit_chroot(context: FExitContext) -> i32 {
    exit(hook::registers(context.arg(0))[0], hook::returned(&context));
    0
}

#[fentry(function = "__ia32_sys_chroot")]
pub fn fentry_chroot32(context: FEntryContext) -> i32 {
    enter(hook::registers32(context.arg(0))[0]);
    0
}

#[fexit(function = "__ia32_sys_chroot")]
pub fn fexit_chroot32(context: FExitContext) -> i32 {
    exit(hook::registers32(context.arg(0))[0], hook::returned(&context));
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_chroot")]
pub fn enter_chroot(context: TracePointContext) -> u32 {
    enter(hook::argument(&context, 0));
    0
}
