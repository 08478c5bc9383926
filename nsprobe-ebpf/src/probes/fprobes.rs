//! The same functions by fprobes (`kprobe.multi`, `kretprobe.multi`), for kernels that preempt their own tasks.
//!
//! There a task can be preempted in a program at fentry or fexit, or at a raw tracepoint from 7.0 on, and until it
//! continues the kernel runs that program for no other task on that CPU. Fprobes run with preemption disabled. Their
//! returns have storage in every task from 6.14 on (before, tasks inside calls exhaust it). At a return the arguments
//! of the function are gone; they are known from its entry.

use super::{chroot, clone, exit, freed, pivot_root, setns, unshare};
use crate::call::how;
use crate::{call, hook};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::{kprobe, kretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use nsprobe_ebpf::{cause, function};

/// Runs at the entry of each call.
#[kprobe]
pub fn enter_function(context: ProbeContext) -> u32 {
    // SAFETY: the context is the kernel's own.
    let function = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    let registers: u64 = context.arg(0).unwrap_or(0);
    let [first, second] = match function {
        function::CLONE3_32 | function::SETNS_32 | function::CHROOT_32 | function::PIVOT_ROOT_32 => {
            hook::registers32(registers)
        }
        function::KERNEL_CLONE | function::UNSHARE => [registers, 0],
        _ => hook::registers(registers),
    };
    match function {
        function::KERNEL_CLONE => clone::enter_kernel(first),
        function::CLONE3 | function::CLONE3_32 => clone::enter3(first),
        function::UNSHARE => unshare::enter(first),
        function::SETNS | function::SETNS_32 => setns::enter(first, second),
        function::CHROOT | function::CHROOT_32 => chroot::enter(first),
        function::PIVOT_ROOT | function::PIVOT_ROOT_32 => pivot_root::enter(first, second),
        _ => {}
    }
    0
}

/// Runs at the return of each.
#[kretprobe]
pub fn exit_function(context: RetProbeContext) -> u32 {
    // SAFETY: as above.
    let function = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    let result: i64 = context.ret();
    let cause = match function {
        function::KERNEL_CLONE => {
            clone::exit_kernel(i64::from(result as i32));
            return 0;
        }
        function::CLONE3 | function::CLONE3_32 => {
            clone::exit(result, how::TRACEPOINT, 0);
            return 0;
        }
        function::UNSHARE => cause::UNSHARE,
        function::SETNS | function::SETNS_32 => cause::SETNS,
        function::CHROOT | function::CHROOT_32 => cause::CHROOT,
        function::PIVOT_ROOT | function::PIVOT_ROOT_32 => cause::PIVOT_ROOT,
        _ => return 0,
    };
    // An `int` for unshare; the others' results are errors or 0.
    call::complete(cause.into(), i64::from(result as i32), 0, 0, how::FPROBE);
    0
}

/// `void uprobe_copy_process(struct task_struct *, u64 flags)`: called by `copy_process` right after `task_newtask`,
/// with the same arguments.
#[kprobe]
pub fn enter_new_task(context: ProbeContext) -> u32 {
    clone::new_task(context.arg(0).unwrap_or(0), context.arg(1).unwrap_or(0));
    0
}

/// `int security_sb_pivotroot(const struct path *old_path, const struct path *new_path)`
#[kprobe]
pub fn enter_pivot_paths(context: ProbeContext) -> u32 {
    pivot_root::resolved(context.arg(0).unwrap_or(0), context.arg(1).unwrap_or(0));
    0
}

/// `void exit_fs(struct task_struct *)`: for a task that ends, and for one that could not be created.
#[kprobe]
pub fn enter_exit_fs(context: ProbeContext) -> u32 {
    exit::ended(context.arg(0).unwrap_or(0));
    0
}

/// `void proc_free_inum(unsigned int inum)`
#[kprobe]
pub fn enter_free_inum(context: ProbeContext) -> u32 {
    freed::report(context.arg(0).unwrap_or(0));
    0
}
