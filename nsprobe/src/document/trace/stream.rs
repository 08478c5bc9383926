//! The lines about the stream itself: its start, its losses, its end.

use super::namespaces::{self, Keys, Namespaces};
use super::tag;
use super::text::{BootId, MachineId, StreamId};
use crate::document::schemas::{self, SchemaName};
use crate::document::values::{Base64, Decimal, Time};
use crate::model::{self, Loss, StreamEnd, StreamStart, Text};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// First line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Start<'a> {
    /// Type of the line.
    #[serde(rename = "type")]
    pub line: tag::Start,
    /// Time at which the line was written. UTC, from a clock that never steps back.
    pub time: Time,
    /// Sequence number of the line: 0.
    pub seq: u64,
    /// Name and version of the schema that this output follows.
    pub schema: SchemaName<'a>,
    /// Id of the stream, a random UUID that no other stream has. With `seq`, it identifies a line for good. The first
    /// and the last line have it.
    pub stream: StreamId<'a>,
    /// Version of nsprobe.
    pub version: Cow<'a, str>,
    /// Release of the kernel, as in uname(2).
    pub kernel: Cow<'a, str>,
    /// The machine.
    pub host: Host<'a>,
    /// Initial namespace of each kind, by inode: the namespaces of kthreadd, the kernel thread with pid 2. Null if
    /// unknown: without privileges, or if nsprobe runs in a pid namespace other than the initial one.
    pub namespaces: Namespaces,
    /// Keys of the initial namespaces, as in the other documents; absent where the namespace is unknown.
    pub keys: Keys<'a>,
    /// Source of the events.
    pub source: Source<'a>,
}

/// A machine, and its current boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct Host<'a> {
    /// Host name in the uts namespace of nsprobe, as in uname(2). Null if unknown or empty.
    pub name: Option<Cow<'a, str>>,
    /// All bytes of `name`, in which U+FFFD stands for bytes that are not UTF-8; absent if `name` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_base64: Option<Base64<'a>>,
    /// Content of /etc/machine-id. Null if the file does not exist or contains no id.
    pub machine_id: Option<MachineId<'a>>,
    /// Random id of this boot (/proc/sys/kernel/random/boot_id). Null if not readable.
    pub boot_id: Option<BootId<'a>>,
}

/// The source of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct Source<'a> {
    /// Value of --source: BPF on kernel functions (fentry with fexit, or fprobes) or on tracepoints; perf, records of
    /// perf_event_open(2); proc, repeated scans of /proc.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["fentry", "fprobes", "tracepoints", "perf", "proc"])))]
    pub name: Cow<'a, str>,
    /// Reason for using this source and not a better one.
    pub reason: Cow<'a, str>,
    /// Hooks that were attached, for example fentry/ksys_unshare or perf/namespaces; with proc, the files that are read.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub attached: Cow<'a, [String]>,
    /// Data that this source cannot report on this kernel, with the reason.
    pub missing: Cow<'a, [String]>,
    /// Data that this source cannot report, whatever the privileges.
    pub unseen: Cow<'a, [String]>,
    /// Cost to every system call on the machine, whichever process makes the call. Null if none.
    pub cost: Option<Cow<'a, str>>,
}

impl<'a> Start<'a> {
    pub(super) fn new(time: Time, seq: u64, start: &'a StreamStart) -> Self {
        let (host, source) = (&start.host, &start.source);
        Self {
            line: tag::Start::Tag,
            time,
            seq,
            schema: schemas::TRACE.into(),
            stream: StreamId((&start.stream).into()),
            version: start.version.into(),
            kernel: (&start.kernel).into(),
            host: Host {
                name: host.name.as_ref().map(Text::lossy),
                name_base64: host.name.as_ref().and_then(Base64::of),
                machine_id: host.machine_id.as_ref().map(|id| MachineId(id.into())),
                boot_id: host.boot_id.as_ref().map(|id| BootId(id.into())),
            },
            namespaces: (&namespaces::initial(&start.namespaces)).into(),
            keys: namespaces::initial_keys(&start.namespaces),
            source: Source {
                name: source.name.into(),
                reason: (&source.reason).into(),
                attached: (&source.attached).into(),
                missing: (&source.missing).into(),
                unseen: (&source.unseen).into(),
                cost: source.cost.map(Into::into),
            },
        }
    }
}

/// The number of owners that a line about a loss names.
const MAX_OWNERS: usize = 16;

/// The number of owners named in the totals of a stream.
const MAX_OWNERS_OF_TOTALS: usize = 64;

/// A user and a control group whose events were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Owner<'a> {
    /// User to whom the events were charged, as a user id in the initial user namespace: the owner of the outermost user
    /// namespace below the initial one that the caller was in; the caller's real user id if it was in none, or if root
    /// created that namespace.
    pub uid: u32,
    /// Path, from the root of the hierarchy, of the control group to which the events were charged: the caller's or, if
    /// root does not own that one, the topmost of its ancestors below the nearest one that root owns. Null if `cgroup_id`
    /// is, if the group is gone, or if its path cannot be found.
    pub cgroup: Option<Cow<'a, str>>,
    /// All bytes of `cgroup`, in which U+FFFD stands for bytes that are not UTF-8; absent if `cgroup` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_base64: Option<Base64<'a>>,
    /// Id of that control group: the inode of its directory (64 bits). Null without control groups, or if the caller's is
    /// more than 32 levels below the nearest one that root owns.
    pub cgroup_id: Option<Decimal>,
    /// Number of lost events.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub count: u64,
}

/// Those who lost most, at most `most`.
fn owners(lost: &model::Lost, most: usize) -> Vec<Owner<'_>> {
    let owners = lost.worst(most).into_iter().map(|owner| {
        let cgroup = owner.cgroup.as_ref();
        let path = cgroup.and_then(|cgroup| cgroup.path.as_ref());
        Owner {
            uid: owner.uid,
            cgroup: path.map(Text::lossy),
            cgroup_base64: path.and_then(Base64::of),
            cgroup_id: cgroup.map(|cgroup| Decimal(cgroup.id)),
            count: owner.count,
        }
    });
    owners.collect()
}

/// Events were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lost<'a> {
    /// Type of the line.
    #[serde(rename = "type")]
    pub line: tag::Lost,
    /// Time at which the line was written. UTC, from a clock that never steps back.
    pub time: Time,
    /// Sequence number of the line, from 0. Missing sequence numbers are lines that were not received.
    pub seq: u64,
    /// Stage at which they were lost. ring_full: the buffer had no room. share: the buffer was more than half full, and
    /// the user or the control group had used up its share of the buffer. perf_ring_full: the buffer of perf had no room;
    /// counted in records, most of which would not have been events. pending_full: no memory for a call in progress.
    /// follow_full: the probe's table of followed tasks was full. namespaces_full: the probe's table of namespaces was
    /// full, so the end of a namespace may not be reported. denied_full: calls that failed, where it is unknown whether
    /// seccomp stopped them, because the table for this was full. denied_unread: calls stopped by seccomp whose arguments
    /// were not found. calls_full (before Linux 5.13): calls that were reported, but without root and working directory
    /// from before, because a table of the probe was full, or because the user or the control group had used up its share
    /// of that table. recursion: the kernel did not run a program of the probe. decode: a record could not be decoded.
    /// output_full: the reader did not read, and the queue had no room. output_full_lifecycle: the same, for `created`
    /// and `destroyed` lines. sink: the output failed.
    pub stage: Cow<'a, str>,
    /// Number of events lost at this stage since its previous `lost` line.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub count: u64,
    /// Owners of the lost events, at most 16, those with the most losses first; empty if no owner is known. The rest of
    /// `count` has other or unknown owners.
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub owners: Vec<Owner<'a>>,
    /// Time of the previous count of losses at this stage: the events were lost between then and `time`.
    pub since: Time,
    /// Sequence number of the last line written at the time `since`: the lost events belong between that line and this
    /// one.
    pub after_seq: u64,
}

impl<'a> Lost<'a> {
    pub(super) fn new(time: Time, seq: u64, loss: &'a Loss) -> Self {
        Self {
            line: tag::Lost::Tag,
            time,
            seq,
            stage: loss.lost.stage.name().into(),
            count: loss.lost.count,
            owners: owners(&loss.lost, MAX_OWNERS),
            since: Time(loss.since),
            after_seq: loss.after_seq,
        }
    }
}

/// Result of a resync after a loss. The lines that follow are correct again, except for what `failed` reports. The lines
/// before it report the namespaces counted here. A `rebuilt` line without a loss reports that the first snapshot of
/// --lifecycle took too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rebuilt<'a> {
    /// Type of the line.
    #[serde(rename = "type")]
    pub line: tag::Rebuilt,
    /// Time at which the line was written. UTC, from a clock that never steps back.
    pub time: Time,
    /// Sequence number of the line, from 0. Missing sequence numbers are lines that were not received.
    pub seq: u64,
    /// Number of reported namespaces whose end was not seen. Null without --lifecycle, or if the resync of the table of
    /// namespaces failed.
    pub ended: Option<u64>,
    /// Number of namespaces that were not known before. Null if `ended` is.
    pub found: Option<u64>,
    /// Number of descendants of COMMAND or of the requested process that had not been followed, and are from now on. Null
    /// if no tasks are followed, if the search for descendants failed, or in a line without a loss. A task whose parent
    /// has ended is not found again.
    pub followed: Option<u64>,
    /// Parts of the resync that failed, and the reasons; the field of a failed part is null. The resync is retried as
    /// long as the stream goes on. Null if nothing failed.
    pub failed: Option<Cow<'a, str>>,
}

impl<'a> Rebuilt<'a> {
    pub(super) fn new(time: Time, seq: u64, rebuilt: &'a model::Rebuilt) -> Self {
        Self {
            line: tag::Rebuilt::Tag,
            time,
            seq,
            ended: rebuilt.namespaces.map(|changes| changes.ended),
            found: rebuilt.namespaces.map(|changes| changes.found),
            followed: rebuilt.followed,
            failed: rebuilt.failed.as_ref().map(Into::into),
        }
    }
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct End<'a> {
    /// Type of the line.
    #[serde(rename = "type")]
    pub line: tag::End,
    /// Time at which the line was written. UTC, from a clock that never steps back.
    pub time: Time,
    /// Sequence number of the line, from 0. Missing sequence numbers are lines that were not received.
    pub seq: u64,
    /// Id of the stream, as in the `start` line.
    pub stream: StreamId<'a>,
    /// Reason for the end of the stream: `command ended`, `command not started`, `count`, `duration`, `interrupted`,
    /// `output closed`; `error: …` if something went wrong.
    pub reason: Cow<'a, str>,
    /// Counts over the whole stream.
    pub totals: Totals<'a>,
}

/// Counts over a whole stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct Totals<'a> {
    /// Events that were written.
    pub events: u64,
    /// Events that were lost, by stage; empty if none were.
    pub lost: Vec<LostCount<'a>>,
    /// Events and ends of namespaces that arrived too late to be put in order: one with a later time had been passed on
    /// before. The time of their line is earlier than that of a previous one.
    pub late: u64,
    /// Events for which the expression of --filter could not be evaluated (a division by zero, an index beyond the end of
    /// a list). They have no line, and are not counted in `events`.
    pub unevaluated: u64,
}

/// Events that were lost at a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LostCount<'a> {
    /// Stage at which they were lost: ring_full and so on, as in the lines of type `lost`.
    pub stage: Cow<'a, str>,
    /// Number of lost events.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub count: u64,
    /// Owners of the lost events, at most 64, those with the most losses first; empty if no owner is known. The rest of
    /// `count` has other or unknown owners.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub owners: Vec<Owner<'a>>,
}

impl<'a> End<'a> {
    pub(super) fn new(time: Time, seq: u64, end: &'a StreamEnd) -> Self {
        let totals = &end.totals;
        let lost = totals.lost.iter().map(|lost| LostCount {
            stage: lost.stage.name().into(),
            count: lost.count,
            owners: owners(lost, MAX_OWNERS_OF_TOTALS),
        });
        Self {
            line: tag::End::Tag,
            time,
            seq,
            stream: StreamId((&end.stream).into()),
            reason: end.reason.as_ref().into(),
            totals: Totals {
                events: totals.events,
                lost: lost.collect(),
                late: totals.late,
                unevaluated: totals.unevaluated,
            },
        }
    }
}
