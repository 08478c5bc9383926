//! The record of a file that holds a namespace without standing for it.

use crate::Header;

/// In which way a file holds a namespace; the value of [`Held::how`].
pub mod how {
    /// It is a tun or tap device: a network namespace.
    pub const TUN: u32 = 1;
    /// It is a pidfd of a process that was in the namespace: a pid namespace.
    pub const PIDFD: u32 = 2;
    /// It is a file or a directory of `/proc/PID` of such a process.
    pub const PROC_FILE: u32 = 3;
    /// It is in a file system of the namespace: proc of a pid namespace, or one that was mounted in a user namespace.
    pub const FILE_SYSTEM: u32 = 4;
    /// It was opened with credentials of the namespace: a user namespace.
    pub const CREDENTIALS: u32 = 5;
    /// It is a socket whose peer had credentials of the namespace (`SO_PEERCRED`).
    pub const PEER_CREDENTIALS: u32 = 6;
    /// It is a socket whose peer was a process in the namespace (`SO_PEERPIDFD`): a pid namespace.
    pub const PEER_PROCESS: u32 = 7;
    /// Its signals go to a process or a process group of the namespace (`F_SETOWN`): a pid namespace.
    pub const SIGNALS: u32 = 8;
    /// It is a `/proc/PID/mounts`, `mountinfo` or `mountstats`: a mount namespace.
    pub const MOUNT_LIST: u32 = 9;
    /// It is a file below `/proc/PID/net`: a network namespace.
    pub const PROC_NET: u32 = 10;
}

/// An open file that holds a namespace which is sought. Every id is as the reader's pid namespace numbers it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its cause is [`crate::cause::HELD`].
    pub header: Header,
    /// The namespace's 64-bit number.
    pub id: u64,
    /// Where the kernel keeps the table that the descriptor is in: equal in tasks that share one. 0: the task has just
    /// lost it.
    pub table: u64,
    /// The process that has the file open.
    pub tgid: u32,
    /// The thread; the process's first, unless the thread has a table of its own.
    pub tid: u32,
    /// The descriptor's number.
    pub fd: u32,
    /// One of [`how`].
    pub how: u32,
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Held>() == 40);
