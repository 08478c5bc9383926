//! The events that `trace` reports.

use super::flags::{clone_flag_names, namespace_flag_names, unshare_flag_names};
use crate::model::{Arguments, NsId, NsSlot, Pid, SlotMarks, Slots, Text};
use std::time::Duration;

/// A call that created, joined or left a namespace or changed a root directory, or tried to; or a change whose call is
/// unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The time of return, or when the change was noticed: `CLOCK_BOOTTIME`.
    pub since_boot: Duration,
    /// The duration of the call; `None` for a clone, which is reported when the child is created, for a `denied` call,
    /// and where no call is seen.
    pub duration: Option<Duration>,
    /// The caller.
    pub process: Caller,
    /// The call with its arguments.
    pub operation: Operation,
    /// True if the call came through the 32-bit entry: int 0x80, or a 32-bit process; `None` if unknown.
    pub compat: Option<bool>,
    /// The result.
    pub outcome: Outcome,
    /// The time at which the probe read the objects its arguments refer to, if other tasks can change them before the
    /// kernel reads them; `None` if it read the kernel's own copy, or if unknown.
    pub seen: Option<Seen>,
    /// True if a seccomp filter of the process answered before the kernel saw the call. See seccomp(2).
    pub denied: bool,
    /// The namespaces at entry; for a clone, the parent's.
    pub before: Slots<Option<NsId>>,
    /// The namespaces at return; for a clone, the child's.
    pub after: Slots<Option<NsId>>,
    /// Marks that distinguish those namespaces from others that had the same inodes; `None` without ids in the kernel
    /// (before 6.18) and without a namespace tracker.
    pub marks: Option<Box<SlotMarks>>,
    /// The caller's root directory, if the call may move it.
    pub root: Option<Directory>,
    /// The caller's working directory, likewise.
    pub cwd: Option<Directory>,
}

impl Event {
    /// The slots whose namespace is known before and after, and differs.
    pub fn changed_slots(&self) -> impl Iterator<Item = (NsSlot, NsId, NsId)> + '_ {
        self.before.iter().filter_map(|(slot, before)| {
            let (before, after) = ((*before)?, (*self.after.get(slot))?);
            (before != after).then_some((slot, before, after))
        })
    }

    /// The system call ABI, as in every output; `None` if unknown.
    #[must_use]
    pub const fn abi(&self) -> Option<&'static str> {
        match self.compat {
            // The probe recognizes 32-bit calls of x86 only.
            Some(true) => Some("i386"),
            Some(false) => Some(std::env::consts::ARCH),
            None => None,
        }
    }

    /// True if setns joined a namespace other than the one its descriptor referred to at entry.
    #[must_use]
    pub fn joined_other_namespace(&self) -> bool {
        let Outcome::Success(_) = self.outcome else { return false };
        let is_in = |id: &NsId| self.after.iter().any(|(_, after)| after == &Some(*id));
        let is_known = |id: &NsId| {
            self.after.iter().filter(|(slot, _)| slot.kind() == id.kind).all(|(_, after)| after.is_some())
        };
        match &self.operation {
            Operation::Setns { target: Some(SetnsTarget::Namespace { id, .. }), .. } => !is_in(id),
            Operation::Setns { target: Some(SetnsTarget::Process { namespaces, .. }), .. } => {
                namespaces.iter().any(|id| is_known(id) && !is_in(id))
            }
            _ => false,
        }
    }

    /// True if chroot led to a directory that its path, as read at entry, does not name: the path was rewritten before
    /// the kernel read it, or it contains a symbolic link.
    #[must_use]
    pub fn chroot_path_differs(&self) -> bool {
        let (Operation::Chroot { path: PathText::Whole(path) }, Some(Seen::Entry), Outcome::Success(_)) =
            (&self.operation, self.seen, &self.outcome)
        else {
            return false;
        };
        let (Some(root), Some(cwd)) = (&self.root, &self.cwd) else { return false };
        let is_absolute = path.as_bytes().starts_with(b"/");
        let from = if is_absolute { &root.before } else { &cwd.before };
        let is_plain = |path: &ResolvedPath| !(path.cut || path.deleted || path.unreachable || path.detached);
        if !is_plain(from) || !is_plain(&root.after) {
            return false;
        }
        // The meaning of `..` depends on links, and on the root.
        let [from, path, after] = [&from.path, path, &root.after.path].map(names);
        !path.contains(&&b".."[..]) && !from.iter().chain(&path).eq(&after)
    }

    /// The slots of which only one namespace is known, that before or that after the call.
    pub fn unsure_slots(&self) -> impl Iterator<Item = NsSlot> + '_ {
        NsSlot::ALL
            .into_iter()
            .filter(|&slot| self.before.get(slot).is_some() != self.after.get(slot).is_some())
    }

    /// The name, as in every output, of what denied the call if not the kernel.
    #[must_use]
    pub const fn denied_by(&self) -> Option<&'static str> {
        if self.denied { Some("seccomp") } else { None }
    }

    /// The names, as in every output, of what the call changed.
    pub fn changed(&self) -> impl Iterator<Item = &'static str> + '_ {
        let slots = self.changed_slots().map(|(slot, ..)| slot.name());
        let moved = |directory: &Option<Directory>| directory.as_ref().is_some_and(|now| now.moved);
        let directories = [("root", moved(&self.root)), ("cwd", moved(&self.cwd))];
        slots.chain(directories.into_iter().filter_map(|(name, moved)| moved.then_some(name)))
    }
}

/// The names in a path.
fn names(path: &Text) -> Vec<&[u8]> {
    path.as_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect()
}

/// The time at which arguments were read: paths in the caller's memory, and the object a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// At entry of the call.
    Entry,
    /// At return, for paths that could not be read at entry.
    Return,
    /// At return, for everything: the entry was missed, and nothing is known from before a call that succeeded.
    EntryMissed,
}

impl Seen {
    /// Its name in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Return => "return",
            Self::EntryMissed => "entry_missed",
        }
    }
}

/// The root or working directory of a task, before and after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// True if it changed. The path may be the same, as with pivot_root, which changes what is mounted there.
    pub moved: bool,
    /// The directory before the call.
    pub before: ResolvedPath,
    /// The directory after the call.
    pub after: ResolvedPath,
}

impl Directory {
    /// True if it is a different directory after the call, or has a different path.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.moved || self.before != self.after
    }
}

/// The path of a directory or program from the top of its mount namespace, whatever the root of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they combine")]
pub struct ResolvedPath {
    /// The path, from `/`. If cut, only its last components, without a leading `/`.
    pub path: Text,
    /// True if the path was too long or too deep.
    pub cut: bool,
    /// True if it is in no mount namespace: its file system was unmounted while in use, never mounted, or internal to
    /// the kernel. The path begins at the top of that mount, with its name unless it is the file system's root.
    pub detached: bool,
    /// True if it has been deleted, or never was in a directory, such as a memfd: the path is the one it had.
    pub deleted: bool,
    /// True if no path leads to it from its mount; the path has the names there are.
    pub unreachable: bool,
}

impl ResolvedPath {
    /// The names, as in every output, of what is unusual about it.
    pub fn state(&self) -> impl Iterator<Item = &'static str> {
        let state = [
            (self.cut, "cut"),
            (self.detached, "detached"),
            (self.deleted, "deleted"),
            (self.unreachable, "unreachable"),
        ];
        state.into_iter().filter_map(|(is_so, name)| is_so.then_some(name))
    }
}

/// The task that made a call. All ids are those of the initial namespaces, whatever namespace nsprobe runs in; without
/// BPF they are those of nsprobe's own namespaces, and fields that `/proc` no longer had are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Process id.
    pub pid: Pid,
    /// Thread id.
    pub tid: Pid,
    /// The parent's process id.
    pub ppid: Option<Pid>,
    /// The process's pid in every pid namespace it is in, outermost first; empty if unknown.
    pub pids: Vec<Pid>,
    /// Command name; empty if unknown.
    pub comm: Text,
    /// Real user id.
    pub uid: Option<u32>,
    /// Real group id.
    pub gid: Option<u32>,
    /// Effective user id.
    pub euid: Option<u32>,
    /// Effective capabilities at entry: bit N is capability N of capabilities(7), relative to the user namespace the
    /// task was in then.
    pub cap_effective: Option<u64>,
    /// The start time of the process, in clock ticks after boot; with the pid, it identifies the process.
    pub start_ticks: Option<u64>,
    /// The executable; `None` for a kernel thread.
    pub exe: Option<ResolvedPath>,
    /// The arguments, as now in its memory; `None` for a kernel thread, and if they were not readable.
    pub arguments: Option<Arguments>,
    /// The control group; `None` without a version 2 hierarchy.
    pub cgroup: Option<Cgroup>,
}

impl Caller {
    /// A task with only its ids known.
    #[must_use]
    pub const fn new(pid: Pid, tid: Pid) -> Self {
        Self {
            pid,
            tid,
            ppid: None,
            pids: Vec::new(),
            comm: Text::new(),
            uid: None,
            gid: None,
            euid: None,
            cap_effective: None,
            start_ticks: None,
            exe: None,
            arguments: None,
            cgroup: None,
        }
    }
}

/// A control group of the version 2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The inode of its directory.
    pub id: u64,
    /// Its path from the root of the hierarchy, whatever the cgroup namespace. If cut, only its last components,
    /// without a leading `/`.
    pub path: Text,
    /// True if the path was too long or too deep.
    pub cut: bool,
    /// True if it is one of the requested groups, or below one. Also true if it is nested deeper than the check goes:
    /// 32 levels up from this group.
    pub is_requested: bool,
}

/// A call and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// clone(2), clone3(2), fork(2), vfork(2).
    Clone {
        /// The kernel's own copy of the flags; `None` if unknown.
        flags: Option<u64>,
        /// The new task; `None` if the call failed.
        child: Option<CloneChild>,
    },
    /// unshare(2).
    Unshare {
        /// Its argument.
        flags: u64,
    },
    /// setns(2).
    Setns {
        /// The descriptor.
        fd: i32,
        /// Its second argument: the requested kind (or kinds, with a pidfd); 0 for any.
        nstype: u64,
        /// The object of the descriptor, if it is a namespace file, a pidfd, or a file of `/proc/PID`.
        target: Option<SetnsTarget>,
    },
    /// chroot(2).
    Chroot {
        /// Its argument.
        path: PathText,
    },
    /// pivot_root(2).
    PivotRoot {
        /// The directory that becomes the root.
        new_root: PathText,
        /// The directory to which the old root moves.
        put_old: PathText,
        /// The kernel's resolution of `new_root` before the call; `None` if not seen.
        new_root_at: Option<ResolvedPath>,
        /// The kernel's resolution of `put_old`.
        put_old_at: Option<ResolvedPath>,
    },
    /// A change whose call is unknown: unshare(2) or setns(2) that succeeded, or a difference between two scans.
    Change {
        /// The scans that found it; `None` if it was seen as it happened.
        scans: Option<Scans>,
    },
}

/// Two scans of the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scans {
    /// The time between the two: the change happened at most this long before it was noticed.
    pub within: Duration,
    /// True if the process is new: its namespaces before are those its parent is in now, and `None` where the parent,
    /// too, entered them between the scans.
    pub is_new: bool,
}

impl Operation {
    /// The event's name in every output.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Clone { .. } => "clone",
            Self::Unshare { .. } => "unshare",
            Self::Setns { .. } => "setns",
            Self::Chroot { .. } => "chroot",
            Self::PivotRoot { .. } => "pivot_root",
            Self::Change { .. } => "change",
        }
    }

    /// The names of the call's flags, if it takes flags and they are known.
    #[must_use]
    pub fn flag_names(&self) -> Option<Vec<String>> {
        match self {
            Self::Clone { flags: Some(flags), .. } => Some(clone_flag_names(*flags)),
            Self::Unshare { flags } => Some(unshare_flag_names(*flags)),
            Self::Setns { nstype, .. } => Some(namespace_flag_names(*nstype)),
            Self::Clone { flags: None, .. }
            | Self::Chroot { .. }
            | Self::PivotRoot { .. }
            | Self::Change { .. } => None,
        }
    }
}

/// The task that a clone made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneChild {
    /// Process id in the initial pid namespace.
    pub pid: Pid,
    /// Thread id in the initial pid namespace.
    pub tid: Pid,
    /// Its ids in every pid namespace it is in, outermost first.
    pub pids: Vec<Pid>,
    /// The process id of its parent: not the caller with `CLONE_PARENT`, or for a thread. `None` if unknown.
    pub ppid: Option<Pid>,
    /// Its control group, not the caller's with `CLONE_INTO_CGROUP`; `None` without a version 2 hierarchy, and if
    /// unknown.
    pub cgroup: Option<Cgroup>,
}

/// The target of setns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetnsTarget {
    /// A namespace, by one of its files.
    Namespace {
        /// The namespace.
        id: NsId,
        /// The kernel's id for it, unique since boot (Linux 6.18).
        kernel_id: Option<u64>,
        /// The bind mount through which it was opened, as seen in the caller's mount namespace; `None` if the
        /// descriptor came from `/proc/PID/ns/` or the path is unknown.
        path: Option<Text>,
    },
    /// A process or thread, by a pidfd, whose namespaces of the requested kinds are to be joined. Also by a file of
    /// `/proc/PID`, which no kernel accepts.
    Process {
        /// Process id.
        pid: Pid,
        /// Thread id.
        tid: Pid,
        /// Command name; `None` if the process was gone.
        comm: Option<Text>,
        /// Those namespaces, by kind.
        namespaces: Vec<NsId>,
    },
}

/// A path that a process handed to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathText {
    /// The whole path.
    Whole(Text),
    /// Its beginning: the path was longer than the probe keeps.
    Cut(Text),
    /// It could not be read from the caller's memory.
    Unreadable,
}

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0 or more. For a clone, the child's thread id in the caller's pid namespace.
    Success(i64),
    /// The errno.
    Failure(i32),
    /// Interrupted by a signal, to be restarted by the kernel with this internal errno (`ERESTARTSYS` and so on). After
    /// `ERESTARTNOINTR` it always is; after the others the caller gets EINTR instead if the signal has a handler that
    /// does not restart calls, which is decided after the call.
    Restarted(i32),
    /// It succeeded; the result is unknown, or no call was seen.
    Unseen,
}
