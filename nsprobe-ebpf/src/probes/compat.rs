//! 32-bit system calls, if no fentry: by int 0x80, and of 32-bit processes.
//!
//! The tracepoints of single system calls do not fire for them (`arch_trace_is_compat_syscall`), so these two see every
//! system call. By perf, where they cannot be preempted: `tp_btf` programs can on recent kernels (seen on 7.2), and
//! while one is preempted, other tasks on its CPU are missed.

use super::{chroot, clone, pivot_root, setns, unshare};
use crate::call::how;
use crate::{call, hook, task};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use nsprobe_ebpf::cause;

/// Their syscall numbers: asm/unistd_32.h.
mod number {
    pub const FORK: u64 = 2;
    pub const CHROOT: u64 = 61;
    pub const CLONE: u64 = 120;
    pub const VFORK: u64 = 190;
    pub const PIVOT_ROOT: u64 = 217;
    pub const UNSHARE: u64 = 310;
    pub const SETNS: u64 = 346;
    pub const CLONE3: u64 = 435;
}

#[tracepoint(category = "raw_syscalls", name = "sys_enter")]
pub fn enter_compat(context: TracePointContext) -> u32 {
    use number::{CHROOT, CLONE, CLONE3, FORK, PIVOT_ROOT, SETNS, UNSHARE, VFORK};
    let number = hook::number(&context);
    // First of all, because this runs for every system call of the machine.
    if !matches!(number, CHROOT | CLONE | FORK | VFORK | PIVOT_ROOT | UNSHARE | SETNS | CLONE3)
        || !task::is_compat(task::current())
    {
        return 0;
    }
    // 32 bits wide, whatever else the registers contain.
    let [first, second] = [0, 1].map(|index| hook::argument(&context, index) & 0xffff_ffff);
    match number {
        CHROOT => chroot::enter(first),
        CLONE => clone::enter(first),
        FORK => clone::enter(0),
        VFORK => clone::enter(clone::VFORK_FLAGS),
        CLONE3 => clone::enter3(first),
        PIVOT_ROOT => pivot_root::enter(first, second),
        SETNS => setns::enter(first, second),
        _ => unshare::enter(first),
    }
    0
}

#[tracepoint(category = "raw_syscalls", name = "sys_exit")]
pub fn exit_compat(context: TracePointContext) -> u32 {
    if !task::is_compat(task::current()) {
        return 0;
    }
    let cause = match hook::number(&context) {
        number::CHROOT => cause::CHROOT,
        number::PIVOT_ROOT => cause::PIVOT_ROOT,
        number::UNSHARE => cause::UNSHARE,
        number::SETNS => cause::SETNS,
        number::CLONE | number::CLONE3 | number::FORK | number::VFORK => {
            clone::exit(hook::result(&context), how::TRACEPOINT, 0);
            return 0;
        }
        _ => return 0,
    };
    call::complete(cause.into(), hook::result(&context), 0, 0, how::TRACEPOINT);
    0
}
