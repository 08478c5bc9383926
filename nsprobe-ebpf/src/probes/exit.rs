//! The end of a task.
//!
//! `sched_process_exit(struct task_struct *task, …)`: one argument up to 6.15, then a second that is not read.

use crate::maps;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

/// Only keeps the table of followed tasks true; attached only when there is one.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn task_exit(context: BtfTracePointContext) -> i32 {
    maps::unfollow(context.arg(0));
    0
}
