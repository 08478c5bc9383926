//! The tasks that exist when the trace begins, to follow the descendants of a process: `iter/task` (Linux 5.8).
//!
//! A run follows the requested processes, and the children of those already followed. It is repeated until it finds
//! nothing more, because a child may come before its parent.

use super::tasks::Context;
use crate::{maps, task};
use aya_ebpf::helpers::generated::bpf_seq_write;
use nsprobe_ebpf::Field;
use nsprobe_ebpf::filter_key::{self, about};

/// `PF_EXITING` of linux/sched.h: it is set before `sched_process_exit`, which forgets the task.
const EXITING: u32 = 4;

/// Writes a byte for each task that is followed from now on.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn follow_present(context: *const Context) -> i32 {
    // SAFETY: the kernel hands a context of this layout; the verifier checks the loads.
    let (task, seq) = unsafe { ((*context).task, (*(*context).meta).seq) };
    if task == 0 || maps::is_followed(task) || is_exiting(task) {
        return 0;
    }
    let tgid: u32 = task::read(task, Field::TaskTgid);
    // The parent of a process is a thread of its parent process.
    let parent: u64 = task::read(task, Field::TaskRealParent);
    let is_asked_for = || {
        maps::is_requested(&filter_key::number(about::PID, tgid.into()))
            || maps::is_followed(parent)
            || task::is_named(parent)
    };
    // For the configured process its children count, not its own threads, which have its parent.
    if is_asked_for() {
        maps::follow(task);
        // It may have ended meanwhile, and been forgotten before it was followed.
        if is_exiting(task) {
            maps::unfollow(task);
            return 0;
        }
        // There was no room, so it would be found again and again.
        if !maps::is_followed(task) {
            return 0;
        }
        let found = 1_u8;
        // SAFETY: the kernel's own seq_file, and as many bytes as stated.
        unsafe { bpf_seq_write(seq.cast(), (&raw const found).cast(), 1) };
    }
    0
}

fn is_exiting(task: u64) -> bool {
    task::read::<u32>(task, Field::TaskFlags) & EXITING != 0
}
