//! Everything that was found at one moment.

use crate::model::{Gap, Namespace, NsId, NsKind, Pid, Process};

/// The namespaces and processes of a machine, as far as they were visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every namespace found, ordered by kind, then inode.
    pub namespaces: Vec<Namespace>,
    /// Every process found, ordered by pid.
    pub processes: Vec<Process>,
    /// What was not visible.
    pub gaps: Vec<Gap>,
    /// Where the processes and threads come from.
    pub processes_from: ProcessSource,
}

/// Where a snapshot has its processes and threads from. Both give the same; they differ in what they cost and in
/// what they may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessSource {
    /// The files of `/proc`.
    #[default]
    Proc,
    /// The kernel's own tasks, by a BPF iterator (Linux 5.8).
    Bpf,
}

impl ProcessSource {
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
    /// The namespace with this identity.
    #[must_use]
    pub fn namespace(&self, id: NsId) -> Option<&Namespace> {
        self.namespaces
            .binary_search_by_key(&(id.kind, id.ino), |ns| (ns.id.kind, ns.id.ino))
            .ok()
            .map(|i| &self.namespaces[i])
    }

    /// The process with this id.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.binary_search_by_key(&pid, |process| process.pid).ok().map(|i| &self.processes[i])
    }

    /// The initial namespace of a kind, when it is known which one that is.
    #[must_use]
    pub fn initial(&self, kind: NsKind) -> Option<&Namespace> {
        use crate::model::Initial;
        self.namespaces.iter().find(|ns| ns.id.kind == kind && ns.initial == Initial::Yes)
    }
}
