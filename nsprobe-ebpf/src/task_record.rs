//! The records of tasks and of their descriptors, as written by the iterators over all of them.

use crate::{COMM_LEN, Header, NamespaceInodes, PID_LEVELS, Pids, SLOTS};

/// Bits of [`Task::flags`].
pub mod task_flags {
    /// A kernel thread (`PF_KTHREAD`).
    pub const KERNEL_THREAD: u32 = 1;
    /// It represents its process: the leader of its thread group.
    pub const LEADER: u32 = 1 << 1;
    /// It no longer has a root directory: it is ending, or a zombie.
    pub const NO_ROOT: u32 = 1 << 2;
    /// Its root directory is that of its mount namespace, or the reader's. Without this bit it differs, or is too deep
    /// in mounts to know.
    pub const WHOLE_ROOT: u32 = 1 << 3;
}

/// A process, or a thread whose namespaces differ from its process's. Every pid is that in the reader's pid namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Its cause is [`crate::cause::TASK`].
    pub header: Header,
    /// Its start: nanoseconds after boot, `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// The parent's process id; 0 if it has none in the reader's pid namespace.
    pub ppid: u32,
    /// Effective user id in the initial user namespace.
    pub euid: u32,
    /// The number of threads of its process.
    pub threads: u32,
    /// [`task_flags`].
    pub flags: u32,
    /// Command name, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// Its namespaces.
    pub namespaces: NamespaceInodes,
    /// The task's pids, from the reader's pid namespace inwards. None: the task is gone.
    pub pids: Pids,
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Task>() == 56 + 4 * SLOTS + 4 + 4 * PID_LEVELS);
const _: () = assert!(size_of::<Task>().is_multiple_of(8));

/// A descriptor of a namespace, or of a socket whose network namespace differs from that of the task that has it open.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Its cause is [`crate::cause::DESCRIPTOR`].
    pub header: Header,
    /// The namespace's 64-bit id; 0 if the kernel has none (before 6.18).
    pub id: u64,
    /// That of the namespace's owner; only for a socket.
    pub owner_id: u64,
    /// The address of the descriptor table: equal for tasks that share one. 0: the task has just lost it.
    pub table: u64,
    /// The process that has it.
    pub tgid: u32,
    /// The thread; the process's first, unless the thread has a table of its own.
    pub tid: u32,
    /// The descriptor.
    pub fd: u32,
    /// The kind of the namespace, as its `CLONE_NEW*` flag; 0 for a socket.
    pub clone_flag: u32,
    /// The namespace's inode.
    pub ino: u32,
    /// The inode of the namespace's owner; only for a socket.
    pub owner_ino: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 56);
