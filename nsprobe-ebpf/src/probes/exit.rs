//! The end of a task.
//!
//! `sched_process_exit(struct task_struct *task, bool group_dead)`; older kernels (up to 6.12 at least) have the
//! first argument only, and no other is read.

use crate::maps;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

/// Only keeps the table of followed tasks true; attached only when there is one.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn task_exit(context: BtfTracePointContext) -> i32 {
    maps::unfollow(context.arg(0));
    0
}
