//! The eight kinds of namespaces, and the ten slots of a process.

use crate::model::text;
use std::fmt;
use std::str::FromStr;

/// A kind of namespace, as in namespaces(7); in alphabetic order, with the names of lsns(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NsKind {
    /// Control group root directory (Linux 4.6).
    Cgroup,
    /// System V IPC and POSIX message queues (Linux 2.6.19).
    Ipc,
    /// Mount points (Linux 2.4.19).
    Mnt,
    /// Network devices, stacks, ports (Linux 2.6.24).
    Net,
    /// Process ids (Linux 2.6.24).
    Pid,
    /// Boot and monotonic clocks (Linux 5.6).
    Time,
    /// User and group ids, capabilities (Linux 3.8).
    User,
    /// Host name and NIS domain name (Linux 2.6.19).
    Uts,
}

impl NsKind {
    /// Every kind, in alphabetic order of its name.
    pub const ALL: [Self; 8] =
        [Self::Cgroup, Self::Ipc, Self::Mnt, Self::Net, Self::Pid, Self::Time, Self::User, Self::Uts];

    /// The kind's name, as in `/proc/PID/ns/` and in the text of such a link.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mnt => "mnt",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    /// The kind's `CLONE_NEW*` flag, from `<linux/sched.h>`.
    #[must_use]
    pub const fn clone_flag(self) -> u64 {
        match self {
            Self::Cgroup => 0x0200_0000,
            Self::Ipc => 0x0800_0000,
            Self::Mnt => 0x0002_0000,
            Self::Net => 0x4000_0000,
            Self::Pid => 0x2000_0000,
            Self::Time => 0x0000_0080,
            Self::User => 0x1000_0000,
            Self::Uts => 0x0400_0000,
        }
    }

    /// The kind of one `CLONE_NEW*` flag.
    #[must_use]
    pub fn from_clone_flag(flag: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.clone_flag() == flag)
    }
}

impl fmt::Display for NsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that is not a kind of namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind(pub String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = text::shown(&self.0);
        write!(f, "unknown namespace kind {kind}: one of cgroup, ipc, mnt, net, pid, time, user, uts")
    }
}

impl std::error::Error for UnknownKind {}

impl FromStr for NsKind {
    type Err = UnknownKind;

    fn from_str(s: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == s).ok_or_else(|| UnknownKind(s.to_owned()))
    }
}

/// One of the ten slots in which a process refers to a namespace: a file of `/proc/PID/ns/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NsSlot {
    /// The namespace of this kind that the process is in.
    In(NsKind),
    /// The pid namespace of its next child; see `pid_for_children` in namespaces(7).
    PidForChildren,
    /// The time namespace of its next child; see time_namespaces(7).
    TimeForChildren,
}

impl NsSlot {
    /// The path of its link below the `/proc` directory of a process or thread: `ns/net`.
    #[must_use]
    pub const fn link(self) -> &'static str {
        match self {
            Self::In(NsKind::Cgroup) => "ns/cgroup",
            Self::In(NsKind::Ipc) => "ns/ipc",
            Self::In(NsKind::Mnt) => "ns/mnt",
            Self::In(NsKind::Net) => "ns/net",
            Self::In(NsKind::Pid) => "ns/pid",
            Self::In(NsKind::Time) => "ns/time",
            Self::In(NsKind::User) => "ns/user",
            Self::In(NsKind::Uts) => "ns/uts",
            Self::PidForChildren => "ns/pid_for_children",
            Self::TimeForChildren => "ns/time_for_children",
        }
    }

    /// Every slot: the eight kinds in order, then the two for children, as in the probe's records.
    pub const ALL: [Self; 10] = [
        Self::In(NsKind::Cgroup),
        Self::In(NsKind::Ipc),
        Self::In(NsKind::Mnt),
        Self::In(NsKind::Net),
        Self::In(NsKind::Pid),
        Self::In(NsKind::Time),
        Self::In(NsKind::User),
        Self::In(NsKind::Uts),
        Self::PidForChildren,
        Self::TimeForChildren,
    ];

    /// The slot's file name in `/proc/PID/ns/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In(kind) => kind.name(),
            Self::PidForChildren => "pid_for_children",
            Self::TimeForChildren => "time_for_children",
        }
    }

    /// The kind of namespace that the slot refers to.
    #[must_use]
    pub const fn kind(self) -> NsKind {
        match self {
            Self::In(kind) => kind,
            Self::PidForChildren => NsKind::Pid,
            Self::TimeForChildren => NsKind::Time,
        }
    }

    /// Its index in [`NsSlot::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::In(kind) => kind as usize,
            Self::PidForChildren => 8,
            Self::TimeForChildren => 9,
        }
    }
}

impl fmt::Display for NsSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One value for each of the ten slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots<T>([T; 10]);

impl<T> Slots<T> {
    /// Calls `value` for every slot, in the order of [`NsSlot::ALL`].
    pub fn from_fn(mut value: impl FnMut(NsSlot) -> T) -> Self {
        Self(NsSlot::ALL.map(&mut value))
    }

    /// The value of one slot.
    pub const fn get(&self, slot: NsSlot) -> &T {
        &self.0[slot.index()]
    }

    /// The value of one slot, mutable.
    pub const fn get_mut(&mut self, slot: NsSlot) -> &mut T {
        &mut self.0[slot.index()]
    }

    /// The value for the namespace of `kind` that the process is in.
    pub const fn of(&self, kind: NsKind) -> &T {
        self.get(NsSlot::In(kind))
    }

    /// Applies `other` to each value.
    pub fn map<U>(&self, mut other: impl FnMut(T) -> U) -> Slots<U>
    where
        T: Copy,
    {
        Slots(self.0.map(&mut other))
    }

    /// Iterates over every slot with its value.
    pub fn iter(&self) -> impl Iterator<Item = (NsSlot, &T)> {
        NsSlot::ALL.into_iter().zip(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_flags_map_back_to_their_kind() {
        for kind in NsKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(NsKind::from_clone_flag(kind.clone_flag()), Some(kind));
        }
        assert_eq!("mount".parse::<NsKind>(), Err(UnknownKind("mount".to_owned())));
        assert_eq!(NsKind::from_clone_flag(0), None);
    }

    #[test]
    fn slots_are_indexed_in_the_order_of_all() {
        for (index, slot) in NsSlot::ALL.into_iter().enumerate() {
            assert_eq!(slot.index(), index, "{slot}");
        }
        let slots = Slots::from_fn(NsSlot::index);
        assert_eq!(*slots.get(NsSlot::TimeForChildren), 9);
        assert_eq!(*slots.of(NsKind::Uts), 7);
    }
}
