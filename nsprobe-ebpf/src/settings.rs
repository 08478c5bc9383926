//! What the probe is to do, and the names of what it shares with userspace.

/// Bits of [`Config::flags`].
pub mod config {
    /// Report every new task, not only those with a `CLONE_NEW*` flag.
    pub const EVERY_CLONE: u32 = 1;
    /// Report only the descendants of the process that [`super::Config`] names.
    pub const FOLLOW: u32 = 1 << 1;
    /// Report calls of setns and unshare too that succeed and change nothing.
    pub const UNCHANGED: u32 = 1 << 2;
    /// Report the ends of namespaces that were made or joined.
    pub const LIVES: u32 = 1 << 3;
    /// Report no clone, though new tasks are looked at.
    pub const NO_CLONE: u32 = 1 << 16;
    /// Report only calls that fail.
    pub const FAILED: u32 = 1 << 17;
    /// Report only calls that succeed.
    pub const SUCCEEDED: u32 = 1 << 18;
    /// Report only calls about namespaces of [`super::Config::kinds`].
    pub const KIND: u32 = 1 << 19;
    /// Report only callers of whose process there is a [`crate::wish`].
    pub const PID: u32 = 1 << 20;
    /// Likewise of the user.
    pub const UID: u32 = 1 << 21;
    /// Likewise of the command name.
    pub const COMM: u32 = 1 << 22;
    /// Likewise of the control group, or one above it. With [`LIVES`] the others are reported as well, without
    /// [`crate::event_flags::IN_CGROUP`].
    pub const CGROUP: u32 = 1 << 23;
    /// Report only events in which a namespace is that there is a wish of.
    pub const NAMESPACE: u32 = 1 << 24;
    /// [`super::map::CALLS`] is storage of tasks.
    pub const TASK_STORAGE: u32 = 1 << 25;
}

/// What the probe is asked to do: a read-only global, set before loading.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// [`config`] bits.
    pub flags: u32,
    /// With [`config::FOLLOW`]: the process whose descendants count, as its own pid namespace numbers it. 0: of the
    /// processes that there are wishes of, which count themselves.
    pub follow_pid: u32,
    /// Inode of that pid namespace.
    pub follow_pid_ns: u32,
    /// With [`config::KIND`]: the kinds, as `CLONE_NEW*` flags.
    pub kinds: u32,
    /// With [`config::NAMESPACE`]: the kinds of those asked for, likewise.
    pub namespace_kinds: u32,
}

impl Config {
    /// Its words, in their order.
    #[must_use]
    pub const fn words(self) -> [u32; 5] {
        [self.flags, self.follow_pid, self.follow_pid_ns, self.kinds, self.namespace_kinds]
    }
}

const _: () = assert!(size_of::<Config>() == 5 * size_of::<u32>());

/// The names of the read-only globals, for userspace to fill in before it loads the object.
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
    /// Calls under way: storage of tasks, or a table of some of them.
    pub const CALLS: &str = "CALLS";
    /// Calls under way that the table of them has no room for.
    pub const BRIEFS: &str = "BRIEFS";
    /// Events in the making, without storage of tasks.
    pub const SCRATCH: &str = "SCRATCH";
    /// Calls that got past seccomp, by thread.
    pub const NOTES: &str = "NOTES";
    /// What the absence of a note there means.
    pub const NOTES_STATE: &str = "NOTES_STATE";
    /// Tasks to report, with [`super::config::FOLLOW`].
    pub const FOLLOWED: &str = "FOLLOWED";
    /// Namespaces whose end is to be told, with [`super::config::LIVES`]: [`crate::Watched`] by inode.
    pub const NAMESPACES: &str = "NAMESPACES";
    /// Those that userspace has found, likewise.
    pub const FOUND: &str = "FOUND";
    /// The [`crate::wish`]es: keys, whose value is 1.
    pub const WISHES: &str = "WISHES";
    /// Per-CPU `u64`s by [`super::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// [`crate::share::Held`] by [`crate::share::index`], in the memory of userspace.
    pub const SHARES: &str = "SHARES";
    /// `u64`s by [`crate::share::Loser`].
    pub const LOSERS: &str = "LOSERS";
    /// One [`crate::Walk`].
    pub const WALK: &str = "WALK";
    /// One [`crate::Superblocks`].
    pub const SUPERBLOCKS: &str = "SUPERBLOCKS";
    /// One [`crate::Connections`].
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// The kernel's numbers (`u64`) of the namespaces whose holders are sought: keys, whose value is 1.
    pub const SOUGHT: &str = "SOUGHT";
}

/// Counters of what the probe could not do; the index into the map `COUNTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// No room in the ring buffer: an event is lost.
    RingFull = 0,
    /// No memory for a call under way: an event is lost.
    PendingFull = 1,
    /// No room in the table of followed tasks: the events of a descendant are lost.
    FollowFull = 2,
    /// No room in the table of namespaces: the end of one will not be told.
    NamespacesFull = 3,
    /// No room in the table of calls that got past seccomp: of one that failed it is not known whether it did.
    DeniedFull = 4,
    /// The arguments of a call that seccomp stopped were not found: it is lost.
    DeniedUnread = 5,
    /// The share of its user or its control group was used up while the ring buffer was more than half full: an event is
    /// lost.
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
