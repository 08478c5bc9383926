//! Findings about processes, from any source; this file does no I/O.

use super::records::SocketNamespace;
use crate::model::{NsId, NsSlot, Pid, Process};

/// The findings about processes, from any source.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) processes: Vec<Process>,
    /// The threads whose namespaces differ from their process's.
    pub(super) divergent: Vec<DivergentThread>,
    /// The relevant descriptors.
    pub(super) descriptors: Descriptors,
}

impl Found {
    /// Adds the findings of another source.
    pub(super) fn extend(&mut self, other: Self) {
        self.processes.extend(other.processes);
        self.divergent.extend(other.divergent);
        self.descriptors.extend(other.descriptors);
    }
}

/// A thread and those of its namespaces that differ from its process's.
#[derive(Debug)]
pub(super) struct DivergentThread {
    pub(super) pid: Pid,
    pub(super) tid: Pid,
    pub(super) namespaces: Vec<(NsSlot, NsId)>,
    /// True if the process's first thread has ended and this one represents it: its namespaces are the process's.
    pub(super) stands_for_process: bool,
}

impl DivergentThread {
    /// The thread that represents a process whose first thread has ended.
    pub(super) fn standing_for(pid: Pid, tid: Pid) -> Self {
        Self { pid, tid, namespaces: Vec::new(), stands_for_process: true }
    }
}

/// A descriptor that refers to a namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamespaceDescriptor {
    pub(super) pid: Pid,
    /// The thread that owns it, if it has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    pub(super) id: NsId,
}

/// The relevant descriptors seen so far.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// Those that refer to namespaces.
    pub(super) namespaces: Vec<NamespaceDescriptor>,
    /// Sockets whose network namespace is not yet known.
    pub(super) sockets: Vec<SocketDescriptor>,
    /// Sockets whose network namespace is known.
    pub(super) socket_netns: Vec<SocketNetns>,
}

impl Descriptors {
    /// Adds the others.
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
    /// The thread that owns the descriptor, if it has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    /// The socket's inode.
    pub(super) ino: u64,
}

/// A socket and its network namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketNetns {
    pub(super) pid: Pid,
    /// The thread that owns the descriptor, if it has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    pub(super) namespace: SocketNamespace,
}
