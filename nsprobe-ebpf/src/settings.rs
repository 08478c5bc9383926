//! The probe's configuration, and the names of what it shares with userspace.

/// Bits of [`Config::flags`].
pub mod config {
    /// Report every new task, not only those with a `CLONE_NEW*` flag.
    pub const EVERY_CLONE: u32 = 1;
    /// Report only the descendants of the process in [`super::Config`].
    pub const FOLLOW: u32 = 1 << 1;
    /// Also report calls of setns and unshare that succeed and change nothing.
    pub const UNCHANGED: u32 = 1 << 2;
    /// Report the ends of namespaces that were created or joined.
    pub const LIFECYCLE: u32 = 1 << 3;
    /// Report no clone, though new tasks are examined.
    pub const NO_CLONE: u32 = 1 << 16;
    /// Report only calls that fail.
    pub const FAILED: u32 = 1 << 17;
    /// Report only calls that succeed.
    pub const SUCCEEDED: u32 = 1 << 18;
    /// Report only calls that concern namespaces of [`super::Config::kinds`].
    pub const KIND: u32 = 1 << 19;
    /// Report only callers whose process matches a [`crate::filter_key`].
    pub const PID: u32 = 1 << 20;
    /// Likewise for the user.
    pub const UID: u32 = 1 << 21;
    /// Likewise for the command name.
    pub const COMM: u32 = 1 << 22;
    /// Likewise for the control group, or one above it. With [`LIFECYCLE`] the others are reported as well, without
    /// [`crate::event_flags::IN_CGROUP`].
    pub const CGROUP: u32 = 1 << 23;
    /// Report only events with a namespace that matches a filter key.
    pub const NAMESPACE: u32 = 1 << 24;
    /// [`super::map::CALLS`] is task storage.
    pub const TASK_STORAGE: u32 = 1 << 25;
}

/// The configuration of the probe: a read-only global, set before loading.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// [`config`] bits.
    pub flags: u32,
    /// With [`config::FOLLOW`]: the process whose descendants count, by its pid in its own pid namespace. 0: those of
    /// the processes in the filter keys, which count themselves.
    pub follow_pid: u32,
    /// Inode of that pid namespace.
    pub follow_pid_ns: u32,
    /// With [`config::KIND`]: the kinds, as `CLONE_NEW*` flags.
    pub kinds: u32,
    /// With [`config::NAMESPACE`]: the kinds of the requested ones, likewise.
    pub namespace_kinds: u32,
}

impl Config {
    /// Returns its words, in order.
    #[must_use]
    pub const fn words(self) -> [u32; 5] {
        [self.flags, self.follow_pid, self.follow_pid_ns, self.kinds, self.namespace_kinds]
    }
}

const _: () = assert!(size_of::<Config>() == 5 * size_of::<u32>());

/// The names of the read-only globals, which userspace fills in before it loads the object.
pub mod global {
    /// `[u32; FIELDS.len()]`: the offset of every [`crate::Field`], or [`crate::ABSENT`].
    pub const OFFSETS: &str = "OFFSETS";
    /// [`super::Config`], as its `u32`s.
    pub const CONFIG: &str = "CONFIG";
    /// [`crate::share::Settings`], as its `u64`s.
    pub const SHARE: &str = "SHARE";
}

/// The names of the maps.
pub mod map {
    /// Ring buffer of records.
    pub const EVENTS: &str = "EVENTS";
    /// Calls in progress: task storage, or a table of some of them.
    pub const CALLS: &str = "CALLS";
    /// Calls in progress that the table of them has no room for.
    pub const BRIEFS: &str = "BRIEFS";
    /// Events under construction, without task storage.
    pub const SCRATCH: &str = "SCRATCH";
    /// Calls that got past seccomp, by task.
    pub const NOTES: &str = "NOTES";
    /// The meaning of a missing note.
    pub const NOTES_STATE: &str = "NOTES_STATE";
    /// Tasks to report, with [`super::config::FOLLOW`].
    pub const FOLLOWED: &str = "FOLLOWED";
    /// Namespaces whose end is reported, with [`super::config::LIFECYCLE`]: [`crate::Watched`] by inode.
    pub const NAMESPACES: &str = "NAMESPACES";
    /// Those that userspace has found, likewise.
    pub const FOUND: &str = "FOUND";
    /// The filter keys ([`crate::filter_key`]), whose value is 1.
    pub const FILTER_KEYS: &str = "FILTER_KEYS";
    /// Per-CPU `u64`s by [`super::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// [`crate::share::Held`] by [`crate::share::index`], mapped into userspace.
    pub const SHARES: &str = "SHARES";
    /// `u64`s by [`crate::share::Loser`].
    pub const LOSERS: &str = "LOSERS";
    /// One [`crate::Walk`].
    pub const WALK: &str = "WALK";
    /// One [`crate::Superblocks`].
    pub const SUPERBLOCKS: &str = "SUPERBLOCKS";
    /// One [`crate::Connections`].
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// The kernel's ids (`u64`) of the namespaces whose holders are searched for: keys, whose value is 1.
    pub const SOUGHT: &str = "SOUGHT";
}

/// Counters of what the probe could not do; the index into the map `COUNTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// No room in the ring buffer: an event is lost.
    RingFull = 0,
    /// No memory for a call in progress: an event is lost.
    PendingFull = 1,
    /// No room in the table of followed tasks: the events of a descendant are lost.
    FollowFull = 2,
    /// No room in the table of namespaces: the end of one will not be reported.
    NamespacesFull = 3,
    /// No room in the table of calls that got past seccomp: for one that failed it is unknown whether it did.
    DeniedFull = 4,
    /// The arguments of a call that seccomp stopped were not found: it is lost.
    DeniedUnread = 5,
    /// The share of its user or its control group was used up while the ring buffer was more than half full: an event
    /// is lost.
    Share = 6,
    /// No room in the table of calls under way, or the share of its user or its control group was used up: of a call it is
    /// not known what was before, but for the namespaces.
    CallsFull = 7,
}

impl Counter {
    /// All of them, in index order.
    pub const ALL: [Self; 8] = [
        Self::RingFull,
        Self::PendingFull,
        Self::FollowFull,
        Self::NamespacesFull,
        Self::DeniedFull,
        Self::DeniedUnread,
        Self::Share,
        Self::CallsFull,
    ];
}
