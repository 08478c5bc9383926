//! A process and what is known of it.

use crate::model::{Arguments, NsId, NsSlot, Slots, Text};

/// A process id, as the pid namespace of the `/proc` that was read numbers it.
pub type Pid = u32;

/// One process (a thread group).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent's id; 0 when it has none that the reader can see.
    pub ppid: Pid,
    /// Its id in every pid namespace it is in, outermost first; the first is `pid`. Empty where they are not known.
    pub pids: Vec<Pid>,
    /// When it started: clock ticks after boot (field 22 of proc_pid_stat(5)). With `pid` its identity.
    pub start_ticks: u64,
    /// How many threads it has, itself included; 0 for a zombie.
    pub threads: u32,
    /// Whether the kernel made it (`PF_KTHREAD`).
    pub kernel_thread: bool,
    /// Effective user id, as the reader's user namespace numbers it; the owner of `/proc/PID`.
    pub uid: u32,
    /// Command name, at most 15 bytes.
    pub comm: Text,
    /// Its arguments; none of kernel threads and zombies.
    pub arguments: Arguments,
    /// Its namespaces, as `/proc/PID/ns/` has them; `None` when the reader may not see them
    /// (`PTRACE_MODE_READ_FSCREDS`, ptrace(2)). One slot is `None` when the kernel lacks the kind, for
    /// `pid_for_children` before the first child of a new pid namespace, and for a process that is ending.
    pub namespaces: Option<Slots<Option<NsId>>>,
    /// Its root directory.
    pub root: Root,
}

impl Process {
    /// What to call the process in one line, in its printed form: its arguments, else its name. That is in brackets, as
    /// ps(1) has it, for a kernel thread only: anybody can run a process named `kthreadd` or `1` without arguments.
    #[must_use]
    pub fn command(&self) -> String {
        if self.arguments.is_empty() { self.enclosed(&self.comm) } else { self.arguments.to_string() }
    }

    /// The same, as text to be searched.
    #[must_use]
    pub fn command_text(&self) -> String {
        if self.arguments.is_empty() { self.enclosed(self.comm.lossy()) } else { self.arguments.joined() }
    }

    fn enclosed(&self, name: impl std::fmt::Display) -> String {
        if self.kernel_thread { format!("[{name}]") } else { format!("({name})") }
    }

    /// A process for tests, of which nothing can be read; it started as many clock ticks after boot as its number says.
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

    /// The namespace in `slot`, when it is known.
    #[must_use]
    pub fn namespace(&self, slot: NsSlot) -> Option<NsId> {
        self.namespaces.as_ref().and_then(|slots| *slots.get(slot))
    }
}

/// The root directory of a process, as `/proc/PID/root` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// The root of its mount namespace.
    Whole,
    /// A directory below it: the process is chrooted.
    Chrooted(Text),
    /// One that has been deleted, with the path it had.
    Deleted(Text),
    /// Not readable, or the process has none (kernel threads that are ending, zombies).
    Unknown,
}

static TOP: std::sync::LazyLock<Text> = std::sync::LazyLock::new(|| "/".into());

impl Root {
    /// Its path; `None` where it is not known.
    #[must_use]
    pub fn path(&self) -> Option<&Text> {
        match self {
            Self::Whole => Some(&TOP),
            Self::Chrooted(path) | Self::Deleted(path) => Some(path),
            Self::Unknown => None,
        }
    }

    /// Whether it is another than that of the mount namespace, where that is known.
    #[must_use]
    pub const fn is_chrooted(&self) -> Option<bool> {
        match self {
            Self::Whole => Some(false),
            Self::Chrooted(_) | Self::Deleted(_) => Some(true),
            Self::Unknown => None,
        }
    }

    /// Whether it has been deleted, where that is known.
    #[must_use]
    pub const fn is_deleted(&self) -> Option<bool> {
        match self {
            Self::Whole | Self::Chrooted(_) => Some(false),
            Self::Deleted(_) => Some(true),
            Self::Unknown => None,
        }
    }

    /// Whether it is another directory than `before`, where both are known. One that has been deleted meanwhile is the same.
    #[must_use]
    pub fn differs_from(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::Unknown, _) | (_, Self::Unknown) => false,
            (Self::Chrooted(was), Self::Deleted(path)) => was != path,
            (before, after) => before != after,
        }
    }
}
