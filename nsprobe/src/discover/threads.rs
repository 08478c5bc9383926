//! Threads that are elsewhere than their process: setns(2) and unshare(2) act on the calling thread alone.

use super::processes::link_name;
use super::{Gaps, parse, vanished};
use crate::kernel::proc::ProcessDir;
use crate::model::{GapKind, NsId, NsKind, NsSlot, Pid, Process, Slots};
use std::os::unix::ffi::OsStrExt as _;

/// A thread and those of its namespaces that are not its process's.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) pid: Pid,
    pub(super) tid: Pid,
    pub(super) namespaces: Vec<(NsSlot, NsId)>,
}

/// The slots in which threads of one process can differ. The kernel lets only a process of one thread
/// change its user, time or (by clone) pid namespace: namespaces(7), setns(2).
pub(super) const OWN_TO_A_THREAD: [NsSlot; 7] = [
    NsSlot::In(NsKind::Cgroup),
    NsSlot::In(NsKind::Ipc),
    NsSlot::In(NsKind::Mnt),
    NsSlot::In(NsKind::Net),
    NsSlot::In(NsKind::Uts),
    NsSlot::PidForChildren,
    NsSlot::TimeForChildren,
];

/// Adds the threads of `process` that are elsewhere to `strays`.
///
/// A process whose first thread has ended while others go on has lost its own links; it is then where the
/// first of the others is.
pub(super) fn find(
    process: &mut Process,
    dir: &ProcessDir,
    nsfs_dev: u64,
    strays: &mut Vec<Stray>,
    gaps: &mut Gaps,
) {
    // The kernel counts the threads: a process of one costs nothing here.
    if process.threads < 2 || process.kernel_thread {
        return;
    }
    let tids = match dir.threads() {
        Ok(tids) => tids,
        Err(error) if vanished(&error) => return,
        Err(error) => return gaps.add_error(GapKind::ThreadNamespaces, &error),
    };
    let Some(home) = &mut process.namespaces else { return };
    let mut homeless = home.iter().all(|(_, id)| id.is_none());
    for tid in tids.into_iter().filter(|&tid| tid != process.pid) {
        let Ok(thread) = dir.thread(tid) else { continue };
        if homeless {
            let slots = Slots::from_fn(|slot| link(&thread, slot, nsfs_dev, gaps));
            homeless = slots.iter().all(|(_, id)| id.is_none());
            *home = slots;
            continue;
        }
        let elsewhere = OWN_TO_A_THREAD.into_iter().filter_map(|slot| {
            let id = link(&thread, slot, nsfs_dev, gaps)?;
            (*home.get(slot) != Some(id)).then_some((slot, id))
        });
        let namespaces: Vec<_> = elsewhere.collect();
        if !namespaces.is_empty() {
            strays.push(Stray { pid: process.pid, tid, namespaces });
        }
    }
}

fn link(thread: &ProcessDir, slot: NsSlot, nsfs_dev: u64, gaps: &mut Gaps) -> Option<NsId> {
    match thread.read_link(link_name(slot)) {
        Ok(text) => parse::namespace_link(text.as_bytes()).map(|(kind, ino)| NsId::new(kind, nsfs_dev, ino)),
        // The thread has ended, the kernel lacks the kind, or there is no child yet.
        Err(error) if vanished(&error) => None,
        Err(error) => {
            gaps.add_error(GapKind::ThreadNamespaces, &error);
            None
        }
    }
}
