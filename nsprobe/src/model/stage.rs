//! The stages at which events can be lost.

use std::fmt;

/// Where events are lost, or what is known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The ring buffer was full.
    RingFull,
    /// The share of a user or control group in the ring buffer was used up.
    Share,
    /// The kernel had no memory for calls under way.
    PendingFull,
    /// A share in the table of calls under way was used up: what was before the call is unknown, but for the namespaces.
    CallsFull,
    /// The table of followed tasks was full.
    FollowFull,
    /// The table of namespaces whose end is reported was full.
    NamespacesFull,
    /// The table of calls that got past seccomp was full.
    DeniedFull,
    /// The arguments of a call that seccomp stopped were not found.
    DeniedUnread,
    /// The kernel did not run a program of the probe.
    Recursion,
    /// A buffer of perf records was full.
    PerfRingFull,
    /// A record was not understood.
    Decode,
    /// The reader of the output was too slow.
    OutputFull,
    /// The same, for lines of namespaces created or destroyed.
    OutputFullLifecycle,
    /// The output did not take them.
    Sink,
}

impl Stage {
    /// The name in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Share => "share",
            Self::PendingFull => "pending_full",
            Self::CallsFull => "calls_full",
            Self::FollowFull => "follow_full",
            Self::NamespacesFull => "namespaces_full",
            Self::DeniedFull => "denied_full",
            Self::DeniedUnread => "denied_unread",
            Self::Recursion => "recursion",
            Self::PerfRingFull => "perf_ring_full",
            Self::Decode => "decode",
            Self::OutputFull => "output_full",
            Self::OutputFullLifecycle => "output_full_lifecycle",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
