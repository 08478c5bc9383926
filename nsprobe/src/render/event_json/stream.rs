//! The lines about the stream itself: its start, its losses, its end.

use crate::document::schemas::{self, Schema};
use crate::model::{Loss, Lost, OwnerCgroup, Rebuilt, StreamEnd, StreamStart, Text};
use crate::render::bytes;
use crate::render::json::time;
use serde::Serialize;
use std::borrow::Cow;

#[derive(Serialize)]
pub(super) struct StartObject<'a> {
    schema: Schema,
    stream: &'a str,
    version: &'a str,
    kernel: &'a str,
    host: HostObject<'a>,
    namespaces: Vec<InitialObject>,
    source: SourceObject<'a>,
}

#[derive(Serialize)]
struct HostObject<'a> {
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    machine_id: Option<&'a str>,
    boot_id: Option<&'a str>,
}

/// The initial namespace of a kind.
#[derive(Serialize)]
struct InitialObject {
    kind: &'static str,
    ino: Option<u64>,
    key: Option<String>,
}

#[derive(Serialize)]
struct SourceObject<'a> {
    name: &'a str,
    reason: &'a str,
    attached: &'a [String],
    missing: &'a [String],
    unseen: &'a [String],
    cost: Option<&'a str>,
}

impl<'a> From<&'a StreamStart> for StartObject<'a> {
    fn from(start: &'a StreamStart) -> Self {
        let source = SourceObject {
            name: start.source.name,
            reason: &start.source.reason,
            attached: &start.source.attached,
            missing: &start.source.missing,
            unseen: &start.source.unseen,
            cost: start.source.cost,
        };
        let name = start.host.name.as_ref();
        let host = HostObject {
            name: name.map(Text::lossy),
            name_base64: name.and_then(bytes::base64),
            machine_id: start.host.machine_id.as_deref(),
            boot_id: start.host.boot_id.as_deref(),
        };
        let namespaces = start.namespaces.iter().map(|(kind, key)| InitialObject {
            kind: kind.name(),
            ino: key.map(|key| key.id.ino),
            key: key.map(|key| key.to_string()),
        });
        Self {
            schema: schemas::TRACE,
            stream: &start.stream,
            version: start.version,
            kernel: &start.kernel,
            host,
            namespaces: namespaces.collect(),
            source,
        }
    }
}

/// The number of owners that a line about a loss names.
const MAX_OWNERS: usize = 16;

/// The number of owners named in the totals of a stream.
const MAX_OWNERS_OF_TOTALS: usize = 64;

#[derive(Serialize)]
struct LostObject<'a> {
    stage: &'static str,
    count: u64,
    owners: Vec<OwnerObject<'a>>,
}

#[derive(Serialize)]
struct OwnerObject<'a> {
    uid: u32,
    cgroup: Option<OwnerCgroupObject<'a>>,
    count: u64,
}

#[derive(Serialize)]
struct OwnerCgroupObject<'a> {
    /// A string, because many JSON readers keep less than 64 bits of a number.
    id: String,
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
}

impl<'a> LostObject<'a> {
    /// With at most `most` owners, those who lost most.
    fn new(lost: &'a Lost, most: usize) -> Self {
        let cgroup = |cgroup: &'a OwnerCgroup| OwnerCgroupObject {
            id: cgroup.id.to_string(),
            path: cgroup.path.as_ref().map(Text::lossy),
            path_base64: cgroup.path.as_ref().and_then(bytes::base64),
        };
        let owners = lost.worst(most).into_iter().map(|owner| OwnerObject {
            uid: owner.uid,
            cgroup: owner.cgroup.as_ref().map(cgroup),
            count: owner.count,
        });
        Self { stage: lost.stage.name(), count: lost.count, owners: owners.collect() }
    }
}

#[derive(Serialize)]
pub(super) struct LossObject<'a> {
    #[serde(flatten)]
    lost: LostObject<'a>,
    since: String,
    after_seq: u64,
}

impl<'a> From<&'a Loss> for LossObject<'a> {
    fn from(loss: &'a Loss) -> Self {
        let lost = LostObject::new(&loss.lost, MAX_OWNERS);
        Self { lost, since: time(loss.since), after_seq: loss.after_seq }
    }
}

#[derive(Serialize)]
pub(super) struct RebuiltObject<'a> {
    namespaces: Option<ChangesObject>,
    followed: Option<u64>,
    failed: Option<&'a str>,
}

#[derive(Serialize)]
struct ChangesObject {
    ended: u64,
    found: u64,
}

impl<'a> From<&'a Rebuilt> for RebuiltObject<'a> {
    fn from(rebuilt: &'a Rebuilt) -> Self {
        let namespaces = rebuilt.namespaces.map(|it| ChangesObject { ended: it.ended, found: it.found });
        Self { namespaces, followed: rebuilt.followed, failed: rebuilt.failed.as_deref() }
    }
}

#[derive(Serialize)]
pub(super) struct EndObject<'a> {
    stream: &'a str,
    reason: &'a str,
    totals: TotalsObject<'a>,
}

#[derive(Serialize)]
struct TotalsObject<'a> {
    events: u64,
    lost: Vec<LostObject<'a>>,
    late: u64,
    unevaluated: u64,
}

impl<'a> From<&'a StreamEnd> for EndObject<'a> {
    fn from(end: &'a StreamEnd) -> Self {
        let totals = &end.totals;
        let lost = totals.lost.iter().map(|lost| LostObject::new(lost, MAX_OWNERS_OF_TOTALS)).collect();
        let totals =
            TotalsObject { events: totals.events, lost, late: totals.late, unevaluated: totals.unevaluated };
        Self { stream: &end.stream, reason: &end.reason, totals }
    }
}
