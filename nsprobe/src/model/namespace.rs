//! A namespace and its properties.

use crate::model::{NsId, Pid, Text};
use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its identity.
    pub id: NsId,
    /// The kernel's own id for it, unique between two boots: `NS_GET_ID`, Linux 6.18; for a mount namespace also
    /// `NS_GET_MNTNS_ID`, Linux 6.11. `None` on an older kernel, and for a namespace that could not be opened.
    pub kernel_id: Option<u64>,
    /// The time since which the inode of its nsfs file has been in the kernel's memory, by the wall clock; read only
    /// without a `kernel_id`. A mount or a descriptor keeps it there. If the inode existed before one snapshot and
    /// still exists in another, it is the same namespace.
    pub file_since: Option<SystemTime>,
    /// Its status as the initial namespace of its kind.
    pub initial: Initial,
    /// The namespace in which it is nested (pid and user namespaces only); `None` at the top and if the parent is not
    /// visible to the reader. `NS_GET_PARENT`, ioctl_nsfs(2), Linux 4.9.
    pub parent: Option<NsId>,
    /// The user namespace that owns it; for a user namespace, its parent. `NS_GET_USERNS`, ioctl_nsfs(2), Linux 4.9.
    pub owner: Option<NsId>,
    /// User namespaces only: the uid of its creator. `NS_GET_OWNER_UID`, ioctl_nsfs(2), Linux 4.11.
    pub owner_uid: Option<u32>,
    /// Network namespaces only: its id in the reader's own network namespace. `RTM_GETNSID`, rtnetlink(7), Linux 4.0.
    /// `None` if the query was not possible.
    pub netnsid: Option<NetnsId>,
    /// The number of processes seen in it.
    pub processes: u64,
    /// True if these are all: no process that may be in it was hidden.
    pub all_seen: bool,
    /// Its leader: the earliest-started of the processes seen whose parent is not in it.
    pub leader: Option<Pid>,
    /// The path of one of its mounts by which nsprobe reached it: of a mount in nsprobe's own mount namespace, or below
    /// `/proc/PID/root`. `None` without such a mount, and if following the path would query a file system's server.
    pub mount_path: Option<Text>,
    /// The holders that keep it alive besides its member processes; sorted, without duplicates.
    pub holders: Vec<Holder>,
    /// The number of further holders, of processes and mount namespaces that have too many to list.
    pub holders_omitted: u64,
    /// The kernel tables searched for holders because none was known.
    pub searched: Searched,
    /// The sources that found it; sorted, without duplicates, never empty.
    pub sources: Vec<Source>,
}

impl Namespace {
    /// A namespace with only its identity known.
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

    /// The number of member processes; `None` if not all were seen.
    #[must_use]
    pub const fn nprocs(&self) -> Option<u64> {
        if self.all_seen { Some(self.processes) } else { None }
    }

    /// True if no process is in it; `None` if unknown.
    #[must_use]
    pub const fn is_orphan(&self) -> Option<bool> {
        match (self.processes, self.all_seen) {
            (0, true) => Some(true),
            (0, false) => None,
            (1.., _) => Some(false),
        }
    }
}

/// A source of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A process is in it: `/proc/PID/ns/`.
    Processes,
    /// A thread is in it, but its process is not: `/proc/PID/task/TID/ns/`.
    Threads,
    /// It is the namespace for the children of a process or thread that is not in it.
    ForChildren,
    /// A descriptor refers to it: `/proc/PID/fd/`.
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

/// The id of a network namespace in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetnsId {
    /// This id.
    Assigned(u32),
    /// No id assigned.
    Unassigned,
}

/// The form of lsns(8).
impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assigned(id) => write!(f, "{id}"),
            Self::Unassigned => f.write_str("unassigned"),
        }
    }
}

/// The status of a namespace as the initial one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// Yes: a kernel thread that cannot have left it is in it.
    Yes,
    /// No.
    No,
    /// No process that is certain to be in the initial namespaces was readable.
    Unknown,
}

/// An object, other than a member process, that keeps a namespace alive.
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
        /// The parent process.
        pid: Pid,
        /// The parent thread, if not the process's first.
        tid: Option<Pid>,
    },
    /// An open descriptor of its nsfs file.
    Descriptor {
        /// The process.
        pid: Pid,
        /// The thread, if it has its own descriptor table (`CLONE_FILES`, unshare(2)).
        tid: Option<Pid>,
        /// The descriptor.
        fd: u32,
    },
    /// An open socket that belongs to it.
    Socket {
        /// The process.
        pid: Pid,
        /// The thread, if it has its own descriptor table.
        tid: Option<Pid>,
        /// The descriptor.
        fd: u32,
    },
    /// A bind mount of its nsfs file, as `ip netns add` makes one.
    BindMount {
        /// The mount namespace the mount is in.
        mount_namespace: NsId,
        /// The path, as seen in that mount namespace.
        path: Text,
        /// True if that is nsprobe's own mount namespace.
        here: bool,
    },
    /// An open file that holds it without referring to it, and without being a socket that belongs to it.
    File {
        /// The way it holds the namespace.
        by: HeldBy,
        /// The process.
        pid: Pid,
        /// The thread, if it has its own descriptor table.
        tid: Option<Pid>,
        /// The descriptor.
        fd: u32,
    },
    /// A mount of a file system that holds it: the proc of a pid namespace, or one mounted in a user namespace.
    Mount {
        /// The type of the file system.
        fs_type: Text,
        /// The mount namespace the mount is in.
        mount_namespace: NsId,
        /// The path, as seen in that mount namespace; `None` if unreadable.
        path: Option<Text>,
        /// True if that is nsprobe's own mount namespace.
        here: bool,
    },
    /// Such a file system without a mount point: it was unmounted while in use, or never attached. A descriptor, a
    /// working directory or a root directory holds it.
    DetachedMount {
        /// The type of the file system.
        fs_type: Text,
        /// Its device, major and minor: as stat(2) gives it for a file there.
        dev: (u32, u32),
    },
    /// A TCP connection that belongs to it, but no longer to a process: it waits for the answer to its FIN.
    Connection {
        /// The local address and port.
        local: SocketAddr,
        /// The remote address and port.
        remote: SocketAddr,
        /// The state.
        state: TcpState,
    },
    /// Another namespace, whose parent or owner it is.
    Ancestor {
        /// The other namespace.
        of: NsId,
    },
}

/// The state of a TCP connection without a process, RFC 9293.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// FIN sent, not acknowledged.
    FinWait1,
    /// FIN acknowledged, the other's not received.
    FinWait2,
    /// Both FINs sent, its own not acknowledged.
    Closing,
    /// The other's FIN came first; its own is not acknowledged.
    LastAck,
    /// Another state.
    Other,
}

impl TcpState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::FinWait1, Self::FinWait2, Self::Closing, Self::LastAck, Self::Other];

    /// The state's name, as in netstat(8); `?` for other states.
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

/// The way in which an open file holds a namespace that it does not refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldBy {
    /// A tun or tap device: a network namespace.
    Tun,
    /// A pidfd of a process that was in the namespace: a pid namespace.
    Pidfd,
    /// A file or directory of `/proc/PID` of a process that was in the namespace: a pid namespace.
    ProcFile,
    /// A file in a file system of the namespace: the proc of a pid namespace, or one mounted in a user namespace.
    FileSystem,
    /// A file opened with credentials of the namespace: a user namespace.
    Credentials,
    /// A socket whose peer had credentials of the namespace (`SO_PEERCRED`, socket(7)): a user namespace.
    PeerCredentials,
    /// A socket whose peer was a process in the namespace (`SO_PEERPIDFD`): a pid namespace.
    PeerProcess,
    /// A file whose signals go to a process or process group of the namespace (`F_SETOWN`, fcntl(2)): a pid namespace.
    Signals,
    /// A list of the mounts of the namespace, such as `/proc/PID/mounts`: a mount namespace.
    MountList,
    /// A file below `/proc/PID/net`: a network namespace.
    ProcNet,
    /// A Unix socket with a message in flight that carries a descriptor of the namespace, or a socket that belongs to
    /// it (`SCM_RIGHTS`, unix(7)).
    InFlight,
}

impl HeldBy {
    /// All of them.
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

    /// The file in words, to be followed by the descriptor.
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

/// The kernel tables that were searched for holders of a namespace without a known holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// The open files of all processes.
    pub files: bool,
    /// All file systems, with their mounts.
    pub file_systems: bool,
}
