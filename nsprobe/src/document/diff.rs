//! The document of `nsprobe diff --json`.

use super::namespace::Namespace;
use super::process::Process;
use super::schemas::{self, Document, Schema, SchemaName};
use super::values::{Base64, Inodes, Time, WordSet};
use super::word::Changed;
use crate::model::{self, Difference, Pid, Root, Side, Text};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Namespaces and processes that appeared, disappeared or changed between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "nsprobe diff --json"))]
pub struct Diff<'a> {
    /// Name and version of the schema that this output follows.
    pub schema: SchemaName<'a>,
    /// Version of the nsprobe that compared the snapshots.
    pub version: Cow<'a, str>,
    /// Origin of the old snapshot.
    pub old: Origin<'a>,
    /// Origin of the new snapshot.
    pub new: Origin<'a>,
    /// True if both snapshots are from the same boot of the same machine. If false, they have nothing in common.
    pub same_boot: bool,
    /// True if no namespace or process appeared, disappeared, changed or is uncertain: all arrays in `namespaces` and
    /// `processes` are empty.
    pub equal: bool,
    /// Differences in namespaces.
    pub namespaces: Namespaces<'a>,
    /// Differences in processes, without kernel threads and the nsprobe processes that took the snapshots.
    pub processes: Processes<'a>,
    /// Differences in what the two snapshots could not read: gaps whose counts differ.
    pub visibility: Vec<VisibilityChange<'a>>,
}

impl Document for Diff<'_> {
    const SCHEMA: Schema = schemas::DIFF;
}

/// Origin of a snapshot: the machine and its boot, the time, and the nsprobe that took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Origin<'a> {
    /// Version of nsprobe.
    pub version: Cow<'a, str>,
    /// Release of the kernel, as in uname(2).
    pub kernel: Cow<'a, str>,
    /// Host name in the reader's uts namespace.
    pub hostname: Cow<'a, str>,
    /// All bytes of `hostname`, in which U+FFFD stands for bytes that are not UTF-8; absent if `hostname` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname_base64: Option<Base64<'a>>,
    /// Random id of this boot (/proc/sys/kernel/random/boot_id). Pids, start times and inodes of one boot mean nothing
    /// in another. Null if not readable.
    pub boot_id: Option<Cow<'a, str>>,
    /// Time at which the snapshot began, UTC.
    pub taken_at: Time,
    /// Pid of nsprobe in the /proc that was read. Null if not visible there.
    pub own_pid: Option<Pid>,
}

/// Differences in namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct Namespaces<'a> {
    /// Namespaces of the new snapshot that were not in the old one.
    pub came: Vec<Namespace<'a>>,
    /// Namespaces of the old snapshot that are not in the new one.
    pub went: Vec<Namespace<'a>>,
    /// Pairs of namespaces, one from each snapshot, that have the same kind and inode, without evidence that they are
    /// the same namespace or different ones.
    pub unsure: Vec<Unsure<'a>>,
    /// Namespaces of one snapshot that the other may have missed. They are in neither `came` nor `went`.
    pub unseen: Vec<UnseenNamespace<'a>>,
}

/// An inode that is in both snapshots and may belong to two different namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unsure<'a> {
    /// The namespace in the old snapshot.
    pub old: Namespace<'a>,
    /// The namespace in the new snapshot.
    pub new: Namespace<'a>,
}

/// A namespace that only one of the two snapshots shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnseenNamespace<'a> {
    /// The namespace in the old snapshot. Null if that snapshot does not show it.
    pub old: Option<Namespace<'a>>,
    /// The namespace in the new snapshot. Null if that snapshot does not show it.
    pub new: Option<Namespace<'a>>,
    /// Reason why the snapshot that does not show the namespace may have missed it.
    pub reason: Cow<'a, str>,
}

/// Differences in processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct Processes<'a> {
    /// Processes of the new snapshot that were not in the old one.
    pub came: Vec<Process<'a>>,
    /// Processes of the old snapshot that are not in the new one.
    pub went: Vec<Process<'a>>,
    /// Processes in both snapshots whose namespaces or root directory differ.
    pub changed: Vec<Moved<'a>>,
    /// Processes of one snapshot that the other may have missed. They are in neither `came` nor `went`.
    pub unseen: Vec<UnseenProcess<'a>>,
}

/// A process that only one of the two snapshots shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnseenProcess<'a> {
    /// The process in the old snapshot. Null if that snapshot does not show it.
    pub old: Option<Process<'a>>,
    /// The process in the new snapshot. Null if that snapshot does not show it.
    pub new: Option<Process<'a>>,
    /// Reason why the snapshot that does not show the process may have missed it.
    pub reason: Cow<'a, str>,
}

/// A process in both snapshots whose namespaces or root directory differ. `process` has its state in the new snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Moved<'a> {
    /// The process in the new snapshot.
    pub process: Process<'a>,
    /// Differences: the files of /proc/PID/ns that refer to a different namespace, and `root` if the root directory
    /// differs.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub changed: WordSet<'a, Changed>,
    /// Namespaces of the process in the old snapshot. Null if not readable.
    pub before: Option<Inodes>,
    /// Namespaces of the process in the new snapshot. Null if not readable. A different namespace may have the same
    /// inode as the one before.
    pub after: Option<Inodes>,
    /// Root directory of the process in the old snapshot. Null if the root directory has not changed.
    pub root_before: Option<Cow<'a, str>>,
    /// All bytes of `root_before`, in which U+FFFD stands for bytes that are not UTF-8; absent if `root_before` is all
    /// UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_before_base64: Option<Base64<'a>>,
    /// True if the root directory in the old snapshot had been deleted; `root_before` is then its former path. Null if
    /// the root directory has not changed.
    pub root_before_deleted: Option<bool>,
    /// Root directory of the process in the new snapshot. Null if the root directory has not changed.
    pub root_after: Option<Cow<'a, str>>,
    /// All bytes of `root_after`, in which U+FFFD stands for bytes that are not UTF-8; absent if `root_after` is all
    /// UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_after_base64: Option<Base64<'a>>,
    /// True if the root directory in the new snapshot had been deleted; `root_after` is then its former path. Null if
    /// the root directory has not changed.
    pub root_after_deleted: Option<bool>,
}

/// A gap whose count differs between the two snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VisibilityChange<'a> {
    /// Kind of the gap.
    pub kind: Cow<'a, str>,
    /// Reason for the gap.
    pub reason: Cow<'a, str>,
    /// Number of cases in the old snapshot.
    pub old: u64,
    /// Number of cases in the new snapshot.
    pub new: u64,
}

impl<'a> Diff<'a> {
    /// The document of a difference, made by this `version` of nsprobe.
    #[must_use]
    pub fn new(difference: &'a Difference<'a>, version: &'a str) -> Self {
        let of_old = |namespace| Namespace::new(namespace, &difference.old.snapshot);
        let of_new = |namespace| Namespace::new(namespace, &difference.new.snapshot);
        let unseen_namespace = |unseen: &'a model::Unseen<&'a model::Namespace>| {
            let (old, new) = match unseen.by {
                Side::New => (Some(of_old(unseen.what)), None),
                Side::Old => (None, Some(of_new(unseen.what))),
            };
            UnseenNamespace { old, new, reason: (&unseen.reason).into() }
        };
        Self {
            schema: schemas::DIFF.into(),
            version: version.into(),
            old: (&difference.old.origin).into(),
            new: (&difference.new.origin).into(),
            same_boot: difference.same_boot,
            equal: difference.is_empty(),
            namespaces: Namespaces {
                came: difference.came.iter().copied().map(of_new).collect(),
                went: difference.went.iter().copied().map(of_old).collect(),
                unsure: difference
                    .unsure
                    .iter()
                    .map(|(before, after)| Unsure { old: of_old(before), new: of_new(after) })
                    .collect(),
                unseen: difference.unseen.iter().map(unseen_namespace).collect(),
            },
            processes: Processes {
                came: difference.processes_came.iter().copied().map(Into::into).collect(),
                went: difference.processes_went.iter().copied().map(Into::into).collect(),
                changed: difference.processes_changed.iter().map(Into::into).collect(),
                unseen: difference.processes_unseen.iter().map(Into::into).collect(),
            },
            visibility: difference.visibility.iter().map(Into::into).collect(),
        }
    }
}

impl<'a> From<&'a model::Origin> for Origin<'a> {
    fn from(origin: &'a model::Origin) -> Self {
        Self {
            version: (&origin.version).into(),
            kernel: (&origin.kernel).into(),
            hostname: origin.hostname.lossy(),
            hostname_base64: Base64::of(&origin.hostname),
            boot_id: origin.boot_id.as_ref().map(Into::into),
            taken_at: Time(origin.taken_at),
            own_pid: origin.own_pid,
        }
    }
}

impl<'a> From<&'a model::Unseen<&'a model::Process>> for UnseenProcess<'a> {
    fn from(unseen: &'a model::Unseen<&'a model::Process>) -> Self {
        let (old, new) = match unseen.by {
            Side::New => (Some(unseen.what.into()), None),
            Side::Old => (None, Some(unseen.what.into())),
        };
        Self { old, new, reason: (&unseen.reason).into() }
    }
}

impl<'a> From<&'a model::Moved<'a>> for Moved<'a> {
    fn from(moved: &'a model::Moved<'a>) -> Self {
        let slots = moved.namespaces.iter().map(|(slot, ..)| Changed::Slot(*slot));
        let (before, after) = moved.root.unzip();
        let (before_path, after_path) = (before.and_then(Root::path), after.and_then(Root::path));
        Self {
            process: moved.new.into(),
            changed: WordSet(slots.chain(moved.root.map(|_| Changed::Root)).collect()),
            before: moved.old.namespaces.as_ref().map(Into::into),
            after: moved.new.namespaces.as_ref().map(Into::into),
            root_before: before_path.map(Text::lossy),
            root_before_base64: before_path.and_then(Base64::of),
            root_before_deleted: before.and_then(Root::is_deleted),
            root_after: after_path.map(Text::lossy),
            root_after_base64: after_path.and_then(Base64::of),
            root_after_deleted: after.and_then(Root::is_deleted),
        }
    }
}

impl<'a> From<&'a model::VisibilityChange> for VisibilityChange<'a> {
    fn from(change: &'a model::VisibilityChange) -> Self {
        Self {
            kind: (&change.kind).into(),
            reason: (&change.reason).into(),
            old: change.old,
            new: change.new,
        }
    }
}
