//! clone(2), clone3(2), fork(2), vfork(2): every way to create a task.
//!
//! Successes, fentry and tracepoints: `task_newtask(struct task_struct *task, u64 clone_flags)` (`unsigned long` on older
//! kernels, up to 6.12 at least; the register is the same). It comes at the end of `copy_process`, when the new task
//! has its ids and namespaces and has not run yet, and can no longer fail. Its flags are the kernel's own copy:
//! clone(2) has lost its exit signal there, whose bits include `CLONE_NEWTIME`, so that only clone3(2) can set that.
//!
//! Failures, fentry and fprobes: `pid_t kernel_clone(struct kernel_clone_args *args)`, since 5.10 (`_do_fork` before).
//! clone3 gets there once its arguments have been read and are valid by themselves (`clone3_args_valid`): an invalid
//! size, flag, stack, exit signal or `set_tid` is refused before. So its failures are reported at its return: `long
//! __x64_sys_clone3(const struct pt_regs *)`, and `__ia32_sys_clone3` for 32 bits, with the flags seen by
//! `kernel_clone`, if it got there.

use crate::call::how;
use crate::maps::offset;
use crate::syscall::{ANY_KIND, UNDER_WAY, kinds_of_clone3, number};
use crate::{call, hook, maps, state, task, wanted};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{btf_tracepoint, fentry, fexit, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, FExitContext, TracePointContext};
use nsprobe_ebpf::{ABSENT, Field, cause, config, event_flags};

/// The signal to the parent, in the flags of clone(2).
const CSIGNAL: u64 = 0xff;

const CLONE_THREAD: u64 = 0x0001_0000;

/// The value for flags that could not be read.
const UNREAD: u64 = u64::MAX;

/// Returns true if a clone with these flags is requested.
#[inline(always)]
fn is_requested(flags: u64) -> bool {
    let requested = maps::flags();
    requested & config::NO_CLONE == 0 && (flags & ANY_KIND != 0 || requested & config::EVERY_CLONE != 0)
}

/// Returns the kinds in which a new task of the running one has a different namespace: by these flags, or because there
/// is another one for children.
#[inline(always)]
fn kinds(flags: u64) -> u64 {
    kinds_of_clone3(flags) | task::kinds_for_children(task::current())
}

/// Returns true if a clone with these flags is requested that fails, or may fail.
#[inline(always)]
fn is_requested_failed(flags: u64) -> bool {
    let kinds = kinds(flags);
    is_requested(kinds) && wanted::kinds(kinds)
}

#[btf_tracepoint(function = "task_newtask")]
pub fn task_newtask(context: BtfTracePointContext) -> i32 {
    new_task(context.arg(0), context.arg(1));
    0
}

/// `PF_IO_WORKER` (Linux 5.12).
const IO_WORKER: u32 = 0x10;

/// Returns true if the kernel has made this thread by itself, for io_uring: no call made it.
#[inline(always)]
fn is_io_worker(child: u64) -> bool {
    task::read::<u32>(child, Field::TaskFlags) & IO_WORKER != 0
}

/// Handles a new task that has not run yet, created with these flags.
#[inline(always)]
pub fn new_task(child: u64, flags: u64) {
    // First of all, because this runs for every new task of the machine.
    let following = maps::flags() & config::FOLLOW != 0;
    let parent = task::current();
    let requested = (is_requested(flags) || is_requested(ANY_KIND) && task::begins_elsewhere(child, parent))
        && wanted::result(0);
    if !requested && !following {
        return;
    }
    if following {
        if maps::is_followed(parent) {
            maps::follow(child);
        } else {
            // The configured process is not followed itself, only what it starts.
            if flags & CLONE_THREAD == 0 && task::is_named(parent) {
                maps::follow(child);
            }
            return;
        }
        if !requested {
            return;
        }
    }
    if is_io_worker(child) || !wanted::traits(parent) {
        return;
    }
    call::report(cause::CLONE, parent, |pending| {
        pending.child = child;
        let event = &mut pending.event;
        task::fill_namespaces(&mut event.after, Some(&mut event.after_ids), child);
        event.args[0] = flags;
        event.child.tgid = task::read(child, Field::TaskTgid);
        event.child.tid = task::read(child, Field::TaskPid);
        // Differs from the caller with CLONE_PARENT, and for a thread.
        event.child.ppid = task::read(task::read(child, Field::TaskRealParent), Field::TaskTgid);
        event.result = i64::from(event.child.tid);
        task::fill_pids(&mut event.child.pids, child);
        wanted::kinds_of_clone(flags, event)
    });
}

#[fexit(function = "kernel_clone")]
pub fn fexit_clone(context: FExitContext) -> i32 {
    let result = hook::returned_int(&context);
    if result >= 0 || !wanted::result(result) {
        return 0;
    }
    let flags: u64 = task::read(context.arg(0), Field::KernelCloneFlags);
    let task = task::current();
    // clone3 reports it at its return; the caller may have changed its own flags meanwhile.
    if is_in_clone3(task) && state::amend_clone(flags) {
        return 0;
    }
    if is_requested_failed(flags) && wanted::caller(task) {
        call::report(cause::CLONE, task, |pending| {
            let event = &mut pending.event;
            event.args[0] = flags;
            event.result = result;
            event.after = event.before;
            event.after_ids = event.before_ids;
            true
        });
    }
    0
}

/// Returns true if `task` is in clone3. If that cannot be read: if it has begun one.
#[inline(always)]
fn is_in_clone3(task: u64) -> bool {
    offset(Field::TaskStack) == ABSENT || task::registers(task, number::CLONE3, UNDER_WAY).is_some()
}

/// Completes a failed clone; a successful one was reported when the child was created.
#[inline(never)]
pub fn exit(result: i64, how: u64, address: u64) {
    let Some(pending) = state::resume(cause::CLONE) else { return };
    // Left behind by another call, whose return the kernel did not report.
    if how == how::FUNCTION && pending.event.args[1] != address {
        return state::forget(pending);
    }
    if how == how::DENIED {
        pending.event.flags |= event_flags::DENIED;
    }
    call::finish(pending, result, |pending| {
        let event = &mut pending.event;
        // Flags that could not be read at entry: the call itself has paged them in by now.
        if result < 0 && event.args[0] == UNREAD {
            event.args[0] = clone3_flags(event.args[1]).unwrap_or(0);
        }
        event.args[1] = 0;
        result < 0 && is_requested_failed(event.args[0])
    });
}

#[inline(never)]
pub fn enter(flags: u64) {
    // The kernel uses only the lower half of the register.
    begin(flags & 0xffff_ffff & !CSIGNAL);
}

/// Handles the entry of `kernel_clone`, by the kernel's own copy of the flags.
#[inline(never)]
pub fn enter_kernel(args: u64) {
    let flags: u64 = task::read(args, Field::KernelCloneFlags);
    // It was begun at the entry of the call.
    if !(is_in_clone3(task::current()) && state::amend_clone(flags)) {
        begin(flags);
    }
}

/// Handles the return of `kernel_clone`; clone3 is reported at its own.
#[inline(never)]
pub fn exit_kernel(result: i64) {
    if !is_in_clone3(task::current()) {
        exit(result, how::TRACEPOINT, 0);
    }
}

#[inline(always)]
fn begin(flags: u64) {
    if is_requested_failed(flags)
        && let Some(pending) = call::begin(cause::CLONE, kinds(flags))
    {
        pending.event.args[0] = flags;
        state::keep(pending);
    }
}

#[tracepoint(category = "syscalls", name = "sys_enter_clone")]
pub fn enter_clone(context: TracePointContext) -> u32 {
    enter(hook::argument(&context, 0));
    0
}

/// `CLONE_VFORK | CLONE_VM`: the flags of vfork(2).
pub const VFORK_FLAGS: u64 = 0x4100;

#[tracepoint(category = "syscalls", name = "sys_enter_fork")]
pub fn enter_fork(_: TracePointContext) -> u32 {
    enter(0);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_vfork")]
pub fn enter_vfork(_: TracePointContext) -> u32 {
    enter(VFORK_FLAGS);
    0
}

/// The return of clone(2), clone3(2), fork(2) and vfork(2).
#[tracepoint]
pub fn exit_clone(context: TracePointContext) -> u32 {
    exit(hook::result(&context), how::TRACEPOINT, 0);
    0
}

/// Reads the flags in the `struct clone_args` at `address` in the caller's memory: its first field.
#[inline(always)]
fn clone3_flags(address: u64) -> Option<u64> {
    let mut flags = 0_u64;
    // SAFETY: the destination is as long as stated. The helper checks the source.
    let error = unsafe { bpf_probe_read_user((&raw mut flags).cast(), 8, address as *const _) };
    (error == 0).then_some(flags)
}

#[inline(never)]
pub fn enter3(address: u64) {
    let flags = clone3_flags(address);
    if flags.is_none_or(is_requested_failed)
        && let Some(pending) = call::begin(cause::CLONE, flags.map_or(u64::MAX, kinds))
    {
        pending.event.args = [flags.unwrap_or(UNREAD), address];
        state::keep(pending);
    }
}

#[fentry(function = "__x64_sys_clone3")]
pub fn fentry_clone3(context: FEntryContext) -> i32 {
    enter3(hook::registers(context.arg(0))[0]);
    0
}

#[fexit(function = "__x64_sys_clone3")]
pub fn fexit_clone3(context: FExitContext) -> i32 {
    exit(hook::returned(&context), how::FUNCTION, hook::registers(context.arg(0))[0]);
    0
}

#[fentry(function = "__ia32_sys_clone3")]
pub fn fentry_clone3_32(context: FEntryContext) -> i32 {
    enter3(hook::registers32(context.arg(0))[0]);
    0
}

#[fexit(function = "__ia32_sys_clone3")]
pub fn fexit_clone3_32(context: FExitContext) -> i32 {
    exit(hook::returned(&context), how::FUNCTION, hook::registers32(context.arg(0))[0]);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_clone3")]
pub fn enter_clone3(context: TracePointContext) -> u32 {
    enter3(hook::argument(&context, 0));
    0
}
