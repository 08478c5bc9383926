//! The known facts of each namespace: its members, what else led to it, and how to open it.

use super::found::{DivergentThread, NamespaceDescriptor};
use super::limit;
use super::reach::MountPoint;
use super::visibility;
use crate::model::{Holder, Initial, Namespace, NsId, NsKind, NsSlot, Pid, Process, Source, Text};
use std::collections::{BTreeMap, HashMap};

/// The namespaces known so far.
#[derive(Debug, Default)]
pub(super) struct NamespaceIndex {
    found: BTreeMap<(NsKind, u64), Entry>,
    /// The initial namespace of each kind, if a process is certain to be in it.
    initial: Option<[Option<NsId>; 8]>,
}

/// The known facts of one namespace.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) namespace: Namespace,
    /// Handles to its file: the leader's, and others in case that one vanishes.
    pub(super) handles: Vec<Handle>,
    /// True once it has been queried.
    pub(super) queried: bool,
    /// The reason that none of the remaining handles was used.
    pub(super) unreached: Option<String>,
}

/// A way to open a namespace's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    /// A process that refers to it in this slot.
    Process(Pid, NsSlot),
    /// A thread that refers to it in this slot.
    Thread(Pid, Pid, NsSlot),
    /// A descriptor of a process, or of one of its threads.
    Descriptor(Pid, Option<Pid>, u32),
    /// A mount.
    Mount(MountPoint),
}

impl Handle {
    /// Returns the path of a mount, as nsprobe sees it.
    pub(super) fn mount_path(&self) -> Option<Text> {
        match self {
            Self::Mount(mount) => Some(mount.own_path()),
            _ => None,
        }
    }
}

/// The most handles kept per namespace; more add cost and no certainty.
const MOST_HANDLES: usize = 4;

impl Entry {
    pub(super) fn handle(&mut self, handle: Handle) {
        if self.handles.len() < MOST_HANDLES {
            self.handles.push(handle);
        }
    }

    /// Adds a mount that is tried before all other mounts.
    pub(super) fn first_mount(&mut self, mount: MountPoint) {
        let is_mount = |handle: &Handle| matches!(handle, Handle::Mount(_));
        let at = self.handles.iter().position(is_mount).unwrap_or(self.handles.len());
        self.handles.insert(at, Handle::Mount(mount));
        self.handles.truncate(MOST_HANDLES);
    }

    pub(super) fn source(&mut self, source: Source) {
        // Members come by the thousand, all with the same source.
        if self.namespace.sources.last() != Some(&source) {
            self.namespace.sources.push(source);
        }
    }

    /// Adds a holder, which also led to it.
    pub(super) fn held(&mut self, holder: Holder) {
        self.source(match holder {
            Holder::Thread { .. } => Source::Threads,
            Holder::ForChildren { .. } => Source::ForChildren,
            Holder::Descriptor { .. } | Holder::File { .. } => Source::Descriptors,
            Holder::Socket { .. } | Holder::Connection { .. } => Source::Sockets,
            Holder::BindMount { .. } => Source::BindMounts,
            Holder::Ancestor { .. } => Source::Relations,
            Holder::Mount { .. } | Holder::DetachedMount { .. } => Source::FileSystems,
        });
        self.namespace.holders.push(holder);
    }
}

impl NamespaceIndex {
    /// Counts the namespaces that `processes` are members of or keep for their children.
    pub(super) fn take(processes: &[Process]) -> Self {
        let mut index = Self { found: BTreeMap::new(), initial: initial(processes) };
        let by_pid: HashMap<Pid, &Process> = processes.iter().map(|process| (process.pid, process)).collect();
        for process in processes {
            let parent = by_pid.get(&process.ppid);
            for slot in NsSlot::ALL {
                let Some(id) = process.namespace(slot) else { continue };
                let NsSlot::In(_) = slot else {
                    index.for_children(process, None, slot, id);
                    continue;
                };
                let entry = index.entry(id);
                entry.source(Source::Processes);
                entry.handle(Handle::Process(process.pid, slot));
                entry.namespace.processes += 1;
                let topmost = parent.is_none_or(|parent| parent.namespace(slot) != Some(id));
                let start = |pid: Pid| by_pid.get(&pid).map(|process| (process.start_ticks, pid));
                if topmost
                    && entry
                        .namespace
                        .leader
                        .and_then(start)
                        .is_none_or(|leader| (process.start_ticks, process.pid) < leader)
                {
                    entry.namespace.leader = Some(process.pid);
                }
            }
        }
        index
    }

    /// Counts processes of which only the namespaces are known.
    pub(super) fn count(&mut self, namespaces: &[NsId]) {
        for &id in namespaces {
            self.entry(id).namespace.processes += 1;
        }
    }

    /// Adds a namespace for the children of a process, or of one of its threads; nothing if the process is itself a
    /// member.
    fn for_children(&mut self, process: &Process, tid: Option<Pid>, slot: NsSlot, id: NsId) {
        if process.namespace(NsSlot::In(slot.kind())) == Some(id) {
            return;
        }
        let pid = process.pid;
        let entry = self.entry(id);
        entry.held(Holder::ForChildren { pid, tid });
        entry.handle(match tid {
            None => Handle::Process(pid, slot),
            Some(tid) => Handle::Thread(pid, tid, slot),
        });
    }

    /// Adds the divergent threads.
    pub(super) fn threads(&mut self, divergent: &[DivergentThread], processes: &[Process]) {
        for &DivergentThread { pid, tid, ref namespaces, stands_for_process } in divergent {
            let Ok(process) = processes.binary_search_by_key(&pid, |process| process.pid) else { continue };
            if stands_for_process {
                // The process's own links are empty.
                for slot in NsSlot::ALL {
                    if let Some(id) = processes[process].namespace(slot) {
                        self.entry(id).handle(Handle::Thread(pid, tid, slot));
                    }
                }
            }
            for &(slot, id) in namespaces {
                if let NsSlot::In(_) = slot {
                    let entry = self.entry(id);
                    entry.held(Holder::Thread { pid, tid });
                    entry.handle(Handle::Thread(pid, tid, slot));
                } else {
                    self.for_children(&processes[process], Some(tid), slot, id);
                }
            }
        }
    }

    /// Adds the namespaces that descriptors refer to.
    pub(super) fn descriptors(&mut self, descriptors: &[NamespaceDescriptor]) {
        for &NamespaceDescriptor { pid, tid, fd, id } in descriptors {
            let entry = self.entry(id);
            entry.held(Holder::Descriptor { pid, tid, fd });
            entry.handle(Handle::Descriptor(pid, tid, fd));
        }
    }

    /// Returns the entry of a namespace, created if needed.
    pub(super) fn entry(&mut self, id: NsId) -> &mut Entry {
        let new =
            || Entry { namespace: Namespace::new(id), handles: Vec::new(), queried: false, unreached: None };
        self.found.entry((id.kind, id.ino)).or_insert_with(new)
    }

    /// Returns the initial namespace of a kind, if known.
    pub(super) fn initial(&self, kind: NsKind) -> Option<NsId> {
        self.initial?[kind as usize]
    }

    /// Returns true if a namespace is known.
    pub(super) fn knows(&self, id: NsId) -> bool {
        self.found.contains_key(&(id.kind, id.ino))
    }

    /// Returns every known namespace.
    pub(super) fn ids(&self) -> Vec<NsId> {
        self.found.values().map(|entry| entry.namespace.id).collect()
    }

    /// Returns those that have not been queried and have no handle.
    pub(super) fn without_handle(&self) -> Vec<NsId> {
        let without = self.found.values().filter(|entry| !entry.queried && entry.handles.is_empty());
        without.map(|entry| entry.namespace.id).collect()
    }

    /// Returns the kernel's ids of the namespaces without members and without a known holder.
    pub(super) fn unheld(&self) -> HashMap<u64, NsId> {
        let unheld = self.found.values().map(|entry| &entry.namespace).filter(|namespace| {
            namespace.processes == 0 && namespace.holders.is_empty() && namespace.holders_omitted == 0
        });
        unheld.filter_map(|namespace| Some((namespace.kernel_id?, namespace.id))).collect()
    }

    /// Returns the kernel's ids of the namespaces of one kind, as far as known.
    pub(super) fn kernel_ids(&self, kind: NsKind) -> impl Iterator<Item = (u64, NsId)> {
        let of_kind = self.found.range((kind, 0)..=(kind, u64::MAX));
        of_kind.filter_map(|(_, entry)| Some((entry.namespace.kernel_id?, entry.namespace.id)))
    }

    /// Returns the completed namespaces.
    pub(super) fn finish(self) -> Vec<Namespace> {
        let initial = self.initial;
        let is_initial = |id: NsId| match initial.and_then(|ids| ids[id.kind as usize]) {
            None => Initial::Unknown,
            Some(first) if first == id => Initial::Yes,
            Some(_) => Initial::No,
        };
        let namespace = |entry: Entry| {
            let mut namespace = entry.namespace;
            namespace.initial = is_initial(namespace.id);
            namespace.holders.sort();
            namespace.holders.dedup();
            namespace.holders_omitted += limit::holders(&mut namespace.holders);
            namespace.sources.sort();
            namespace.sources.dedup();
            namespace
        };
        self.found.into_values().map(namespace).collect()
    }
}

/// Returns the namespaces of kthreadd. It is pid 2 of the initial pid namespace, started by the kernel, and never
/// leaves its namespaces. Inodes prove nothing: they vary between kernels.
fn initial(processes: &[Process]) -> Option<[Option<NsId>; 8]> {
    let slots = visibility::kthreadd(processes)?.namespaces.as_ref()?;
    Some(NsKind::ALL.map(|kind| *slots.of(kind)))
}
