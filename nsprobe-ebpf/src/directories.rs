//! The caller's root and working directory, before and after its call.

use crate::pending::Pending;
use crate::{path, task};
use nsprobe_ebpf::{cause, event_flags, text};

/// Records both at entry.
#[inline(always)]
pub fn before(pending: &mut Pending) {
    let task = task::current();
    pending.root = task::root(task);
    pending.cwd = task::cwd(task);
    path::walk::<{ text::ROOT_BEFORE }>(pending, pending.root);
    path::walk::<{ text::CWD_BEFORE }>(pending, pending.cwd);
}

/// Records both at return, if they were recorded at entry.
#[inline(always)]
pub fn after(pending: &mut Pending, result: i64) {
    if pending.root.1 == 0 {
        return;
    }
    pending.event.texts[text::ROOT_AFTER] = pending.event.texts[text::ROOT_BEFORE];
    pending.event.texts[text::CWD_AFTER] = pending.event.texts[text::CWD_BEFORE];
    if result < 0 {
        return;
    }
    let task = task::current();
    let (root, cwd) = (task::root(task), task::cwd(task));
    // An unchanged directory may have a different path now.
    let pivot = pending.event.header.cause == cause::PIVOT_ROOT;
    let (root_moved, cwd_moved) = (moved(pending, pending.root, root), moved(pending, pending.cwd, cwd));
    if root_moved {
        pending.event.flags |= event_flags::ROOT_MOVED;
    }
    if cwd_moved {
        pending.event.flags |= event_flags::CWD_MOVED;
    }
    if root_moved || pivot {
        path::walk::<{ text::ROOT_AFTER }>(pending, root);
    }
    if cwd_moved || pivot {
        path::walk::<{ text::CWD_AFTER }>(pending, cwd);
    }
}

/// Returns true if a directory has changed. The mounts of a new mount namespace are copies with the same content.
#[inline(always)]
fn moved(pending: &Pending, before: (u64, u64), after: (u64, u64)) -> bool {
    before.1 != after.1 || before.0 != after.0 && pending.event.header.cause != cause::UNSHARE
}
