//! unshare(2).
//!
//! fentry: `int ksys_unshare(unsigned long unshare_flags)`, since 4.17; every entry leads there.

use crate::call::how;
use crate::syscall::{NEW_MNT, kinds_of_unshare};
use crate::{call, directories, hook, state};
use aya_ebpf::macros::{fentry, fexit, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, TracePointContext};
use nsprobe_ebpf::cause;

#[inline(never)]
pub fn enter(flags: u64) {
    let kinds = kinds_of_unshare(flags);
    if let Some(pending) = call::begin(cause::UNSHARE, kinds) {
        pending.event.args[0] = flags;
        if kinds & NEW_MNT != 0 {
            directories::before(pending);
        }
        state::keep(pending);
    }
}

#[fentry(function = "ksys_unshare")]
pub fn fentry_unshare(context: FEntryContext) -> i32 {
    enter(context.arg(0));
    0
}

#[fexit(function = "ksys_unshare")]
pub fn fexit_unshare(context: FExitContext) -> i32 {
    let result = hook::returned_int(&context);
    call::complete(cause::UNSHARE.into(), result, context.arg(0), 0, how::FUNCTION);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_unshare")]
pub fn enter_unshare(context: TracePointContext) -> u32 {
    enter(hook::argument(&context, 0));
    0
}
