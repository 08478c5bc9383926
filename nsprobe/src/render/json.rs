//! Snapshots as JSON: the shapes that other programs rely on, separate from the model so that it may change.

use crate::document::schemas::{self, Schema};
use crate::model::{
    Arguments, Gap, Holder, Initial, Namespace, NetnsId, NsId, Origin, Pid, Process, Slots, Snapshot,
    TcpState, Text,
};
use crate::render::bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};
use std::time::SystemTime;

/// A reference to a namespace.
#[derive(Debug, Serialize)]
pub(super) struct NamespaceRef {
    kind: &'static str,
    ino: u64,
}

impl From<NsId> for NamespaceRef {
    fn from(id: NsId) -> Self {
        Self { kind: id.kind.name(), ino: id.ino }
    }
}

/// The first fields of a list.
#[derive(Debug, Serialize)]
struct ListHead<'a> {
    schema: Schema,
    version: &'a str,
    kernel: &'a str,
    hostname: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname_base64: Option<String>,
    boot_id: Option<&'a str>,
    taken_at: String,
    own_pid: Option<Pid>,
    filtered: bool,
    processes_from: &'static str,
}

/// A namespace, in `list` and `tree` alike.
#[derive(Debug, Serialize)]
pub(super) struct NamespaceObject<'a> {
    key: String,
    kind: &'static str,
    ino: u64,
    dev: u64,
    /// A string, because many JSON readers keep less than 64 bits of a number.
    kernel_id: Option<String>,
    file_since: Option<String>,
    initial: Option<bool>,
    parent: Option<NamespaceRef>,
    owner: Option<NamespaceRef>,
    owner_uid: Option<u32>,
    /// -1 if none is assigned, as the kernel says (`NETNSA_NSID_NOT_ASSIGNED`).
    netnsid: Option<i64>,
    nprocs: Option<u64>,
    nprocs_seen: u64,
    leader: Option<LeaderObject<'a>>,
    mount_path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_path_base64: Option<String>,
    holders: Vec<HolderObject<'a>>,
    holders_omitted: u64,
    sources: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct LeaderObject<'a> {
    pid: Pid,
    pids: Option<&'a [Pid]>,
    ppid: Pid,
    uid: u32,
    comm: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_base64: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum HolderObject<'a> {
    Thread {
        pid: Pid,
        tid: Pid,
    },
    ForChildren {
        pid: Pid,
        #[serde(skip_serializing_if = "Option::is_none")]
        tid: Option<Pid>,
    },
    Descriptor {
        pid: Pid,
        #[serde(skip_serializing_if = "Option::is_none")]
        tid: Option<Pid>,
        fd: u32,
    },
    Socket {
        pid: Pid,
        #[serde(skip_serializing_if = "Option::is_none")]
        tid: Option<Pid>,
        fd: u32,
    },
    BindMount {
        mount_namespace: NamespaceRef,
        path: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path_base64: Option<String>,
        here: bool,
    },
    Mount {
        fs_type: Cow<'a, str>,
        mount_namespace: NamespaceRef,
        path: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path_base64: Option<String>,
        here: bool,
    },
    DetachedMount {
        fs_type: Cow<'a, str>,
        dev_major: u32,
        dev_minor: u32,
    },
    Connection {
        protocol: &'static str,
        local: String,
        remote: String,
        state: Option<&'static str>,
    },
    Ancestor {
        of: NamespaceRef,
    },
    /// An open file; its type says how it holds the namespace.
    #[serde(untagged)]
    File {
        #[serde(rename = "type")]
        by: &'static str,
        pid: Pid,
        #[serde(skip_serializing_if = "Option::is_none")]
        tid: Option<Pid>,
        fd: u32,
    },
}

/// Something that could not be read.
#[derive(Debug, Serialize)]
pub(super) struct GapObject<'a> {
    kind: &'static str,
    count: u64,
    reason: &'a str,
    remedy: Option<&'a str>,
}

/// A process, without its position in a tree.
#[derive(Debug, Serialize)]
pub(super) struct ProcessObject<'a> {
    pid: Pid,
    pids: Option<&'a [Pid]>,
    ppid: Pid,
    start_ticks: u64,
    threads: u32,
    kernel_thread: bool,
    uid: u32,
    comm: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_base64: Option<String>,
    #[serde(flatten)]
    arguments: ArgumentsObject<'a>,
    namespaces: Option<SlotsObject<'a>>,
    root: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_base64: Option<String>,
    chrooted: Option<bool>,
    root_deleted: Option<bool>,
}

/// The arguments of a process, and whether they were cut.
#[derive(Debug, Serialize)]
pub(super) struct ArgumentsObject<'a> {
    arguments: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_base64: Option<Vec<String>>,
    arguments_cut: bool,
}

impl<'a> From<&'a Arguments> for ArgumentsObject<'a> {
    fn from(arguments: &'a Arguments) -> Self {
        Self {
            arguments: arguments.iter().map(String::from_utf8_lossy).collect(),
            arguments_base64: bytes::base64_array(arguments.iter()),
            arguments_cut: arguments.cut(),
        }
    }
}

/// A namespace as an object; its leader is looked up in `snapshot`.
pub(super) fn namespace_object<'a>(namespace: &'a Namespace, snapshot: &'a Snapshot) -> NamespaceObject<'a> {
    NamespaceObject {
        key: snapshot.key(namespace).to_string(),
        kind: namespace.id.kind.name(),
        ino: namespace.id.ino,
        dev: namespace.id.dev,
        kernel_id: namespace.kernel_id.map(|id| id.to_string()),
        file_since: namespace.file_since.map(time),
        initial: match namespace.initial {
            Initial::Yes => Some(true),
            Initial::No => Some(false),
            Initial::Unknown => None,
        },
        parent: namespace.parent.map(Into::into),
        owner: namespace.owner.map(Into::into),
        owner_uid: namespace.owner_uid,
        netnsid: namespace.netnsid.map(|id| match id {
            NetnsId::Assigned(id) => id.into(),
            NetnsId::Unassigned => -1,
        }),
        nprocs: namespace.nprocs(),
        nprocs_seen: namespace.processes,
        leader: namespace.leader.and_then(|pid| snapshot.process(pid)).map(|process| LeaderObject {
            pid: process.pid,
            pids: pids(process),
            ppid: process.ppid,
            uid: process.uid,
            comm: process.comm.lossy(),
            comm_base64: bytes::base64(&process.comm),
        }),
        mount_path: namespace.mount_path.as_ref().map(Text::lossy),
        mount_path_base64: namespace.mount_path.as_ref().and_then(bytes::base64),
        holders: namespace.holders.iter().map(holder_object).collect(),
        holders_omitted: namespace.holders_omitted,
        sources: namespace.sources.iter().map(|source| source.name()).collect(),
    }
}

fn holder_object(holder: &Holder) -> HolderObject<'_> {
    match holder {
        Holder::Thread { pid, tid } => HolderObject::Thread { pid: *pid, tid: *tid },
        Holder::ForChildren { pid, tid } => HolderObject::ForChildren { pid: *pid, tid: *tid },
        Holder::Descriptor { pid, tid, fd } => HolderObject::Descriptor { pid: *pid, tid: *tid, fd: *fd },
        Holder::Socket { pid, tid, fd } => HolderObject::Socket { pid: *pid, tid: *tid, fd: *fd },
        Holder::BindMount { mount_namespace, path, here } => HolderObject::BindMount {
            mount_namespace: (*mount_namespace).into(),
            path: path.lossy(),
            path_base64: bytes::base64(path),
            here: *here,
        },
        Holder::File { by, pid, tid, fd } => {
            HolderObject::File { by: by.name(), pid: *pid, tid: *tid, fd: *fd }
        }
        Holder::Mount { fs_type, mount_namespace, path, here } => HolderObject::Mount {
            fs_type: fs_type.lossy(),
            mount_namespace: (*mount_namespace).into(),
            path: path.as_ref().map(Text::lossy),
            path_base64: path.as_ref().and_then(bytes::base64),
            here: *here,
        },
        Holder::DetachedMount { fs_type, dev: (dev_major, dev_minor) } => HolderObject::DetachedMount {
            fs_type: fs_type.lossy(),
            dev_major: *dev_major,
            dev_minor: *dev_minor,
        },
        Holder::Connection { local, remote, state } => HolderObject::Connection {
            protocol: "tcp",
            local: local.to_string(),
            remote: remote.to_string(),
            state: (*state != TcpState::Other).then_some(state.name()),
        },
        Holder::Ancestor { of } => HolderObject::Ancestor { of: (*of).into() },
    }
}

/// A gap as an object.
pub(super) fn gap_object(gap: &Gap) -> GapObject<'_> {
    GapObject { kind: gap.kind.name(), count: gap.count, reason: &gap.reason, remedy: gap.remedy.as_deref() }
}

/// The pids of a process, if they are known.
fn pids(process: &Process) -> Option<&[Pid]> {
    (!process.pids.is_empty()).then_some(&process.pids)
}

/// A process as an object.
pub(super) fn process_object(process: &Process) -> ProcessObject<'_> {
    ProcessObject {
        pid: process.pid,
        pids: pids(process),
        ppid: process.ppid,
        start_ticks: process.start_ticks,
        threads: process.threads,
        kernel_thread: process.kernel_thread,
        uid: process.uid,
        comm: process.comm.lossy(),
        comm_base64: bytes::base64(&process.comm),
        arguments: (&process.arguments).into(),
        namespaces: process.namespaces.as_ref().map(SlotsObject),
        root: process.root.path().map(Text::lossy),
        root_base64: process.root.path().and_then(bytes::base64),
        chrooted: process.root.is_chrooted(),
        root_deleted: process.root.is_deleted(),
    }
}

/// The ten slots as an object of inodes: `{"cgroup": 4026531835, …, "time_for_children": null}`.
#[derive(Debug)]
pub(super) struct SlotsObject<'a>(pub(super) &'a Slots<Option<NsId>>);

impl Serialize for SlotsObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(10))?;
        for (slot, id) in self.0.iter() {
            map.serialize_entry(slot.name(), &id.map(|id| id.ino))?;
        }
        map.end()
    }
}

/// RFC 3339 with nanoseconds, UTC. A time after the year 9999 is shown as the end of that year.
pub(super) fn time(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    format!("{time:.9}")
}

/// The rows of a list.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// Everything.
    All,
    /// These namespaces, and the processes that refer to them.
    Some(&'a [&'a Namespace]),
}

/// Writes namespaces, processes, and the gaps of their snapshot; one object per line, so that a list of thousands can
/// be read by people and line-based tools too.
pub fn list(
    origin: &Origin,
    snapshot: &Snapshot,
    selection: Selection<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let head = ListHead {
        schema: schemas::LIST,
        version: &origin.version,
        kernel: &origin.kernel,
        hostname: origin.hostname.lossy(),
        hostname_base64: bytes::base64(&origin.hostname),
        boot_id: origin.boot_id.as_deref(),
        taken_at: time(origin.taken_at),
        own_pid: origin.own_pid,
        filtered: matches!(selection, Selection::Some(_)),
        processes_from: snapshot.processes_from.name(),
    };
    let mut head = bytes::to_vec(&head)?;
    let brace = head.pop();
    debug_assert_eq!(brace, Some(b'}'), "not an object");
    out.write_all(&head)?;
    match selection {
        Selection::All => {
            lines(out, "namespaces", snapshot.namespaces.iter().map(|ns| namespace_object(ns, snapshot)))?;
            lines(out, "processes", snapshot.processes.iter().map(process_object))?;
        }
        Selection::Some(wanted) => {
            lines(out, "namespaces", wanted.iter().map(|ns| namespace_object(ns, snapshot)))?;
            let ids: HashSet<NsId> = wanted.iter().map(|ns| ns.id).collect();
            let refers = |process: &&Process| {
                let slots = process.namespaces.as_ref();
                slots.is_some_and(|slots| slots.iter().any(|(_, id)| id.is_some_and(|id| ids.contains(&id))))
            };
            lines(out, "processes", snapshot.processes.iter().filter(refers).map(process_object))?;
        }
    }
    lines(out, "gaps", snapshot.gaps.iter().map(gap_object))?;
    writeln!(out, "}}")
}

/// Writes `,"name":[` and one item per line.
fn lines<T: Serialize>(out: &mut impl Write, name: &str, items: impl Iterator<Item = T>) -> io::Result<()> {
    write!(out, ",\n\"{name}\":[")?;
    for (i, item) in items.enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        bytes::to_writer(&mut *out, &item)?;
    }
    out.write_all(b"]")
}
