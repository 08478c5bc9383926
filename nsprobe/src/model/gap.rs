//! Gaps: what could not be read, part of every result.

/// Something missing from a snapshot because it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The missing data.
    pub kind: GapKind,
    /// The number of cases.
    pub count: u64,
    /// The reason, in words: the kernel's error, or the missing feature.
    pub reason: String,
    /// The remedy, if there is one.
    pub remedy: Option<String>,
}

/// The kind of a [`Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapKind {
    /// The namespaces of a known process.
    ProcessNamespaces,
    /// The root directory of a known process.
    ProcessRoot,
    /// Everything but the pid of a process.
    ProcessStatus,
    /// The arguments of a known process.
    ProcessArguments,
    /// The pids of a known process in nested pid namespaces.
    ProcessIds,
    /// The pid namespace that a process created for its children, before the first child exists: until then, older
    /// kernels let nobody read the link `pid_for_children` (6.18 does not, 7.2 does).
    PidForChildren,
    /// The namespaces of a thread.
    ThreadNamespaces,
    /// The descriptors of a process.
    Descriptors,
    /// The network namespace of a socket.
    Sockets,
    /// The mounts of a mount namespace.
    Mounts,
    /// The parent or owner of a namespace.
    Relations,
    /// Processes outside of the pid namespace of `/proc`.
    PidNamespace,
    /// `/proc` hides processes of other users (`hidepid`).
    HiddenProcesses,
    /// Anything outside of nsprobe's root directory: nsprobe is chrooted.
    Chroot,
    /// A source of namespaces that does not exist on this kernel, or needs other privileges.
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
