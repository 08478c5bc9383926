//! The end of a task.
//!
//! `sched_process_exit(struct task_struct *task, bool group_dead)`; older kernels (up to 6.12 at least) have only the
//! first argument, and no other is read.

use crate::{maps, state};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

/// Keeps the tables of tasks current; attached only if there are any.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn task_exit(context: BtfTracePointContext) -> i32 {
    ended(context.arg(0));
    0
}

/// Forgets `ended`, and what it has begun. A task that could not be created has begun nothing.
#[inline(always)]
pub fn ended(ended: u64) {
    maps::unfollow(ended);
    maps::unnote_any(ended);
    state::ended(ended);
}
