//! The records of tasks and of their descriptors, as the iterators over all of them write them.

use crate::{COMM_LEN, Header, NamespaceInodes, PID_LEVELS, Pids, SLOTS};

/// Bits of [`Task::flags`].
pub mod task_flags {
    /// The kernel made it (`PF_KTHREAD`).
    pub const KERNEL_THREAD: u32 = 1;
    /// It stands for its process: the leader of its thread group.
    pub const LEADER: u32 = 1 << 1;
    /// It has no root directory any more: it is ending, or a zombie.
    pub const NO_ROOT: u32 = 1 << 2;
    /// Its root directory is that of its mount namespace, or the reader's. Without this bit it is another, or
    /// too deep in mounts to tell.
    pub const WHOLE_ROOT: u32 = 1 << 3;
}

/// A process, or a thread whose namespaces are not its process's. Every id is as the reader's pid namespace
/// numbers it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Its cause is [`crate::cause::TASK`].
    pub header: Header,
    /// When it started: nanoseconds after boot, `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// The parent's process id; 0 when it has none in the reader's pid namespace.
    pub ppid: u32,
    /// Effective user id, as the initial user namespace numbers it.
    pub euid: u32,
    /// How many threads its process has.
    pub threads: u32,
    /// [`task_flags`].
    pub flags: u32,
    /// Command name, ended by a NUL.
    pub comm: [u8; COMM_LEN],
    /// Its namespaces.
    pub namespaces: NamespaceInodes,
    /// The task's ids, from the reader's pid namespace on inwards. None: the task is gone.
    pub pids: Pids,
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Task>() == 56 + 4 * SLOTS + 4 + 4 * PID_LEVELS);
const _: () = assert!(size_of::<Task>().is_multiple_of(8));

/// A descriptor of a namespace, or of a socket that belongs to another network namespace than the task that has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Its cause is [`crate::cause::DESCRIPTOR`].
    pub header: Header,
    /// The namespace's 64-bit number; 0 where the kernel has none (before 6.18).
    pub id: u64,
    /// That of the namespace's owner; of a socket's only.
    pub owner_id: u64,
    /// Where the kernel keeps the table that the descriptor is in: equal in tasks that share one. 0: the task has just
    /// lost it.
    pub table: u64,
    /// The process that has it.
    pub tgid: u32,
    /// The thread; the process's first, unless the thread has a table of its own.
    pub tid: u32,
    /// The descriptor's number.
    pub fd: u32,
    /// The kind of the namespace, as its `CLONE_NEW*` flag; 0 for a socket.
    pub clone_flag: u32,
    /// The namespace's inode.
    pub ino: u32,
    /// The inode of the namespace's owner; of a socket's only.
    pub owner_ino: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 56);
