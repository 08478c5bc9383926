//! The namespaces of an event: those after the call, and what it changed.

use super::path::{self, PathChange};
use super::text::Key;
use crate::model::{Event, NsId, NsKey, NsKind, NsSlot, SlotMarks, Slots};
use serde::{Deserialize, Serialize};

/// The initial namespaces of the machine, as far as known.
pub type Initial = Slots<Option<NsId>>;

/// Namespaces in the files of /proc/PID/ns, by inode. Null if unknown, or if the kernel does not have this kind of
/// namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Namespaces {
    /// Inode of the cgroup namespace.
    pub cgroup: Option<u64>,
    /// Inode of the IPC namespace.
    pub ipc: Option<u64>,
    /// Inode of the mount namespace.
    pub mnt: Option<u64>,
    /// Inode of the network namespace.
    pub net: Option<u64>,
    /// Inode of the pid namespace.
    pub pid: Option<u64>,
    /// Inode of the time namespace.
    pub time: Option<u64>,
    /// Inode of the user namespace.
    pub user: Option<u64>,
    /// Inode of the UTS namespace.
    pub uts: Option<u64>,
    /// Inode of the pid namespace of its future children. Absent if the same as `pid`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::fields::present")]
    #[cfg_attr(feature = "schema", schemars(extend("nullable" = true)))]
    pub pid_for_children: Option<Option<u64>>,
    /// Inode of the time namespace of its future children. Absent if the same as `time`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::fields::present")]
    #[cfg_attr(feature = "schema", schemars(extend("nullable" = true)))]
    pub time_for_children: Option<Option<u64>>,
}

impl From<&Slots<Option<NsId>>> for Namespaces {
    fn from(slots: &Slots<Option<NsId>>) -> Self {
        let ino = |slot| slots.get(slot).map(|id: NsId| id.ino);
        let of = |kind| ino(NsSlot::In(kind));
        Self {
            cgroup: of(NsKind::Cgroup),
            ipc: of(NsKind::Ipc),
            mnt: of(NsKind::Mnt),
            net: of(NsKind::Net),
            pid: of(NsKind::Pid),
            time: of(NsKind::Time),
            user: of(NsKind::User),
            uts: of(NsKind::Uts),
            pid_for_children: Some(ino(NsSlot::PidForChildren)).filter(|id| *id != of(NsKind::Pid)),
            time_for_children: Some(ino(NsSlot::TimeForChildren)).filter(|id| *id != of(NsKind::Time)),
        }
    }
}

/// A value for each file of /proc/PID/ns, or none.
macro_rules! by_slot {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)?, $value:ty $(, $(#[$more_doc:meta])* $more:ident: $other:ty)*) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct $name $(<$life>)? {
            /// Of the cgroup namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub cgroup: Option<$value>,
            /// Of the IPC namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub ipc: Option<$value>,
            /// Of the mount namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub mnt: Option<$value>,
            /// Of the network namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub net: Option<$value>,
            /// Of the pid namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub pid: Option<$value>,
            /// Of the time namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub time: Option<$value>,
            /// Of the user namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub user: Option<$value>,
            /// Of the UTS namespace.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub uts: Option<$value>,
            /// Of the pid namespace of future children.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub pid_for_children: Option<$value>,
            /// Of the time namespace of future children.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub time_for_children: Option<$value>,
            $(
                $(#[$more_doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $more: Option<$other>,
            )*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// The place for the value of a slot.
            const fn get_mut(&mut self, slot: NsSlot) -> &mut Option<$value> {
                match slot {
                    NsSlot::In(NsKind::Cgroup) => &mut self.cgroup,
                    NsSlot::In(NsKind::Ipc) => &mut self.ipc,
                    NsSlot::In(NsKind::Mnt) => &mut self.mnt,
                    NsSlot::In(NsKind::Net) => &mut self.net,
                    NsSlot::In(NsKind::Pid) => &mut self.pid,
                    NsSlot::In(NsKind::Time) => &mut self.time,
                    NsSlot::In(NsKind::User) => &mut self.user,
                    NsSlot::In(NsKind::Uts) => &mut self.uts,
                    NsSlot::PidForChildren => &mut self.pid_for_children,
                    NsSlot::TimeForChildren => &mut self.time_for_children,
                }
            }
        }
    };
}

by_slot! {
    /// Keys of namespaces: their names within this boot, in `list`, `tree` and `diff` too. Linux 6.18 and later: the
    /// kind, # and the kernel's id, which is never given to another namespace. If the kernel gives no id, or the source
    /// did not see it (perf, proc): the kind, :, the inode and, if the creation of the namespace was seen, @ and the
    /// time of creation, in seconds after boot. Without that time, an earlier namespace may have had the same key.
    Keys<'a>, Key<'a>
}

by_slot! {
    /// What is different after the call, by its name: files of /proc/PID/ns, and the caller's root and working
    /// directory. Empty if nothing is.
    Changed<'a>, Change<'a>,
    /// Root directory of the caller. The path may be the same, but of a different mount or directory.
    root: PathChange<'a>,
    /// Working directory of the caller.
    cwd: PathChange<'a>
}

by_slot! {
    /// Files of /proc/PID/ns whose namespace is known only before the call or only after it, so that it is unknown
    /// whether the call changed it.
    Unsure<'a>, UnsureChange<'a>
}

/// A namespace before a call, and the one after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change<'a> {
    /// Inode of the namespace before the call.
    pub before: u64,
    /// Key of that namespace. Absent under the conditions of `keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_key: Option<Key<'a>>,
    /// Inode of the namespace after the call, as in `namespaces`; its key is in `keys`.
    pub after: u64,
}

/// A namespace before a call, and the one after it, of which one is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnsureChange<'a> {
    /// Inode of the namespace before the call. Null if unknown.
    pub before: Option<u64>,
    /// Key of that namespace. Absent under the conditions of `keys`, or if `before` is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_key: Option<Key<'a>>,
    /// Inode of the namespace after the call, as in `namespaces`. Null if unknown.
    pub after: Option<u64>,
}

/// Finds the keys that a line has.
#[derive(Clone, Copy)]
struct Marked<'a> {
    marks: Option<&'a SlotMarks>,
    initial: &'a Initial,
}

impl Marked<'_> {
    /// The key of the namespace `id` in a slot; `None` if only inodes are known, or for an initial namespace, which
    /// never ends: no other one can have its inode.
    fn key<'k>(self, slot: NsSlot, id: NsId, is_after: bool) -> Option<Key<'k>> {
        let marks = self.marks?;
        let marks = if is_after { &marks.after } else { &marks.before };
        let is_initial = *self.initial.of(slot.kind()) == Some(id);
        (!is_initial).then(|| NsKey { id, mark: *marks.get(slot) }.into())
    }
}

/// The namespaces of an event.
pub(super) struct OfEvent<'a> {
    pub(super) changed: Changed<'a>,
    pub(super) unsure: Option<Unsure<'a>>,
    pub(super) namespaces: Namespaces,
    pub(super) keys: Option<Keys<'a>>,
}

impl<'a> OfEvent<'a> {
    pub(super) fn new(event: &'a Event, initial: &Initial) -> Self {
        let marked = Marked { marks: event.marks.as_deref(), initial };
        let mut changed = Changed {
            root: path::change(event.root.as_ref()),
            cwd: path::change(event.cwd.as_ref()),
            ..Changed::default()
        };
        let (mut unsure, mut keys) = (None, marked.marks.map(|_| Keys::default()));
        for (slot, &before) in event.before.iter() {
            let after = *event.after.get(slot);
            let before_key = || before.and_then(|id| marked.key(slot, id, false));
            match (before, after) {
                (Some(before), Some(after)) if before != after => {
                    let change = Change { before: before.ino, before_key: before_key(), after: after.ino };
                    *changed.get_mut(slot) = Some(change);
                }
                (Some(_), None) | (None, Some(_)) => {
                    let [before, after] = [before, after].map(|id| id.map(|id| id.ino));
                    let change = UnsureChange { before, before_key: before_key(), after };
                    *unsure.get_or_insert_with(Unsure::default).get_mut(slot) = Some(change);
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
            let is_as_own = slot != NsSlot::In(slot.kind()) && after == *event.after.of(slot.kind());
            if let (Some(keys), Some(id), false) = (&mut keys, after, is_as_own) {
                *keys.get_mut(slot) = marked.key(slot, id, true);
            }
        }
        Self { changed, unsure, namespaces: (&event.after).into(), keys }
    }
}

/// The keys of the initial namespaces.
pub(super) fn initial_keys<'a>(initial: &[(NsKind, Option<NsKey>)]) -> Keys<'a> {
    let mut keys = Keys::default();
    for (kind, key) in initial {
        *keys.get_mut(NsSlot::In(*kind)) = key.map(Into::into);
    }
    keys
}

/// The initial namespaces, by slot; children are born in the same.
#[must_use]
pub fn initial(namespaces: &[(NsKind, Option<NsKey>)]) -> Initial {
    Slots::from_fn(|slot| {
        let found = namespaces.iter().find(|(kind, _)| *kind == slot.kind());
        found.and_then(|(_, key)| *key).map(|key| key.id)
    })
}
