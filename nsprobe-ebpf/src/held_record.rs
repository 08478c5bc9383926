//! The records of files and of file systems that hold a namespace without referring to it.

use crate::{COMM_LEN, Header};

/// The way that a file holds a namespace; the value of [`Held::how`].
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
    /// It is a Unix socket with a queued message that contains a descriptor of the namespace, or a socket in it.
    pub const IN_FLIGHT: u32 = 11;
}

/// An open file that holds one of the namespaces searched for. Every pid is that in the reader's pid namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its cause is [`crate::cause::HELD`].
    pub header: Header,
    /// The namespace's 64-bit id.
    pub id: u64,
    /// The address of the descriptor table: equal for tasks that share one. 0: the task has just lost it.
    pub table: u64,
    /// The process that has the file open.
    pub tgid: u32,
    /// The thread; the process's first, unless the thread has a table of its own.
    pub tid: u32,
    /// The descriptor.
    pub fd: u32,
    /// One of [`how`].
    pub how: u32,
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Held>() == 40);

/// Steps of one run of the program over the list of superblocks.
pub const SUPERBLOCK_STEPS: usize = 16;

/// The most mounts of a superblock that are reported.
pub const MOUNTS: usize = 16;

/// A mount of a superblock.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Mount {
    /// Its unique id, which is never reused: `mount.mnt_id_unique`.
    pub id: u64,
    /// The kernel's id of its mount namespace; 0: none.
    pub namespace_id: u64,
    /// The inode of that mount namespace.
    pub namespace_ino: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
}

/// The findings of one run, and the position of the next.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Superblocks {
    /// Its cause is [`crate::cause::SUPERBLOCKS`].
    pub header: Header,
    /// One of [`crate::outcome`]; 0 before the first run.
    pub outcome: u32,
    /// The number of valid entries in `mounts`.
    pub count: u32,
    /// The address of the superblock to continue at.
    pub at: u64,
    /// The address of its root directory, to recognise it.
    pub at_root: u64,
    /// The id of the namespace that this superblock holds, if searched for; otherwise 0.
    pub id: u64,
    /// Its device, in the kernel's encoding: 12 bits for the major number, 20 for the minor.
    pub dev: u32,
    /// 1: it has more mounts than were read.
    pub more: u32,
    /// The type of its file system, NUL-terminated.
    pub fs_type: [u8; COMM_LEN],
    /// Its mounts.
    pub mounts: [Mount; MOUNTS],
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Superblocks>() == 64 + 24 * MOUNTS);
