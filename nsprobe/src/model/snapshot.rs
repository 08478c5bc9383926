//! Snapshots: the namespaces and processes of a machine.

use crate::model::{Gap, Mark, Namespace, NsId, NsKey, NsKind, Pid, Process};

/// The namespaces and processes of a machine, as far as they were visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every namespace found, ordered by kind, then inode.
    pub namespaces: Vec<Namespace>,
    /// Every process found, ordered by pid.
    pub processes: Vec<Process>,
    /// The data that was not visible.
    pub gaps: Vec<Gap>,
    /// The source of the processes and threads.
    pub processes_from: ProcessSource,
}

/// The source of a snapshot's processes and threads. All give the same data; they differ in cost and in what they may
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessSource {
    /// The files of `/proc`.
    #[default]
    Proc,
    /// The kernel's own tasks, by a BPF iterator (Linux 5.8).
    Bpf,
}

impl ProcessSource {
    /// Both sources.
    pub const ALL: [Self; 2] = [Self::Proc, Self::Bpf];

    /// Its name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proc => "proc",
            Self::Bpf => "bpf",
        }
    }
}

impl Snapshot {
    /// The namespace with this id.
    #[must_use]
    pub fn namespace(&self, id: NsId) -> Option<&Namespace> {
        self.namespaces
            .binary_search_by_key(&(id.kind, id.ino), |ns| (ns.id.kind, ns.id.ino))
            .ok()
            .map(|i| &self.namespaces[i])
    }

    /// The key of a namespace of this snapshot.
    ///
    /// Before 6.18 only mount namespaces have ids (6.11), which a trace does not see: they are not used as marks.
    #[must_use]
    pub fn key(&self, namespace: &Namespace) -> NsKey {
        let known = namespace.kernel_id.filter(|_| namespace.id.kind != NsKind::Mnt || self.kernel_has_ids());
        NsKey { id: namespace.id, mark: known.map_or(Mark::Unknown, Mark::Id) }
    }

    /// True if namespaces of other kinds than mnt have ids. Called for each mount namespace, so it reads only the first
    /// and the last of every kind.
    fn kernel_has_ids(&self) -> bool {
        let of_kind = |kind| {
            let first = self.namespaces.partition_point(|ns| ns.id.kind < kind);
            let end = self.namespaces.partition_point(|ns| ns.id.kind <= kind);
            self.namespaces[first..end].first().into_iter().chain(self.namespaces[first..end].last())
        };
        let others = NsKind::ALL.into_iter().filter(|&kind| kind != NsKind::Mnt);
        others.flat_map(of_kind).any(|ns| ns.kernel_id.is_some())
    }

    /// The process with this pid.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.binary_search_by_key(&pid, |process| process.pid).ok().map(|i| &self.processes[i])
    }

    /// The initial namespace of a kind, if known.
    #[must_use]
    pub fn initial(&self, kind: NsKind) -> Option<&Namespace> {
        use crate::model::Initial;
        self.namespaces.iter().find(|ns| ns.id.kind == kind && ns.initial == Initial::Yes)
    }
}
