//! The caller's executable and control group. Read at return, for the events that are sent.

use crate::cgroup;
use crate::path::{keep, put_name, since, used, walk};
use crate::pending::Pending;
use crate::task::{self, embedded, read};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use nsprobe_ebpf::{Field, PATH_LEN, text, text_flags};

/// Records the executable, the command line and the control group of `task`, which is the running one.
#[inline(always)]
pub fn fill(pending: &mut Pending, task: u64) {
    let mm: u64 = read(task, Field::TaskMm);
    // Kernel threads have none.
    if mm != 0 {
        let file: u64 = read(mm, Field::MmExeFile);
        walk::<{ text::EXE }>(pending, task::path(embedded(file, Field::FilePath)));
        command_line(pending, read(mm, Field::MmArgStart), read(mm, Field::MmArgEnd));
    }
    cgroup(pending, task);
}

#[inline(always)]
fn command_line(pending: &mut Pending, from: u64, to: u64) {
    const MOST: u64 = PATH_LEN as u64 - 1;
    let length = to.wrapping_sub(from);
    // A power of two minus one, so that the verifier sees the limit.
    let kept = if length > MOST { MOST } else { length } & MOST;
    let start = used(pending);
    // SAFETY: at any byte of the text there is space for a path, which is more. The helper checks the
    // source: it is the process's own memory, which this runs in.
    let error = unsafe {
        let to = (&raw mut pending.text).cast::<u8>().add(start);
        bpf_probe_read_user(to.cast(), kept as u32, from as *const _)
    };
    let mut flags = if length > MOST { text_flags::CUT } else { 0 };
    if error != 0 {
        flags = text_flags::FAULT;
    } else if !keep(pending, start as u64 + kept) {
        flags = text_flags::CUT;
    }
    pending.event.texts[text::COMMAND_LINE] = since(pending, start, flags);
}

/// The deepest control group whose path is reported in full.
const DEPTH: usize = 16;

/// Records the control group of `task`, and for a clone that of the child.
#[inline(always)]
fn cgroup(pending: &mut Pending, task: u64) {
    let node = cgroup::node(task);
    pending.event.cgroup_id = read(node, Field::KernfsId);
    walk_cgroup::<{ text::CGROUP }>(pending, node);
    if pending.child == 0 {
        return;
    }
    let child = cgroup::node(pending.child);
    pending.event.child_cgroup_id = read(child, Field::KernfsId);
    if child == node {
        pending.event.texts[text::CHILD_CGROUP] = pending.event.texts[text::CGROUP];
    } else {
        walk_cgroup::<{ text::CHILD_CGROUP }>(pending, child);
    }
}

/// Records as text `INDEX` the names from the control group at `node` up to the root.
#[inline(always)]
fn walk_cgroup<const INDEX: usize>(pending: &mut Pending, mut node: u64) {
    let start = used(pending);
    let mut flags = text_flags::WALK | text_flags::CUT;
    for _ in 0..DEPTH {
        let parent = cgroup::parent(node);
        if parent == 0 {
            flags = text_flags::WALK;
            break;
        }
        if !put_name(pending, start, read(node, Field::KernfsName)) {
            break;
        }
        node = parent;
    }
    pending.event.texts[INDEX] = since(pending, start, flags);
}
