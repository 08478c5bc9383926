//! The stream of `nsprobe trace --json`: one object a line.
//!
//! Every line has `type`, `time` (RFC 3339, nanoseconds, UTC) and `seq`.

use crate::model::{
    Actor, Body, Cgroup, CloneChild, Created, Crossing, Destroyed, Directory, Event, Line, Lost, NsId,
    Outcome, PathText, Place, SetnsTarget, StreamEnd, StreamStart, clone_flag_names,
};
use crate::render::json::{SlotsObject, time};
use crate::render::schemas::{self, Schema};
use nix::errno::Errno;
use serde::Serialize;
use std::io::{self, Write};

/// Writes one line of the stream.
pub fn write(line: &Line, out: &mut impl Write) -> io::Result<()> {
    let (kind, body) = match &line.body {
        Body::Start(start) => ("start", BodyObject::Start(start.into())),
        Body::Event(event) => ("event", BodyObject::Event(Box::new(event.as_ref().into()))),
        Body::Created(created) => ("created", BodyObject::Created(created.into())),
        Body::Destroyed(destroyed) => ("destroyed", BodyObject::Destroyed(destroyed.into())),
        Body::Lost(lost) => ("lost", BodyObject::Lost(lost.into())),
        Body::End(end) => ("end", BodyObject::End(end.into())),
    };
    serde_json::to_writer(
        &mut *out,
        &LineObject { r#type: kind, time: time(line.time), seq: line.seq, body },
    )?;
    writeln!(out)
}

#[derive(Serialize)]
struct LineObject<'a> {
    r#type: &'static str,
    time: String,
    seq: u64,
    #[serde(flatten)]
    body: BodyObject<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BodyObject<'a> {
    Start(StartObject<'a>),
    Event(Box<EventObject<'a>>),
    Created(CreatedObject),
    Destroyed(DestroyedObject),
    Lost(LostObject),
    End(EndObject),
}

#[derive(Serialize)]
struct StartObject<'a> {
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
}

impl<'a> From<&'a StreamStart> for StartObject<'a> {
    fn from(start: &'a StreamStart) -> Self {
        let hooks = HooksObject {
            plan: start.hooks.plan,
            reason: &start.hooks.reason,
            attached: &start.hooks.attached,
            missing: &start.hooks.missing,
            unseen: &start.hooks.unseen,
        };
        Self { schema: schemas::TRACE, version: start.version, kernel: &start.kernel, hooks }
    }
}

#[derive(Serialize)]
struct CreatedObject {
    namespace: NamespaceObject,
    owner: Option<u64>,
    by: &'static str,
    pid: u32,
}

impl From<&Created> for CreatedObject {
    fn from(created: &Created) -> Self {
        let owner = created.owner.map(|owner| owner.ino);
        Self { namespace: (&created.id).into(), owner, by: created.by, pid: created.pid }
    }
}

#[derive(Serialize)]
struct DestroyedObject {
    namespace: NamespaceObject,
    age_ns: Option<u64>,
}

impl From<&Destroyed> for DestroyedObject {
    fn from(destroyed: &Destroyed) -> Self {
        let age_ns = destroyed.age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        Self { namespace: (&destroyed.id).into(), age_ns }
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
struct EndObject {
    reason: &'static str,
    totals: TotalsObject,
}

#[derive(Serialize)]
struct TotalsObject {
    events: u64,
    lost: Vec<LostObject>,
}

impl From<&StreamEnd> for EndObject {
    fn from(end: &StreamEnd) -> Self {
        let lost = end.totals.lost.iter().map(Into::into).collect();
        Self { reason: end.reason, totals: TotalsObject { events: end.totals.events, lost } }
    }
}

#[derive(Serialize)]
struct EventObject<'a> {
    event: &'static str,
    abi: &'static str,
    process: ProcessObject<'a>,
    args: ArgsObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<TargetObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<ChildObject<'a>>,
    result: i64,
    errno: Option<String>,
    duration_ns: Option<u64>,
    changed: Vec<&'static str>,
    before: SlotsObject<'a>,
    after: SlotsObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<DirectoryObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<DirectoryObject<'a>>,
}

#[derive(Serialize)]
struct DirectoryObject<'a> {
    before: PlaceObject<'a>,
    after: PlaceObject<'a>,
}

impl<'a> From<&'a Directory> for DirectoryObject<'a> {
    fn from(directory: &'a Directory) -> Self {
        Self { before: (&directory.before).into(), after: (&directory.after).into() }
    }
}

#[derive(Serialize)]
struct PlaceObject<'a> {
    path: &'a str,
    cut: bool,
    detached: bool,
}

impl<'a> From<&'a Place> for PlaceObject<'a> {
    fn from(place: &'a Place) -> Self {
        Self { path: &place.path, cut: place.cut, detached: place.detached }
    }
}

#[derive(Serialize)]
struct ProcessObject<'a> {
    pid: u32,
    tid: u32,
    ppid: u32,
    pid_inside: u32,
    pids: &'a [u32],
    comm: &'a str,
    uid: u32,
    gid: u32,
    euid: u32,
    cap_effective: String,
    start_ticks: u64,
    exe: Option<PlaceObject<'a>>,
    command_line: Option<&'a str>,
    command_line_cut: bool,
    cgroup: Option<CgroupObject<'a>>,
}

#[derive(Serialize)]
struct CgroupObject<'a> {
    id: String,
    path: &'a str,
    cut: bool,
}

impl<'a> From<&'a Cgroup> for CgroupObject<'a> {
    fn from(cgroup: &'a Cgroup) -> Self {
        Self { id: cgroup.id.to_string(), path: &cgroup.path, cut: cgroup.cut }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ArgsObject<'a> {
    Flags { flags: Vec<String> },
    Setns { fd: i32, nstype: Vec<String> },
    Chroot { path: PathObject<'a> },
    PivotRoot { new_root: ResolvedObject<'a>, put_old: ResolvedObject<'a> },
}

/// A path, and what the kernel resolved it to.
#[derive(Serialize)]
struct ResolvedObject<'a> {
    #[serde(flatten)]
    path: PathObject<'a>,
    resolved: Option<PlaceObject<'a>>,
}

impl<'a> ResolvedObject<'a> {
    fn new(path: &'a PathText, at: Option<&'a Place>) -> Self {
        Self { path: path.into(), resolved: at.map(Into::into) }
    }
}

/// A path with what is known of its completeness; `null` when it could not be read.
#[derive(Serialize)]
struct PathObject<'a> {
    path: Option<&'a str>,
    cut: bool,
}

impl<'a> From<&'a PathText> for PathObject<'a> {
    fn from(path: &'a PathText) -> Self {
        match path {
            PathText::Whole(path) => Self { path: Some(path), cut: false },
            PathText::Cut(path) => Self { path: Some(path), cut: true },
            PathText::Unreadable => Self { path: None, cut: false },
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum TargetObject<'a> {
    Namespace { kind: &'static str, ino: u64, kernel_id: Option<String>, path: Option<String> },
    Process { pid: u32, tid: u32, comm: Option<&'a str>, namespaces: Vec<NamespaceObject> },
}

#[derive(Serialize)]
struct NamespaceObject {
    kind: &'static str,
    ino: u64,
}

impl From<&NsId> for NamespaceObject {
    fn from(id: &NsId) -> Self {
        Self { kind: id.kind.name(), ino: id.ino }
    }
}

impl<'a> From<&'a SetnsTarget> for TargetObject<'a> {
    fn from(target: &'a SetnsTarget) -> Self {
        match target {
            SetnsTarget::Namespace { id, kernel_id, path } => Self::Namespace {
                kind: id.kind.name(),
                ino: id.ino,
                kernel_id: kernel_id.map(|id| id.to_string()),
                path: path.as_ref().map(|path| path.to_string_lossy().into_owned()),
            },
            SetnsTarget::Process { pid, tid, comm, namespaces } => Self::Process {
                pid: *pid,
                tid: *tid,
                comm: comm.as_deref(),
                namespaces: namespaces.iter().map(Into::into).collect(),
            },
        }
    }
}

#[derive(Serialize)]
struct ChildObject<'a> {
    pid: u32,
    tid: u32,
    pid_inside: u32,
    pids: &'a [u32],
}

impl<'a> From<&'a Actor> for ProcessObject<'a> {
    fn from(actor: &'a Actor) -> Self {
        Self {
            pid: actor.pid,
            tid: actor.tid,
            ppid: actor.ppid,
            pid_inside: actor.pids.last().copied().unwrap_or(actor.pid),
            pids: &actor.pids,
            comm: &actor.comm,
            uid: actor.uid,
            gid: actor.gid,
            euid: actor.euid,
            cap_effective: format!("{:016x}", actor.cap_effective),
            start_ticks: actor.start_ticks,
            exe: actor.exe.as_ref().map(Into::into),
            command_line: actor.command_line.as_ref().map(|line| line.text.as_str()),
            command_line_cut: actor.command_line.as_ref().is_some_and(|line| line.cut),
            cgroup: actor.cgroup.as_ref().map(Into::into),
        }
    }
}

impl<'a> From<&'a CloneChild> for ChildObject<'a> {
    fn from(child: &'a CloneChild) -> Self {
        let pid_inside = child.pids.last().copied().unwrap_or(child.tid);
        Self { pid: child.pid, tid: child.tid, pid_inside, pids: &child.pids }
    }
}

impl<'a> From<&'a Crossing> for ArgsObject<'a> {
    fn from(crossing: &'a Crossing) -> Self {
        match crossing {
            Crossing::Clone { flags, .. } | Crossing::Unshare { flags } => {
                Self::Flags { flags: clone_flag_names(*flags) }
            }
            Crossing::Setns { fd, nstype, .. } => Self::Setns { fd: *fd, nstype: clone_flag_names(*nstype) },
            Crossing::Chroot { path } => Self::Chroot { path: path.into() },
            Crossing::PivotRoot { new_root, put_old, new_root_at, put_old_at } => Self::PivotRoot {
                new_root: ResolvedObject::new(new_root, new_root_at.as_ref()),
                put_old: ResolvedObject::new(put_old, put_old_at.as_ref()),
            },
        }
    }
}

impl<'a> From<&'a Event> for EventObject<'a> {
    fn from(event: &'a Event) -> Self {
        let (result, errno) = match event.outcome {
            Outcome::Success(result) => (result, None),
            Outcome::Failure(errno) => (-1, Some(errno_name(errno))),
        };
        let (target, child) = match &event.crossing {
            Crossing::Setns { target, .. } => (target.as_ref(), None),
            Crossing::Clone { child, .. } => (None, child.as_ref()),
            _ => (None, None),
        };
        let duration_ns =
            event.duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        Self {
            event: event.crossing.name(),
            abi: event.abi(),
            process: (&event.process).into(),
            args: (&event.crossing).into(),
            target: target.map(Into::into),
            child: child.map(Into::into),
            result,
            errno,
            duration_ns,
            changed: event.changed().collect(),
            before: SlotsObject(&event.before),
            after: SlotsObject(&event.after),
            root: event.root.as_ref().map(Into::into),
            cwd: event.cwd.as_ref().map(Into::into),
        }
    }
}

/// `EPERM`; a number that has no name is given as such.
pub(super) fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests;
