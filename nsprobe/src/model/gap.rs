//! What could not be seen: part of every answer.

/// Something that a snapshot does not hold because it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What is missing.
    pub kind: GapKind,
    /// How many times.
    pub count: u64,
    /// Why, in words: the kernel's error, or the feature that is not there.
    pub reason: String,
    /// What would make it readable, where something would.
    pub remedy: Option<String>,
}

/// What a [`Gap`] is a lack of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapKind {
    /// A process is known, its namespaces are not.
    ProcessNamespaces,
    /// A process is known, its root directory is not.
    ProcessRoot,
    /// A process is known by its number alone.
    ProcessStatus,
    /// A process is known, its arguments are not.
    ProcessArguments,
    /// A process is known, its ids in the pid namespaces inside are not.
    ProcessIds,
    /// A process has made a pid namespace for its children and has none yet: until the first is there,
    /// older kernels let nobody read the link `pid_for_children` (6.18 does not, 7.2 does).
    PidForChildren,
    /// A thread's namespaces are not known.
    ThreadNamespaces,
    /// A process's descriptors are not readable.
    Descriptors,
    /// A socket's network namespace is not known.
    Sockets,
    /// A mount namespace's mounts were not readable.
    Mounts,
    /// A namespace's parent or owner is not known.
    Relations,
    /// The view ends at a pid namespace: processes outside it are not visible.
    PidNamespace,
    /// `/proc` hides processes of other users (`hidepid`).
    HiddenProcesses,
    /// nsprobe is chrooted: what is outside of its root directory is not seen.
    Chroot,
    /// A way to find namespaces that is not there: on this kernel, or with these privileges.
    Source,
}

impl GapKind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::ProcessNamespaces,
        Self::ProcessRoot,
        Self::ProcessStatus,
        Self::ProcessArguments,
        Self::ProcessIds,
        Self::PidForChildren,
        Self::ThreadNamespaces,
        Self::Descriptors,
        Self::Sockets,
        Self::Mounts,
        Self::Relations,
        Self::PidNamespace,
        Self::HiddenProcesses,
        Self::Chroot,
        Self::Source,
    ];

    /// The gap's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessNamespaces => "process_namespaces",
            Self::ProcessRoot => "process_root",
            Self::ProcessStatus => "process_status",
            Self::ProcessArguments => "process_arguments",
            Self::ProcessIds => "process_ids",
            Self::PidForChildren => "pid_for_children",
            Self::ThreadNamespaces => "thread_namespaces",
            Self::Descriptors => "descriptors",
            Self::Sockets => "sockets",
            Self::Mounts => "mounts",
            Self::Relations => "relations",
            Self::PidNamespace => "pid_namespace",
            Self::HiddenProcesses => "hidden_processes",
            Self::Chroot => "chroot",
            Self::Source => "source",
        }
    }
}
