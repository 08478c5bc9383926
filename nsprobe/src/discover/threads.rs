//! Divergent threads: setns(2) and unshare(2) act on the calling thread alone.

use super::errno::vanished;
use super::found::DivergentThread;
use super::gaps::Gaps;
use super::parse;
use crate::kernel::proc::ProcessDir;
use crate::model::{GapKind, NsId, NsKind, NsSlot, Pid, Process, Slots};
use std::os::unix::ffi::OsStrExt as _;

/// Returns true if these are the namespaces of a task that has ended: a zombie keeps its user and pid namespace, and
/// loses all those that a thread may have of its own.
pub(super) fn has_no_namespaces(namespaces: &Slots<Option<NsId>>) -> bool {
    PER_THREAD_SLOTS.iter().all(|&slot| namespaces.get(slot).is_none())
}

/// The slots in which threads of one process can differ. The kernel lets only a single-threaded process change its
/// user, time or (by clone) pid namespace: namespaces(7), setns(2).
pub(super) const PER_THREAD_SLOTS: [NsSlot; 7] = [
    NsSlot::In(NsKind::Cgroup),
    NsSlot::In(NsKind::Ipc),
    NsSlot::In(NsKind::Mnt),
    NsSlot::In(NsKind::Net),
    NsSlot::In(NsKind::Uts),
    NsSlot::PidForChildren,
    NsSlot::TimeForChildren,
];

/// Returns the threads of a process, without its first.
pub(super) fn ids(process: &Process, dir: &ProcessDir, gaps: &mut Gaps) -> Vec<Pid> {
    // The kernel counts the threads: a single-threaded process costs nothing here.
    if process.threads < 2 || process.kernel_thread {
        return Vec::new();
    }
    match dir.threads() {
        Ok(tids) => tids.into_iter().filter(|&tid| tid != process.pid).collect(),
        Err(error) => {
            if !vanished(&error) {
                gaps.add_error(GapKind::ThreadNamespaces, &error);
            }
            Vec::new()
        }
    }
}

/// Adds those of the threads `tids` of `process` that diverge from it to `divergent`.
///
/// A process whose first thread has ended while others go on has lost its own links; it then has the namespaces of the
/// first of the others.
pub(super) fn find(
    process: &mut Process,
    dir: &ProcessDir,
    tids: &[Pid],
    nsfs_dev: u64,
    divergent: &mut Vec<DivergentThread>,
    gaps: &mut Gaps,
) {
    let Some(home) = &mut process.namespaces else { return };
    let mut without_namespaces = has_no_namespaces(home);
    for &tid in tids {
        let Ok(thread) = dir.thread(tid) else { continue };
        if without_namespaces {
            let slots = Slots::from_fn(|slot| link(&thread, slot, nsfs_dev, gaps));
            without_namespaces = has_no_namespaces(&slots);
            if !without_namespaces {
                *home = slots;
                divergent.push(DivergentThread::standing_for(process.pid, tid));
            }
            continue;
        }
        let elsewhere = PER_THREAD_SLOTS.into_iter().filter_map(|slot| {
            let id = link(&thread, slot, nsfs_dev, gaps)?;
            (*home.get(slot) != Some(id)).then_some((slot, id))
        });
        let namespaces: Vec<_> = elsewhere.collect();
        if !namespaces.is_empty() {
            divergent.push(DivergentThread { pid: process.pid, tid, namespaces, stands_for_process: false });
        }
    }
}

fn link(thread: &ProcessDir, slot: NsSlot, nsfs_dev: u64, gaps: &mut Gaps) -> Option<NsId> {
    match thread.read_link(slot.link()) {
        Ok(text) => parse::namespace_link(text.as_bytes()).map(|(kind, ino)| NsId::new(kind, nsfs_dev, ino)),
        // The thread has ended, the kernel lacks the kind, or there is no child yet.
        Err(error) if vanished(&error) => None,
        Err(error) => {
            gaps.add_error(GapKind::ThreadNamespaces, &error);
            None
        }
    }
}
