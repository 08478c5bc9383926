//! A process and its properties.

use crate::model::{Arguments, NsId, NsSlot, Slots, Text};

/// A process id, in the pid namespace of the `/proc` that was read.
pub type Pid = u32;

/// One process (a thread group).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent's id; 0 if it has none that the reader can see.
    pub ppid: Pid,
    /// Its id in every pid namespace it is in, outermost first; the first is `pid`. Empty if unknown.
    pub pids: Vec<Pid>,
    /// Its start time: clock ticks after boot (field 22 of proc_pid_stat(5)). With `pid` its identity.
    pub start_ticks: u64,
    /// The number of its threads, including the first; 0 for a zombie.
    pub threads: u32,
    /// True for a kernel thread (`PF_KTHREAD`).
    pub kernel_thread: bool,
    /// Effective user id in the reader's user namespace; the owner of `/proc/PID`.
    pub uid: u32,
    /// Command name, at most 15 bytes.
    pub comm: Text,
    /// Its arguments; empty for kernel threads and zombies, unknown if they were not read.
    pub arguments: Arguments,
    /// Its namespaces, as in `/proc/PID/ns/`; `None` if the reader may not see them (`PTRACE_MODE_READ_FSCREDS`,
    /// ptrace(2)). A slot is `None` if the kernel lacks the kind, for `pid_for_children` before the first child of a
    /// new pid namespace, and for a process that is exiting.
    pub namespaces: Option<Slots<Option<NsId>>>,
    /// Its root directory.
    pub root: Root,
}

impl Process {
    /// The process in one line, in printed form: its arguments, else its name. Only kernel threads have it in brackets,
    /// as in ps(1): anybody can run a process named `kthreadd` or `1` without arguments.
    #[must_use]
    pub fn command(&self) -> String {
        if self.arguments.is_empty() { self.enclosed(&self.comm) } else { self.arguments.to_string() }
    }

    /// Its arguments, if they are known. A kernel thread has none.
    #[must_use]
    pub const fn known_arguments(&self) -> Option<&Arguments> {
        if self.kernel_thread || self.arguments.is_known() { Some(&self.arguments) } else { None }
    }

    fn enclosed(&self, name: impl std::fmt::Display) -> String {
        if self.kernel_thread { format!("[{name}]") } else { format!("({name})") }
    }

    /// A process for tests, with nothing readable; its start time in ticks is its pid.
    #[cfg(test)]
    pub(crate) fn staged(pid: Pid, ppid: Pid) -> Self {
        Self {
            pid,
            ppid,
            pids: vec![pid],
            start_ticks: pid.into(),
            threads: 1,
            kernel_thread: false,
            uid: 0,
            comm: "sh".into(),
            arguments: Arguments::default(),
            namespaces: None,
            root: Root::Unknown,
        }
    }

    /// The namespace in `slot`, if known.
    #[must_use]
    pub fn namespace(&self, slot: NsSlot) -> Option<NsId> {
        self.namespaces.as_ref().and_then(|slots| *slots.get(slot))
    }
}

/// The root directory of a process, as in `/proc/PID/root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// The root of its mount namespace.
    Whole,
    /// A directory below it: the process is chrooted.
    Chrooted(Text),
    /// A deleted directory, with its former path.
    Deleted(Text),
    /// Not readable, or none (kernel threads that are exiting, zombies).
    Unknown,
}

static TOP: std::sync::LazyLock<Text> = std::sync::LazyLock::new(|| "/".into());

impl Root {
    /// Its path; `None` if unknown.
    #[must_use]
    pub fn path(&self) -> Option<&Text> {
        match self {
            Self::Whole => Some(&TOP),
            Self::Chrooted(path) | Self::Deleted(path) => Some(path),
            Self::Unknown => None,
        }
    }

    /// True if it differs from the root of the mount namespace; `None` if unknown.
    #[must_use]
    pub const fn is_chrooted(&self) -> Option<bool> {
        match self {
            Self::Whole => Some(false),
            Self::Chrooted(_) | Self::Deleted(_) => Some(true),
            Self::Unknown => None,
        }
    }

    /// True if it has been deleted; `None` if unknown.
    #[must_use]
    pub const fn is_deleted(&self) -> Option<bool> {
        match self {
            Self::Whole | Self::Chrooted(_) => Some(false),
            Self::Deleted(_) => Some(true),
            Self::Unknown => None,
        }
    }

    /// True if both are known and differ. A directory that has been deleted meanwhile is the same.
    #[must_use]
    pub fn differs_from(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::Unknown, _) | (_, Self::Unknown) => false,
            (Self::Chrooted(was), Self::Deleted(path)) => was != path,
            (before, after) => before != after,
        }
    }
}
