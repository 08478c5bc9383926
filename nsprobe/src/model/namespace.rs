//! A namespace and what is known of it.

use crate::model::{NsId, Pid};
use std::path::PathBuf;

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Which it is.
    pub id: NsId,
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
    /// How many processes are in it.
    pub processes: u64,
    /// Its topmost process: the earliest-started of those whose parent is not in it.
    pub leader: Option<Pid>,
    /// What keeps it alive apart from the processes in it.
    pub holders: Vec<Holder>,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The next child of process `pid` will be in it; see `pid_for_children` in namespaces(7).
    ForChildren {
        /// Whose children.
        pid: Pid,
    },
    /// A bind mount of its nsfs file, as `ip netns add` makes one.
    BindMount {
        /// The mount namespace the mount is in.
        mount_namespace: NsId,
        /// Where, as seen by a process in that mount namespace.
        path: PathBuf,
    },
    /// It is the parent or the owner of another namespace.
    Ancestor {
        /// Of which.
        of: NsId,
    },
}
