//! What is found of processes, from whatever source; nothing here looks.

use super::records::SocketNamespace;
use crate::model::{NsId, NsSlot, Pid, Process};

/// What is read of processes, from wherever that is.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) processes: Vec<Process>,
    /// The threads that are elsewhere than their process.
    pub(super) divergent: Vec<DivergentThread>,
    /// The descriptors of interest.
    pub(super) descriptors: Descriptors,
}

impl Found {
    /// Adds what was found elsewhere.
    pub(super) fn extend(&mut self, other: Self) {
        self.processes.extend(other.processes);
        self.divergent.extend(other.divergent);
        self.descriptors.extend(other.descriptors);
    }
}

/// A thread and those of its namespaces that are not its process's.
#[derive(Debug)]
pub(super) struct DivergentThread {
    pub(super) pid: Pid,
    pub(super) tid: Pid,
    pub(super) namespaces: Vec<(NsSlot, NsId)>,
    /// The process's first thread has ended, and this one stands for it: the process is where it is.
    pub(super) stands_for_process: bool,
}

impl DivergentThread {
    /// The thread that stands for a process whose first thread has ended.
    pub(super) fn standing_for(pid: Pid, tid: Pid) -> Self {
        Self { pid, tid, namespaces: Vec::new(), stands_for_process: true }
    }
}

/// A descriptor of a namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamespaceDescriptor {
    pub(super) pid: Pid,
    /// The thread whose it is, where that has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    pub(super) id: NsId,
}

/// The descriptors of interest seen so far.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// Those of namespaces.
    pub(super) namespaces: Vec<NamespaceDescriptor>,
    /// Those of sockets, of which nothing is known yet.
    pub(super) sockets: Vec<SocketDescriptor>,
    /// Those of sockets whose network namespace is known.
    pub(super) socket_netns: Vec<SocketNetns>,
}

impl Descriptors {
    /// Adds others.
    pub(super) fn extend(&mut self, others: Self) {
        self.namespaces.extend(others.namespaces);
        self.sockets.extend(others.sockets);
        self.socket_netns.extend(others.socket_netns);
    }
}

/// A descriptor of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketDescriptor {
    pub(super) pid: Pid,
    /// The thread whose descriptor it is, where that has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    /// The socket's inode.
    pub(super) ino: u64,
}

/// A socket, and the network namespace that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketNetns {
    pub(super) pid: Pid,
    /// The thread whose descriptor it is, where that has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    pub(super) namespace: SocketNamespace,
}
