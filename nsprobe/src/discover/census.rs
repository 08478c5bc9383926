//! Who is in which namespace: the namespaces that the processes name, with their members.

use crate::model::{Holder, Initial, Namespace, NsId, NsKind, NsSlot, Pid, Process, Root};
use std::collections::{BTreeMap, HashMap};

/// The namespaces known so far.
#[derive(Debug, Default)]
pub(super) struct Census {
    found: BTreeMap<(NsKind, u64), Entry>,
    /// The initial namespace of each kind, where some process is certain to be in it.
    initial: Option<[Option<NsId>; 8]>,
}

/// What is known of one namespace.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: NsId,
    pub(super) members: u64,
    pub(super) leader: Option<Pid>,
    /// Processes through whose `/proc` directory the namespace can be opened: the leader, and others in
    /// case it vanishes.
    pub(super) witnesses: Vec<Witness>,
    pub(super) parent: Option<NsId>,
    pub(super) owner: Option<NsId>,
    pub(super) owner_uid: Option<u32>,
    pub(super) holders: Vec<Holder>,
}

/// A way to a namespace's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// A process that refers to it in this slot.
    Process(Pid, NsSlot),
    /// A path in the view of a process.
    Mount(Pid, std::path::PathBuf),
}

/// More than this many ways to one namespace add cost and no certainty.
const WITNESSES: usize = 4;

impl Entry {
    const fn new(id: NsId) -> Self {
        Self {
            id,
            members: 0,
            leader: None,
            witnesses: Vec::new(),
            parent: None,
            owner: None,
            owner_uid: None,
            holders: Vec::new(),
        }
    }

    pub(super) fn witness(&mut self, witness: Witness) {
        if self.witnesses.len() < WITNESSES {
            self.witnesses.push(witness);
        }
    }
}

impl Census {
    /// Counts the namespaces that `processes` are in or keep for their children.
    pub(super) fn take(processes: &[Process]) -> Self {
        let mut census = Self { found: BTreeMap::new(), initial: initial(processes) };
        let by_pid: HashMap<Pid, &Process> = processes.iter().map(|process| (process.pid, process)).collect();
        for process in processes {
            let parent = by_pid.get(&process.ppid);
            for slot in NsSlot::ALL {
                let Some(id) = process.namespace(slot) else { continue };
                let entry = census.entry(id);
                match slot {
                    NsSlot::In(_) => {
                        entry.members += 1;
                        entry.witness(Witness::Process(process.pid, slot));
                        let topmost = parent.is_none_or(|parent| parent.namespace(slot) != Some(id));
                        let start = |pid: Pid| by_pid.get(&pid).map(|process| (process.start_ticks, pid));
                        if topmost
                            && entry
                                .leader
                                .and_then(start)
                                .is_none_or(|leader| (process.start_ticks, process.pid) < leader)
                        {
                            entry.leader = Some(process.pid);
                        }
                    }
                    NsSlot::PidForChildren | NsSlot::TimeForChildren => {
                        if process.namespace(NsSlot::In(slot.kind())) != Some(id) {
                            entry.witness(Witness::Process(process.pid, slot));
                            entry.holders.push(Holder::ForChildren { pid: process.pid });
                        }
                    }
                }
            }
        }
        census
    }

    /// The entry of a namespace, new if need be.
    pub(super) fn entry(&mut self, id: NsId) -> &mut Entry {
        self.found.entry((id.kind, id.ino)).or_insert_with(|| Entry::new(id))
    }

    /// Whether a namespace is known.
    pub(super) fn knows(&self, id: NsId) -> bool {
        self.found.contains_key(&(id.kind, id.ino))
    }

    /// Every namespace known.
    pub(super) fn ids(&self) -> Vec<NsId> {
        self.found.values().map(|entry| entry.id).collect()
    }

    /// For every mount namespace, the process to read its mounts through: one whose root is whole, because
    /// mountinfo leaves out what lies outside the reader's root.
    pub(super) fn mount_readers(processes: &[Process]) -> BTreeMap<NsId, Pid> {
        let mut readers: BTreeMap<NsId, (bool, Pid)> = BTreeMap::new();
        for process in processes {
            if let Some(id) = process.namespace(NsSlot::In(NsKind::Mnt)) {
                let candidate = (process.root != Root::Whole, process.pid);
                readers.entry(id).and_modify(|best| *best = candidate.min(*best)).or_insert(candidate);
            }
        }
        readers.into_iter().map(|(id, (_, pid))| (id, pid)).collect()
    }

    /// The namespaces, complete.
    pub(super) fn finish(self) -> Vec<Namespace> {
        let initial = self.initial;
        let is_initial = |id: NsId| match initial.and_then(|ids| ids[id.kind as usize]) {
            None => Initial::Unknown,
            Some(first) if first == id => Initial::Yes,
            Some(_) => Initial::No,
        };
        let namespace = |mut entry: Entry| {
            entry.holders.sort();
            entry.holders.dedup();
            Namespace {
                initial: is_initial(entry.id),
                id: entry.id,
                parent: entry.parent,
                owner: entry.owner,
                owner_uid: entry.owner_uid,
                processes: entry.members,
                leader: entry.leader,
                holders: entry.holders,
            }
        };
        self.found.into_values().map(namespace).collect()
    }
}

/// The namespaces of kthreadd. It is pid 2 of the initial pid namespace, started by the kernel, and never
/// leaves where it began. Inode numbers tell nothing: they differ from kernel to kernel.
fn initial(processes: &[Process]) -> Option<[Option<NsId>; 8]> {
    let kthreadd =
        processes.iter().find(|process| process.pid == 2 && process.ppid == 0 && process.kernel_thread)?;
    let slots = kthreadd.namespaces.as_ref()?;
    Some(NsKind::ALL.map(|kind| *slots.of(kind)))
}
