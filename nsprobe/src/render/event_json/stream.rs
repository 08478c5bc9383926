//! What the stream says of itself: its start, its losses, its end.

use crate::model::{Loss, Lost, Rebuilt, StreamEnd, StreamStart};
use crate::render::json::time;
use crate::render::schemas::{self, Schema};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct StartObject<'a> {
    schema: Schema,
    version: &'a str,
    kernel: &'a str,
    hooks: HooksObject<'a>,
}

#[derive(Serialize)]
struct HooksObject<'a> {
    plan: &'a str,
    reason: &'a str,
    attached: &'a [String],
    missing: &'a [String],
    unseen: &'a [String],
    cost: Option<&'a str>,
}

impl<'a> From<&'a StreamStart> for StartObject<'a> {
    fn from(start: &'a StreamStart) -> Self {
        let hooks = HooksObject {
            plan: start.hooks.plan,
            reason: &start.hooks.reason,
            attached: &start.hooks.attached,
            missing: &start.hooks.missing,
            unseen: &start.hooks.unseen,
            cost: start.hooks.cost,
        };
        Self { schema: schemas::TRACE, version: start.version, kernel: &start.kernel, hooks }
    }
}

#[derive(Serialize)]
struct LostObject {
    stage: &'static str,
    count: u64,
}

impl From<&Lost> for LostObject {
    fn from(lost: &Lost) -> Self {
        Self { stage: lost.stage, count: lost.count }
    }
}

#[derive(Serialize)]
pub(super) struct LossObject {
    #[serde(flatten)]
    lost: LostObject,
    since: String,
    after_seq: u64,
}

impl From<&Loss> for LossObject {
    fn from(loss: &Loss) -> Self {
        Self { lost: (&loss.lost).into(), since: time(loss.since), after_seq: loss.after_seq }
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
    reason: &'a str,
    totals: TotalsObject,
}

#[derive(Serialize)]
struct TotalsObject {
    events: u64,
    lost: Vec<LostObject>,
    late: u64,
    unevaluated: u64,
}

impl<'a> From<&'a StreamEnd> for EndObject<'a> {
    fn from(end: &'a StreamEnd) -> Self {
        let totals = &end.totals;
        let lost = totals.lost.iter().map(Into::into).collect();
        let totals =
            TotalsObject { events: totals.events, lost, late: totals.late, unevaluated: totals.unevaluated };
        Self { reason: &end.reason, totals }
    }
}
