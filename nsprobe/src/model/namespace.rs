//! A namespace and what is known of it.

use crate::model::{NsId, Pid, Text};
use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Which it is.
    pub id: NsId,
    /// The kernel's own number for it, never given twice between two boots: `NS_GET_ID`, Linux 6.18; of a
    /// mount namespace also `NS_GET_MNTNS_ID`, Linux 6.11. `None` on an older kernel, and for a namespace
    /// that could not be opened.
    pub kernel_id: Option<u64>,
    /// Since when the kernel has had the inode of its nsfs file in memory, by the wall clock; asked only where
    /// there is no `kernel_id`. A mount or a descriptor keeps it there. An inode that was there before one
    /// look and is there at another stands for the same namespace.
    pub file_since: Option<SystemTime>,
    /// Whether it is the one the machine booted with.
    pub initial: Initial,
    /// The namespace it is nested in (pid and user namespaces only); `None` at the top and where the
    /// parent is out of the reader's sight. `NS_GET_PARENT`, ioctl_nsfs(2), Linux 4.9.
    pub parent: Option<NsId>,
    /// The user namespace that owns it; of a user namespace, its parent. `NS_GET_USERNS`, ioctl_nsfs(2),
    /// Linux 4.9.
    pub owner: Option<NsId>,
    /// User namespaces only: the user who made it. `NS_GET_OWNER_UID`, ioctl_nsfs(2), Linux 4.11.
    pub owner_uid: Option<u32>,
    /// Network namespaces only: the number by which the reader's own network namespace knows it.
    /// `RTM_GETNSID`, rtnetlink(7), Linux 4.0. `None` when it could not be asked.
    pub netnsid: Option<NetnsId>,
    /// How many processes in it were seen.
    pub processes: u64,
    /// Whether these are all: no process that may be in it was out of sight.
    pub all_seen: bool,
    /// Its topmost process: the earliest-started of those seen whose parent is not in it.
    pub leader: Option<Pid>,
    /// A path to one of its mounts, by which nsprobe came to it from where it was: that of a mount in its own mount
    /// namespace, or one below `/proc/PID/root`. `None` where there is no such mount, and where the path could not be
    /// followed without asking a file system's server.
    pub mount_path: Option<Text>,
    /// What keeps it alive apart from the processes in it; sorted, each once.
    pub holders: Vec<Holder>,
    /// How many more there are, of processes and mount namespaces that have too many to be told one by one.
    pub holders_omitted: u64,
    /// Where else holders were searched for, because none was known.
    pub searched: Searched,
    /// What led to it; sorted, each once, never empty.
    pub sources: Vec<Source>,
}

impl Namespace {
    /// A namespace of which nothing but its identity is known.
    #[must_use]
    pub const fn new(id: NsId) -> Self {
        Self {
            id,
            kernel_id: None,
            file_since: None,
            initial: Initial::Unknown,
            parent: None,
            owner: None,
            owner_uid: None,
            netnsid: None,
            processes: 0,
            all_seen: true,
            leader: None,
            mount_path: None,
            holders: Vec::new(),
            holders_omitted: 0,
            searched: Searched { files: false, file_systems: false },
            sources: Vec::new(),
        }
    }

    /// How many processes are in it; `None` where not all were seen.
    #[must_use]
    pub const fn nprocs(&self) -> Option<u64> {
        if self.all_seen { Some(self.processes) } else { None }
    }

    /// Whether no process is in it; `None` where that is not known.
    #[must_use]
    pub const fn is_orphan(&self) -> Option<bool> {
        match (self.processes, self.all_seen) {
            (0, true) => Some(true),
            (0, false) => None,
            (1.., _) => Some(false),
        }
    }
}

/// Where a namespace can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A process is in it: `/proc/PID/ns/`.
    Processes,
    /// A thread is in it, and its process is not: `/proc/PID/task/TID/ns/`.
    Threads,
    /// It is the one for the children of a process or thread that is not in it itself.
    ForChildren,
    /// A descriptor stands for it: `/proc/PID/fd/`.
    Descriptors,
    /// A socket belongs to it.
    Sockets,
    /// Its file is mounted somewhere.
    BindMounts,
    /// It is the parent or the owner of another: ioctl_nsfs(2).
    Relations,
    /// A file system holds it: the kernel's superblocks (BPF, Linux 6.18).
    FileSystems,
    /// The kernel lists it: `NS_MNT_GET_NEXT` (mount namespaces, Linux 6.12), BPF (all, Linux 6.18),
    /// listns(2) (all, Linux 6.19).
    KernelLists,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 9] = [
        Self::Processes,
        Self::Threads,
        Self::ForChildren,
        Self::Descriptors,
        Self::Sockets,
        Self::BindMounts,
        Self::Relations,
        Self::FileSystems,
        Self::KernelLists,
    ];

    /// The source's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::ForChildren => "for_children",
            Self::Descriptors => "descriptors",
            Self::Sockets => "sockets",
            Self::BindMounts => "bind_mounts",
            Self::Relations => "relations",
            Self::FileSystems => "file_systems",
            Self::KernelLists => "kernel_lists",
        }
    }
}

/// What one network namespace calls another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetnsId {
    /// This number.
    Assigned(u32),
    /// Nothing: it has given it no number.
    Unassigned,
}

/// As lsns(8) has it.
impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assigned(id) => write!(f, "{id}"),
            Self::Unassigned => f.write_str("unassigned"),
        }
    }
}

/// Whether a namespace is the one the machine booted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// It is: a kernel thread that cannot have left it is in it.
    Yes,
    /// It is not.
    No,
    /// No process that is certain to be in the initial namespaces was readable.
    Unknown,
}

/// What keeps a namespace alive without being a process in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A thread that is in it while its process is not: setns(2) and unshare(2) act on one thread.
    Thread {
        /// The thread's process.
        pid: Pid,
        /// The thread.
        tid: Pid,
    },
    /// The next child of process `pid` will be in it; see `pid_for_children` in namespaces(7).
    ForChildren {
        /// Whose children.
        pid: Pid,
        /// The thread whose children they will be, when it is not the process's first.
        tid: Option<Pid>,
    },
    /// An open descriptor of its nsfs file.
    Descriptor {
        /// Whose.
        pid: Pid,
        /// The thread whose it is, where that has a descriptor table of its own (`CLONE_FILES`, unshare(2)).
        tid: Option<Pid>,
        /// Its number.
        fd: u32,
    },
    /// An open socket that belongs to it.
    Socket {
        /// Whose.
        pid: Pid,
        /// The thread whose it is, where that has a descriptor table of its own.
        tid: Option<Pid>,
        /// Its number.
        fd: u32,
    },
    /// A bind mount of its nsfs file, as `ip netns add` makes one.
    BindMount {
        /// The mount namespace the mount is in.
        mount_namespace: NsId,
        /// Where, as seen by a process in that mount namespace.
        path: Text,
        /// Whether that is the mount namespace nsprobe was in.
        here: bool,
    },
    /// An open file that holds it without standing for it, or belonging to it as a socket does.
    File {
        /// In which way.
        by: HeldBy,
        /// Whose.
        pid: Pid,
        /// The thread whose it is, where that has a descriptor table of its own.
        tid: Option<Pid>,
        /// Its number.
        fd: u32,
    },
    /// A mount of a file system that holds it: of a proc of a pid namespace, or of what was mounted in a user namespace.
    Mount {
        /// The type of the file system.
        fs_type: Text,
        /// The mount namespace the mount is in.
        mount_namespace: NsId,
        /// Where, as seen by a process in that mount namespace; `None` where that could not be read.
        path: Option<Text>,
        /// Whether that is the mount namespace nsprobe was in.
        here: bool,
    },
    /// Such a file system that is mounted nowhere: a mount that was taken away while in use, or was never put anywhere.
    /// A descriptor, a working directory or a root directory keeps it.
    DetachedMount {
        /// The type of the file system.
        fs_type: Text,
        /// Its device, major and minor number: what stat(2) gives for a file there.
        dev: (u32, u32),
    },
    /// A TCP connection that belongs to it, and that no process has any more: it waits for an answer to its end.
    Connection {
        /// Its own address and port.
        local: SocketAddr,
        /// The other's.
        remote: SocketAddr,
        /// Its state.
        state: TcpState,
    },
    /// It is the parent or the owner of another namespace.
    Ancestor {
        /// Of which.
        of: NsId,
    },
}

/// The state of a TCP connection that no process has any more, RFC 9293.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Its end has been sent, and not been confirmed.
    FinWait1,
    /// Its end has been confirmed, the other's has not come.
    FinWait2,
    /// Both ends have been sent, its own has not been confirmed.
    Closing,
    /// The other's end came first, its own has not been confirmed.
    LastAck,
    /// One of the others.
    Other,
}

impl TcpState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::FinWait1, Self::FinWait2, Self::Closing, Self::LastAck, Self::Other];

    /// The state's name, as netstat(8) has it; `?` for the others.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::Other => "?",
        }
    }
}

/// In which way an open file holds a namespace that it does not stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldBy {
    /// It is a tun or tap device: a network namespace.
    Tun,
    /// It is a pidfd of a process that was in the namespace: a pid namespace.
    Pidfd,
    /// It is a file or a directory of `/proc/PID` of a process that was in the namespace: a pid namespace.
    ProcFile,
    /// It is in a file system of the namespace: in a proc of a pid namespace, or in one mounted in a user namespace.
    FileSystem,
    /// It was opened with credentials of the namespace: a user namespace.
    Credentials,
    /// It is a socket whose peer had credentials of the namespace (`SO_PEERCRED`, socket(7)): a user namespace.
    PeerCredentials,
    /// It is a socket whose peer was a process in the namespace (`SO_PEERPIDFD`): a pid namespace.
    PeerProcess,
    /// Its signals go to a process or process group of the namespace (`F_SETOWN`, fcntl(2)): a pid namespace.
    Signals,
    /// It is a list of the mounts of the namespace, `/proc/PID/mounts` say: a mount namespace.
    MountList,
    /// It is a file below `/proc/PID/net`: a network namespace.
    ProcNet,
    /// It is a Unix socket with a message in which a descriptor of the namespace waits, or a socket that belongs to it
    /// (`SCM_RIGHTS`, unix(7)).
    InFlight,
}

impl HeldBy {
    /// All ways.
    pub const ALL: [Self; 11] = [
        Self::Tun,
        Self::Pidfd,
        Self::ProcFile,
        Self::FileSystem,
        Self::Credentials,
        Self::PeerCredentials,
        Self::PeerProcess,
        Self::Signals,
        Self::MountList,
        Self::ProcNet,
        Self::InFlight,
    ];

    /// The holder's `type` in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Pidfd => "pidfd",
            Self::ProcFile => "proc_file",
            Self::FileSystem => "file_system",
            Self::Credentials => "credentials",
            Self::PeerCredentials => "peer_credentials",
            Self::PeerProcess => "peer_process",
            Self::Signals => "signals",
            Self::MountList => "mount_list",
            Self::ProcNet => "proc_net",
            Self::InFlight => "in_flight",
        }
    }

    /// What the file is, in words that the descriptor's number can follow.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Tun => "tun device",
            Self::Pidfd => "pidfd",
            Self::ProcFile => "file of a /proc/PID",
            Self::FileSystem => "file in its file system",
            Self::Credentials => "file opened in it",
            Self::PeerCredentials => "socket with a peer in it",
            Self::PeerProcess => "socket with a peer process in it",
            Self::Signals => "file with an owner in it",
            Self::MountList => "list of mounts",
            Self::ProcNet => "file of a /proc/PID/net",
            Self::InFlight => "descriptor in flight to socket",
        }
    }
}

/// Which of the kernel's own tables were searched for holders of a namespace without any known holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// The open files of all processes.
    pub files: bool,
    /// All file systems, with their mounts.
    pub file_systems: bool,
}
