//! The creation and the destruction of namespaces.

use super::tag;
use super::text::Key;
use crate::document::values::{Decimal, Time};
use crate::document::word::Word;
use crate::model::{self, NsKey, NsKind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A namespace, from its creation to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyedNamespace<'a> {
    /// Kind of namespace, as in namespaces(7).
    pub kind: Word<NsKind>,
    /// Inode of the namespace while it exists.
    pub ino: u64,
    /// The kernel's own 64-bit id of the namespace (Linux 6.18), unique within a boot. Null if the kernel has none, or
    /// if the source did not see it (perf, proc).
    pub kernel_id: Option<Decimal>,
    /// Key of the namespace, as in `keys` of an event.
    pub key: Key<'a>,
}

impl From<NsKey> for KeyedNamespace<'_> {
    fn from(key: NsKey) -> Self {
        Self {
            kind: Word(key.id.kind),
            ino: key.id.ino,
            kernel_id: key.mark.kernel_id().map(Decimal),
            key: key.into(),
        }
    }
}

/// With --lifecycle: a namespace that the call of the preceding event created, or one that is reported for the first
/// time because it is older than the stream or its creation was not seen. The filters may have excluded the event of
/// that call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Created<'a> {
    /// Type of the line.
    #[serde(rename = "type")]
    pub line: tag::Created,
    /// Time of the call; the time at which the line was written for a namespace found in a snapshot. UTC, from a clock
    /// that never steps back.
    pub time: Time,
    /// Sequence number of the line, from 0. Missing sequence numbers are lines that were not received.
    pub seq: u64,
    /// The namespace.
    pub namespace: KeyedNamespace<'a>,
    /// Inode of the user namespace that owns the namespace; of a user namespace, its parent. Null if unknown.
    pub owner: Option<u64>,
    /// Key of the owner. Null if unknown.
    pub owner_key: Option<Key<'a>>,
    /// Call that created the namespace; `first seen` if that call was not seen.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["clone", "unshare", "first seen"])))]
    pub by: Cow<'a, str>,
    /// Process that made the call, in the initial pid namespace. Null if the call was not seen.
    pub pid: Option<u32>,
}

impl Created<'_> {
    pub(super) fn new(time: Time, seq: u64, created: &model::Created) -> Self {
        Self {
            line: tag::Created::Tag,
            time,
            seq,
            namespace: created.namespace.into(),
            owner: created.owner.map(|owner| owner.id.ino),
            owner_key: created.owner.map(Into::into),
            by: created.by.name().into(),
            pid: created.by.pid(),
        }
    }
}

/// With --lifecycle: the end of a namespace that was reported; the kernel may reuse its inode. Sources with hooks on
/// kernel functions (fentry, fprobes) see the end itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Destroyed<'a> {
    /// Type of the line.
    #[serde(rename = "type")]
    pub line: tag::Destroyed,
    /// Time of the end, or at which the line was written if `seen` is false. UTC, from a clock that never steps back.
    pub time: Time,
    /// Sequence number of the line, from 0. Missing sequence numbers are lines that were not received.
    pub seq: u64,
    /// The namespace.
    pub namespace: KeyedNamespace<'a>,
    /// Lifetime of the namespace, in nanoseconds. Null if its creation or its end was not seen.
    pub age_ns: Option<u64>,
    /// True if the end itself was seen: `time` is the time of the end. If false, the end was earlier than `time`:
    /// another namespace had the inode by then, or the end was missed because of a loss.
    pub seen: bool,
}

impl Destroyed<'_> {
    pub(super) fn new(time: Time, seq: u64, destroyed: &model::Destroyed) -> Self {
        Self {
            line: tag::Destroyed::Tag,
            time,
            seq,
            namespace: destroyed.namespace.into(),
            age_ns: destroyed.age.map(super::fields::nanoseconds),
            seen: destroyed.seen,
        }
    }
}
