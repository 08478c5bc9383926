//! Divergent threads: setns(2) and unshare(2) act on the calling thread alone.

use super::directory_reader::DirectoryReader;
use super::found::DivergentThread;
use crate::kernel::proc::ProcessDir;
use crate::model::{GapKind, NsId, NsKind, NsSlot, Pid, Process, Slots};

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

impl DirectoryReader<'_> {
    /// Returns the threads of a process, without its first.
    pub(super) fn other_threads(&mut self, process: &Process, dir: &ProcessDir) -> Vec<Pid> {
        // The kernel counts the threads: a single-threaded process costs nothing here.
        if process.threads < 2 || process.kernel_thread {
            return Vec::new();
        }
        match dir.threads() {
            Ok(tids) => tids.into_iter().filter(|&tid| tid != process.pid).collect(),
            Err(error) => {
                self.note(GapKind::ThreadNamespaces, &error);
                Vec::new()
            }
        }
    }

    /// Finds those of the threads `tids` of `process` that diverge from it.
    ///
    /// A process whose first thread has ended while others go on has lost its own links; it then has the namespaces of
    /// the first of the others.
    pub(super) fn find_divergent(&mut self, process: &mut Process, dir: &ProcessDir, tids: &[Pid]) {
        let Some(home) = &mut process.namespaces else { return };
        let mut without_namespaces = has_no_namespaces(home);
        for &tid in tids {
            let Ok(thread) = dir.thread(tid) else { continue };
            if without_namespaces {
                let slots = Slots::from_fn(|slot| self.link(&thread, slot));
                without_namespaces = has_no_namespaces(&slots);
                if !without_namespaces {
                    *home = slots;
                    self.found.divergent.push(DivergentThread::standing_for(process.pid, tid));
                }
                continue;
            }
            let elsewhere = PER_THREAD_SLOTS.into_iter().filter_map(|slot| {
                let id = self.link(&thread, slot)?;
                (*home.get(slot) != Some(id)).then_some((slot, id))
            });
            let namespaces: Vec<_> = elsewhere.collect();
            if !namespaces.is_empty() {
                let thread = DivergentThread { pid: process.pid, tid, namespaces, stands_for_process: false };
                self.found.divergent.push(thread);
            }
        }
    }

    /// Reads a slot; `None` also if the thread has ended, the kernel lacks the kind, or there is no child yet.
    fn link(&mut self, thread: &ProcessDir, slot: NsSlot) -> Option<NsId> {
        match self.view.context.namespace(thread, slot) {
            Ok(id) => id,
            Err(error) => {
                self.note(GapKind::ThreadNamespaces, &error);
                None
            }
        }
    }
}
