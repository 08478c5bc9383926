//! The stream of `nsprobe trace --json`: one object per line.
//!
//! Every line has `type`, `time` (RFC 3339, nanoseconds, UTC) and `seq`.

mod lifecycle;
mod process;
mod stream;

use crate::model::{
    Body, Directory, Event, Line, NsId, Operation, Outcome, PathText, ResolvedPath, Scans, Seen, SetnsTarget,
    Text, errno_name,
};
use crate::render::bytes;
use crate::render::json::{SlotsObject, time};
use lifecycle::{CreatedObject, DestroyedObject, KeysObject};
use process::{ChildObject, ProcessObject, ResolvedPathObject};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};
use stream::{EndObject, LossObject, RebuiltObject, StartObject};

/// Writes one line of the stream.
pub fn write(line: &Line, out: &mut impl Write) -> io::Result<()> {
    let mut text = match &line.body {
        Body::Start(start) => object("start", line, &StartObject::from(start)),
        Body::Event(event) => object("event", line, &EventObject::from(event.as_ref())),
        Body::Created(created) => object("created", line, &CreatedObject::from(created)),
        Body::Destroyed(destroyed) => object("destroyed", line, &DestroyedObject::from(destroyed)),
        Body::Lost(loss) => object("lost", line, &LossObject::from(loss)),
        Body::Rebuilt(rebuilt) => object("rebuilt", line, &RebuiltObject::from(rebuilt)),
        Body::End(end) => object("end", line, &EndObject::from(end)),
    }?;
    text.push(b'\n');
    // In one write: the serializer hands over a few bytes at a time.
    out.write_all(&text)
}

/// The object of a line: the fields that all lines have, then those of `body`. Not by serde's `flatten`, which takes
/// half as long again.
fn object(kind: &str, line: &Line, body: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(2048);
    write!(text, r#"{{"type":"{kind}","time":"{}","seq":{}"#, time(line.time), line.seq)?;
    let brace = text.len();
    bytes::to_writer(&mut text, body)?;
    text[brace] = b',';
    Ok(text)
}

#[derive(Serialize)]
struct EventObject<'a> {
    event: &'static str,
    abi: Option<&'static str>,
    process: ProcessObject<'a>,
    args: Option<ArgsObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scans: Option<ScansObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<TargetObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<ChildObject<'a>>,
    result: Option<i64>,
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<&'static str>,
    duration_ns: Option<u64>,
    changed: Vec<&'static str>,
    before: SlotsObject<'a>,
    after: SlotsObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<KeysObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<DirectoryObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<DirectoryObject<'a>>,
}

#[derive(Serialize)]
struct ScansObject {
    within_ns: u64,
    new_process: bool,
}

impl From<&Scans> for ScansObject {
    fn from(scans: &Scans) -> Self {
        let within_ns = u64::try_from(scans.within.as_nanos()).unwrap_or(u64::MAX);
        Self { within_ns, new_process: scans.is_new }
    }
}

#[derive(Serialize)]
struct DirectoryObject<'a> {
    before: ResolvedPathObject<'a>,
    after: ResolvedPathObject<'a>,
}

impl<'a> From<&'a Directory> for DirectoryObject<'a> {
    fn from(directory: &'a Directory) -> Self {
        Self { before: (&directory.before).into(), after: (&directory.after).into() }
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
    resolved: Option<ResolvedPathObject<'a>>,
}

impl<'a> ResolvedObject<'a> {
    fn new(path: &'a PathText, at: Option<&'a ResolvedPath>) -> Self {
        Self { path: path.into(), resolved: at.map(Into::into) }
    }
}

/// A path, and whether it was cut; `null` if it could not be read.
#[derive(Serialize)]
struct PathObject<'a> {
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    cut: bool,
}

impl<'a> From<&'a PathText> for PathObject<'a> {
    fn from(path: &'a PathText) -> Self {
        let (path, cut) = match path {
            PathText::Whole(path) => (Some(path), false),
            PathText::Cut(path) => (Some(path), true),
            PathText::Unreadable => (None, false),
        };
        Self { path: path.map(Text::lossy), path_base64: path.and_then(bytes::base64), cut }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum TargetObject<'a> {
    Namespace {
        kind: &'static str,
        ino: u64,
        kernel_id: Option<String>,
        path: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path_base64: Option<String>,
    },
    Process {
        pid: u32,
        tid: u32,
        comm: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        comm_base64: Option<String>,
        namespaces: Vec<NamespaceObject>,
    },
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
                path: path.as_ref().map(Text::lossy),
                path_base64: path.as_ref().and_then(bytes::base64),
            },
            SetnsTarget::Process { pid, tid, comm, namespaces } => Self::Process {
                pid: *pid,
                tid: *tid,
                comm: comm.as_ref().map(Text::lossy),
                comm_base64: comm.as_ref().and_then(bytes::base64),
                namespaces: namespaces.iter().map(Into::into).collect(),
            },
        }
    }
}

impl<'a> ArgsObject<'a> {
    /// The arguments; `None` if they are not known.
    fn new(operation: &'a Operation) -> Option<Self> {
        Some(match operation {
            Operation::Clone { flags: None, .. } | Operation::Change { .. } => return None,
            Operation::Clone { flags: Some(_), .. } | Operation::Unshare { .. } => {
                Self::Flags { flags: operation.flag_names().unwrap_or_default() }
            }
            Operation::Setns { fd, .. } => {
                Self::Setns { fd: *fd, nstype: operation.flag_names().unwrap_or_default() }
            }
            Operation::Chroot { path } => Self::Chroot { path: path.into() },
            Operation::PivotRoot { new_root, put_old, new_root_at, put_old_at } => Self::PivotRoot {
                new_root: ResolvedObject::new(new_root, new_root_at.as_ref()),
                put_old: ResolvedObject::new(put_old, put_old_at.as_ref()),
            },
        })
    }
}

impl<'a> From<&'a Event> for EventObject<'a> {
    fn from(event: &'a Event) -> Self {
        let (result, errno, restarted) = match event.outcome {
            Outcome::Success(result) => (Some(result), None, None),
            Outcome::Failure(errno) => (Some(-1), Some(errno_name(errno)), None),
            Outcome::Restarted(errno) => (None, None, Some(errno_name(errno))),
            Outcome::Unseen => (None, None, None),
        };
        let scans = match &event.operation {
            Operation::Change { scans } => scans.as_ref().map(Into::into),
            _ => None,
        };
        let (target, child) = match &event.operation {
            Operation::Setns { target, .. } => (target.as_ref(), None),
            Operation::Clone { child, .. } => (None, child.as_ref()),
            _ => (None, None),
        };
        let duration_ns =
            event.duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        Self {
            event: event.operation.name(),
            abi: event.abi(),
            process: ProcessObject::new(event),
            args: ArgsObject::new(&event.operation),
            seen: event.seen.map(Seen::name),
            scans,
            target: target.map(Into::into),
            child: child.map(Into::into),
            result,
            errno,
            restarted,
            denied: event.denied_by(),
            duration_ns,
            changed: event.changed().collect(),
            before: SlotsObject(&event.before),
            after: SlotsObject(&event.after),
            keys: KeysObject::new(event),
            root: event.root.as_ref().map(Into::into),
            cwd: event.cwd.as_ref().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
