//! What `trace` reports of a crossing.

use super::flags::{clone_flag_names, namespace_flag_names, unshare_flag_names};
use crate::model::{Arguments, NsId, NsSlot, Pid, SlotMarks, Slots, Text};
use std::time::Duration;

/// One call that made, joined or left a namespace or changed a root directory, or that tried to; or a change of which
/// no call is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the call returned, or the change was seen: `CLOCK_BOOTTIME`.
    pub since_boot: Duration,
    /// How long the call took; `None` for a clone, which is reported when the child is made, for one that was
    /// `denied`, and where no call is seen.
    pub duration: Option<Duration>,
    /// Who called.
    pub process: Caller,
    /// What it called, with what.
    pub crossing: Operation,
    /// By the 32-bit entry: int 0x80, or in a 32-bit process; `None` when that is not known.
    pub compat: Option<bool>,
    /// What came of it.
    pub outcome: Outcome,
    /// When what its arguments stand for was looked at, where other tasks can change that until the kernel looks; `None` where
    /// it is the kernel's own copy, or not known.
    pub seen: Option<Seen>,
    /// It failed before the kernel saw it: a seccomp filter of the process answered. See seccomp(2).
    pub denied: bool,
    /// The namespaces at entry; for a clone, the parent's.
    pub before: Slots<Option<NsId>>,
    /// The namespaces at return; for a clone, the child's.
    pub after: Slots<Option<NsId>>,
    /// What tells those namespaces from others that had their numbers; `None` where nothing does: a kernel without
    /// ids (before 6.18), and nobody keeps account of lives.
    pub marks: Option<Box<SlotMarks>>,
    /// The caller's root directory, where the call is one that may move it.
    pub root: Option<Directory>,
    /// Its working directory, likewise.
    pub cwd: Option<Directory>,
}

impl Event {
    /// The slots whose namespace was known before and after, and is another.
    pub fn changed_slots(&self) -> impl Iterator<Item = (NsSlot, NsId, NsId)> + '_ {
        self.before.iter().filter_map(|(slot, before)| {
            let (before, after) = ((*before)?, (*self.after.get(slot))?);
            (before != after).then_some((slot, before, after))
        })
    }

    /// The entry it came by, in every output; `None` when that is not known.
    #[must_use]
    pub const fn abi(&self) -> Option<&'static str> {
        match self.compat {
            // The probe tells 32-bit calls of x86 only.
            Some(true) => Some("i386"),
            Some(false) => Some(std::env::consts::ARCH),
            None => None,
        }
    }

    /// Whether setns joined something else than its descriptor stood for at entry.
    #[must_use]
    pub fn joined_another(&self) -> bool {
        let Outcome::Success(_) = self.outcome else { return false };
        let is_in = |id: &NsId| self.after.iter().any(|(_, after)| after == &Some(*id));
        let is_known = |id: &NsId| {
            self.after.iter().filter(|(slot, _)| slot.kind() == id.kind).all(|(_, after)| after.is_some())
        };
        match &self.crossing {
            Operation::Setns { target: Some(SetnsTarget::Namespace { id, .. }), .. } => !is_in(id),
            Operation::Setns { target: Some(SetnsTarget::Process { namespaces, .. }), .. } => {
                namespaces.iter().any(|id| is_known(id) && !is_in(id))
            }
            _ => false,
        }
    }

    /// Whether chroot led elsewhere than its path says that was read at entry: the path was rewritten before the kernel read
    /// it, or a symbolic link is on the way.
    #[must_use]
    pub fn led_elsewhere(&self) -> bool {
        let (Operation::Chroot { path: PathText::Whole(path) }, Some(Seen::Entry), Outcome::Success(_)) =
            (&self.crossing, self.seen, &self.outcome)
        else {
            return false;
        };
        let (Some(root), Some(cwd)) = (&self.root, &self.cwd) else { return false };
        let is_absolute = path.as_bytes().starts_with(b"/");
        let from = if is_absolute { &root.before } else { &cwd.before };
        let is_plain = |place: &Place| !(place.cut || place.deleted || place.unreachable || place.detached);
        if !is_plain(from) || !is_plain(&root.after) {
            return false;
        }
        // Where `..` is, its meaning depends on links, and on where the root is.
        let [from, path, after] = [&from.path, path, &root.after.path].map(names);
        !path.contains(&&b".."[..]) && !from.iter().chain(&path).eq(&after)
    }

    /// Who denied it, in every output, where that was not the kernel.
    #[must_use]
    pub const fn denied_by(&self) -> Option<&'static str> {
        if self.denied { Some("seccomp") } else { None }
    }

    /// What is another after than before, by its name in every output.
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

/// When arguments were looked at: paths in the caller's memory, and what a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// At the entry of the call.
    Entry,
    /// Paths that could not be read then, at its return.
    Return,
    /// All at its return: the kernel did not tell its entry, and of a call that succeeded nothing is known before it.
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
    /// Whether it is another after than before. The path may be the same, as with pivot_root, which changes what
    /// lies there.
    pub moved: bool,
    /// Where it was.
    pub before: Place,
    /// Where it is.
    pub after: Place,
}

/// Where a directory or program is, as seen from the top of its mount namespace, whatever the root of who uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they combine")]
pub struct Place {
    /// Its path, from `/` on. If it was cut, its last names only, without a `/` in
    /// front.
    pub path: Text,
    /// The path was too long or too deep.
    pub cut: bool,
    /// It is in no mount namespace: its file system was unmounted while in use, has never been mounted anywhere, or is the
    /// kernel's own. The path is from that one's top on, whose name it has where that is not the root of the file system.
    pub detached: bool,
    /// It has been deleted, or never was in a directory, as a memfd: the path is the one it had.
    pub deleted: bool,
    /// No path leads to it from its mount; the path is what names there are.
    pub unreachable: bool,
}

/// The task that made a call. Every id is the initial namespaces', whatever namespace nsprobe runs in; without BPF they
/// are as nsprobe's own namespaces number them, and what `/proc` did not tell any more is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Process id.
    pub pid: Pid,
    /// Thread id.
    pub tid: Pid,
    /// The parent's process id.
    pub ppid: Option<Pid>,
    /// The process's id in every pid namespace it is in, outermost first; empty when they are not known.
    pub pids: Vec<Pid>,
    /// Command name; empty when it is not known.
    pub comm: Text,
    /// Real user id.
    pub uid: Option<u32>,
    /// Real group id.
    pub gid: Option<u32>,
    /// Effective user id.
    pub euid: Option<u32>,
    /// Effective capabilities at entry, bit N for number N of capabilities(7). They are relative to the user
    /// namespace that the task was in then.
    pub cap_effective: Option<u64>,
    /// When the process started, in clock ticks after boot; with the pid, what tells it from all others.
    pub start_ticks: Option<u64>,
    /// The program it executes; `None` for a kernel thread.
    pub exe: Option<Place>,
    /// Its arguments, as its memory has them now; `None` for a kernel thread, and when they were not readable.
    pub arguments: Option<Arguments>,
    /// Its control group; `None` where there is no hierarchy of version 2.
    pub cgroup: Option<Cgroup>,
}

impl Caller {
    /// A task of which only the ids are known.
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

/// A control group of the hierarchy of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The inode of its directory.
    pub id: u64,
    /// Its path from the root of the hierarchy, whatever the cgroup namespace. If it was cut, its last names only,
    /// without a `/` in front.
    pub path: Text,
    /// The path was too long or too deep.
    pub cut: bool,
    /// Whether it is one of those asked for, or below one, as the kernel has them. Also where it lies deeper than is looked
    /// for that: 32 groups are, from this one upwards.
    pub is_asked_for: bool,
}

/// A call and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// clone(2), clone3(2), fork(2), vfork(2).
    Clone {
        /// The kernel's own copy of the flags; `None` when it is not known.
        flags: Option<u64>,
        /// What was made; `None` when it failed.
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
        /// Its second argument: the kind (or, with a pidfd, the kinds) wanted; 0 for any.
        nstype: u64,
        /// What the descriptor stands for, when it is a namespace file, a pidfd, or a file of `/proc/PID`.
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
        /// Where the old root goes.
        put_old: PathText,
        /// What the kernel resolved `new_root` to, before the call; `None` when that was not seen.
        new_root_at: Option<Place>,
        /// What the kernel resolved `put_old` to.
        put_old_at: Option<Place>,
    },
    /// A change of which no call is known: unshare(2) or setns(2) that succeeded, or what two looks differ in.
    Change {
        /// The looks that it was found by; `None` when it was seen as it happened.
        looks: Option<Looks>,
    },
}

/// Two looks at the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// How long they are apart: the change came at most so long before it was seen.
    pub within: Duration,
    /// The process was not there then: its namespaces before are those that its parent is in now, and `None` where the
    /// parent came to be in them between the looks as well.
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

    /// The flags that the call was given, by name, where it takes flags and they are known.
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
    /// The process id of its parent: not the caller with `CLONE_PARENT`, nor of a thread. `None` when it is not known.
    pub ppid: Option<Pid>,
    /// Its control group, not the caller's with `CLONE_INTO_CGROUP`; `None` where there is no hierarchy of version 2, and
    /// when it is not known.
    pub cgroup: Option<Cgroup>,
}

/// What setns was pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetnsTarget {
    /// A namespace, by a file of it.
    Namespace {
        /// Which.
        id: NsId,
        /// The kernel's id for it, unique since boot (Linux 6.18).
        kernel_id: Option<u64>,
        /// The bind mount it was opened through, as the caller's mount namespace has it; `None` when the
        /// descriptor came from `/proc/PID/ns/` or the path is not known.
        path: Option<Text>,
    },
    /// A process or thread, by a pidfd, whose namespaces of the wanted kinds are to be joined. Or by a file of
    /// `/proc/PID`, which no kernel takes for one.
    Process {
        /// Process id.
        pid: Pid,
        /// Thread id.
        tid: Pid,
        /// Command name; `None`: it was gone.
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
    /// Its beginning: it was longer than the probe keeps.
    Cut(Text),
    /// It could not be read from the caller's memory.
    Unreadable,
}

/// What a call returned to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0 or more. Of a clone the child's thread id as the caller's pid namespace numbers it.
    Success(i64),
    /// The errno.
    Failure(i32),
    /// A signal interrupted it, and the kernel makes it again: this number (`ERESTARTSYS` and the like) is the kernel's
    /// own. After `ERESTARTNOINTR` it always does; after the others the caller gets EINTR instead where the signal has
    /// a handler that does not restart calls, which is decided after the call.
    Restarted(i32),
    /// It succeeded; what it returned is not known, or no call was seen.
    Unseen,
}
