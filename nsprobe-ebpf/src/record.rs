//! The records in the ring buffer and the maps.

use crate::share::ROWS;
use crate::{COMM_LEN, PID_LEVELS, SLOTS};

/// The cause of an event; the value of [`Header::cause`].
pub mod cause {
    /// A task was created: clone(2), clone3(2), fork(2) or vfork(2).
    pub const CLONE: u16 = 1;
    /// unshare(2).
    pub const UNSHARE: u16 = 2;
    /// setns(2).
    pub const SETNS: u16 = 3;
    /// chroot(2).
    pub const CHROOT: u16 = 4;
    /// pivot_root(2).
    pub const PIVOT_ROOT: u16 = 5;
    /// Not an event: a task from the iterator over all tasks; the record is a [`crate::Task`].
    pub const TASK: u16 = 6;
    /// Not an event: a file from the iterator over all open files; the record is a [`crate::Descriptor`].
    pub const DESCRIPTOR: u16 = 7;
    /// Not an event: a walk over a list of namespaces; the record is a [`crate::Walk`].
    pub const WALK: u16 = 8;
    /// The kernel released the inode number of a namespace: its end. The record is a [`crate::Freed`].
    pub const FREED: u16 = 9;
    /// Not an event: an open file from the iterator that holds a namespace without referring to it; the record is a
    /// [`crate::Held`].
    pub const HELD: u16 = 10;
    /// Not an event: a walk over the kernel's list of superblocks; the record is a [`crate::Superblocks`].
    pub const SUPERBLOCKS: u16 = 11;
    /// Not an event: a walk over the kernel's table of TCP connections; the record is a [`crate::Connections`].
    pub const CONNECTIONS: u16 = 12;
}

/// The index of each namespace in [`NamespaceInodes::ino`].
pub mod slot {
    /// Control group namespace.
    pub const CGROUP: usize = 0;
    /// System V IPC and POSIX message queues.
    pub const IPC: usize = 1;
    /// Mounts.
    pub const MNT: usize = 2;
    /// Network.
    pub const NET: usize = 3;
    /// The pid namespace the task is in.
    pub const PID: usize = 4;
    /// The time namespace the task is in.
    pub const TIME: usize = 5;
    /// User.
    pub const USER: usize = 6;
    /// Host and domain name.
    pub const UTS: usize = 7;
    /// The pid namespace its next child will be in.
    pub const PID_FOR_CHILDREN: usize = 8;
    /// The time namespace its next child will be in.
    pub const TIME_FOR_CHILDREN: usize = 9;
}

/// Bits of [`Event::flags`].
pub mod event_flags {
    /// The call came through the 32-bit entry (int 0x80 or a compat process).
    pub const COMPAT: u32 = 1;
    /// The call changed the caller's root directory.
    pub const ROOT_MOVED: u32 = 1 << 1;
    /// The call changed the caller's working directory.
    pub const CWD_MOVED: u32 = 1 << 2;
    /// The call changed one of them.
    pub const MOVED: u32 = ROOT_MOVED | CWD_MOVED;
    /// The kernel never saw the call: seccomp had answered it.
    pub const DENIED: u32 = 1 << 3;
    /// With [`crate::config::CGROUP`]: the caller's control group is one of those requested, below one, or so deep that
    /// this is not known.
    pub const IN_CGROUP: u32 = 1 << 4;
    /// The kernel did not report the entry of the call: if it succeeded, the state before is unknown.
    pub const ENTRY_MISSED: u32 = 1 << 5;
    /// An argument in the caller's memory was read only at return.
    pub const READ_AT_RETURN: u32 = 1 << 6;
}

/// The index of each text in [`Event::texts`].
pub mod text {
    /// chroot: its argument. pivot_root: `new_root`. setns: the path of the mount that the descriptor was opened
    /// through, a walk.
    pub const FIRST: usize = 0;
    /// pivot_root: `put_old`.
    pub const SECOND: usize = 1;
    /// A walk from the caller's root directory at entry.
    pub const ROOT_BEFORE: usize = 2;
    /// A walk from the caller's working directory at entry.
    pub const CWD_BEFORE: usize = 3;
    /// A walk from its root directory at return.
    pub const ROOT_AFTER: usize = 4;
    /// A walk from its working directory at return.
    pub const CWD_AFTER: usize = 5;
    /// pivot_root: a walk from the directory that `new_root` was resolved to, before it became the root.
    pub const FIRST_RESOLVED: usize = 6;
    /// pivot_root: the same for `put_old`.
    pub const SECOND_RESOLVED: usize = 7;
    /// A walk from the caller's executable.
    pub const EXE: usize = 8;
    /// Its command line, as in its memory: arguments, each NUL-terminated.
    pub const COMMAND_LINE: usize = 9;
    /// The names of its control group in hierarchy version 2, leaf first, each NUL-terminated.
    pub const CGROUP: usize = 10;
    /// The same for the control group of a clone's child.
    pub const CHILD_CGROUP: usize = 11;
    /// The number of texts.
    pub const COUNT: usize = 12;
}

/// Bits of [`Text::flags`].
pub mod text_flags {
    /// It did not fit and was cut at its end, which for a walk is the front of the path.
    pub const CUT: u16 = 1;
    /// It could not be read from the caller's memory.
    pub const FAULT: u16 = 1 << 1;
    /// Not a string, but the names on a walk through directories and mounts up to the root of the mount namespace, leaf
    /// first, each NUL-terminated. None: that root itself.
    pub const WALK: u16 = 1 << 2;
    /// The walk ended in a mount that is in no mount namespace: it was unmounted while in use, has never been mounted
    /// anywhere, or is the kernel's own, like that of memfds. The last name may be that of its root.
    pub const DETACHED: u16 = 1 << 3;
    /// It has been deleted: it is no longer in a directory, or never was.
    pub const DELETED: u16 = 1 << 4;
    /// The walk ended at a dentry that is its own parent and not the root of its mount: no path leads there.
    pub const UNREACHABLE: u16 = 1 << 5;
}

/// A piece of the text that follows an event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Its start: bytes after the event.
    pub at: u16,
    /// Its length. All zero, including flags, if there is none.
    pub len: u16,
    /// [`text_flags`].
    pub flags: u16,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u16,
}

/// The start of every record, so that a reader can identify it and skip what it does not know.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Bytes of the whole record, this header included.
    pub size: u32,
    /// [`crate::RECORD_VERSION`] of the writer.
    pub version: u16,
    /// One of [`cause`].
    pub cause: u16,
}

impl Header {
    /// Returns that of a `T`, which is the whole record.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "three constants")]
    #[expect(clippy::cast_possible_truncation, reason = "no record is that long")]
    pub const fn of<T>(cause: u16) -> Self {
        Self { size: size_of::<T>() as u32, version: crate::RECORD_VERSION, cause }
    }
}

/// Inode numbers of a task's namespaces, by [`slot`]; 0 if the kernel has none or it was not readable.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NamespaceInodes {
    /// `ns_common.inum` of each.
    pub ino: [u32; SLOTS],
}

/// The ids of a task's namespaces, unique since boot (`ns_common.ns_id`, Linux 6.18), by [`slot`]; 0 if the kernel
/// provides none or it was not readable.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NamespaceIds {
    /// `ns_common.ns_id` of each.
    pub id: [u64; SLOTS],
}

/// The ids of one process or thread, one for each pid namespace it is visible in, outermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pids {
    /// The number of valid entries in `nr`: the depth of the innermost pid namespace, plus one.
    pub count: u32,
    /// The ids.
    pub nr: [u32; PID_LEVELS],
}

/// The task that a clone created.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// Its process id in the initial pid namespace.
    pub tgid: u32,
    /// Its thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of its parent in the initial pid namespace.
    pub ppid: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
    /// Its thread ids in every pid namespace it is in.
    pub pids: Pids,
}

/// The target of the descriptor given to setns(2): a namespace, or a process.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The id of the namespace, unique since boot (`ns_common.ns_id`, Linux 6.18); 0 if there is none.
    pub id: u64,
    /// Inode of the namespace; 0 if the descriptor does not refer to a namespace.
    pub ino: u32,
    /// Its kind as a `CLONE_NEW*` flag; 0 if unknown.
    pub clone_flag: u32,
    /// The process's id in the initial pid namespace; 0 if the descriptor does not refer to a process.
    pub tgid: u32,
    /// The id of the thread that the descriptor refers to, likewise.
    pub tid: u32,
    /// That thread's command name, NUL-terminated. Empty, and no namespaces: it is gone.
    pub comm: [u8; COMM_LEN],
    /// The namespaces of that thread.
    pub namespaces: NamespaceInodes,
}

/// One operation: begun when the call was entered, completed when it returned. Bytes of text follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The header.
    pub header: Header,
    /// `CLOCK_BOOTTIME` when the call returned (for a clone: when the child was created), in nanoseconds.
    pub time_ns: u64,
    /// Time from entry to return, in nanoseconds; 0 if there is no entry to measure from.
    pub duration_ns: u64,
    /// The result of the call: 0 or more, or minus errno. For a successful clone the child's tid in the initial pid
    /// namespace.
    pub result: i64,
    /// The flags of clone and unshare; descriptor and kind (`nstype`) of setns; for chroot and pivot_root the addresses
    /// of their paths in the caller's memory.
    pub args: [u64; 2],
    /// The start of the process: nanoseconds after boot, `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// Its effective capabilities at entry, relative to its user namespace then.
    pub cap_effective: u64,
    /// The id of its control group in hierarchy version 2 (the inode in cgroupfs), at return.
    pub cgroup_id: u64,
    /// The same for a clone's child, which may start in a different one.
    pub child_cgroup_id: u64,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of its parent in the initial pid namespace.
    pub ppid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Real group id, likewise.
    pub gid: u32,
    /// Effective user id, likewise.
    pub euid: u32,
    /// [`event_flags`].
    pub flags: u32,
    /// The number of bytes of text that follow; less than [`crate::TEXT_LEN`], and the record is padded to a multiple
    /// of 8.
    pub text_len: u32,
    /// The target of setns.
    pub target: Target,
    /// Command name, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// The process's ids (its thread group leader's) in every pid namespace it is in.
    pub pids: Pids,
    /// Namespaces at entry (for a clone: the parent's).
    pub before: NamespaceInodes,
    /// Namespaces at return (for a clone: the child's).
    pub after: NamespaceInodes,
    /// The task that a clone created; all zero for other causes and for a clone that failed.
    pub child: Child,
    /// The ids of the namespaces at entry.
    pub before_ids: NamespaceIds,
    /// The ids of the namespaces at return.
    pub after_ids: NamespaceIds,
    /// The pieces of the text, by [`text`].
    pub texts: [Text; text::COUNT],
    /// The slots to which its space in the buffer is charged, by row ([`crate::share::index`]); zero if it was sent
    /// while the buffer was less than half full.
    pub shares: [u16; ROWS],
}

/// The end of a namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Freed {
    /// Its cause is [`cause::FREED`].
    pub header: Header,
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    pub time_ns: u64,
    /// Its former id, unique since boot (Linux 6.18); 0 if it had none.
    pub id: u64,
    /// Its former inode.
    pub ino: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
}

/// A namespace whose end is reported: an entry of [`crate::map::NAMESPACES`], whose key is the inode.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its id, unique since boot (Linux 6.18); 0 if it has none.
    pub id: u64,
    /// The return time of the call that created it: `CLOCK_BOOTTIME` in nanoseconds, as in the event; 0 if it was
    /// joined.
    pub made_ns: u64,
    /// The slots to which its space in the table is charged, as in [`Event::shares`]; zero if it is not charged.
    pub shares: [u16; ROWS],
    /// Its kind, by a [`slot`].
    pub slot: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Event>() == 744 + 8 * text::COUNT && size_of::<Event>().is_multiple_of(8));
