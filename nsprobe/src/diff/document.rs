//! A document of `nsprobe list --json` → the snapshot it was made of.

use super::error::{Error, MAJOR, NAME};
use super::key::{ProcessKey, process_key};
use super::read::{self, SlotInodes};
use crate::model::text;
use crate::model::{
    Arguments, HeldBy, Holder, Initial, Namespace, NetnsId, NsId, NsKind, Origin, Pid, Process,
    ProcessSource, Root, Slots, Snapshot, Source, Taken, TcpState, Text,
};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer};
use std::io::Read;
use std::net::SocketAddr;
use std::time::SystemTime;

/// One of the two snapshots of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The snapshot.
    pub taken: Taken,
    /// Its gaps, including kinds that only the nsprobe of the document knew.
    pub gaps: Vec<SideGap>,
}

/// Something that a snapshot could not see.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SideGap {
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) count: u64,
}

impl Side {
    /// The process that took the snapshot.
    pub(super) fn observer(&self) -> Option<ProcessKey> {
        self.taken.snapshot.process(self.taken.origin.own_pid?).map(process_key)
    }

    /// A snapshot that was taken just now.
    pub fn now(taken: Taken) -> Result<Self, Error> {
        let gap = |gap: &crate::model::Gap| SideGap {
            kind: gap.kind.name().to_owned(),
            reason: gap.reason.clone(),
            count: gap.count,
        };
        let gaps = taken.snapshot.gaps.iter().map(gap).collect();
        if taken.origin.boot_id.is_none() { Err(Error::NoBoot) } else { Ok(Self { taken, gaps }) }
    }

    /// Reads a document, no further than its first error.
    pub fn read(source: impl Read) -> Result<Self, Error> {
        let document: Document = read::read(source)?;
        let SchemaObject { name, version } = &document.schema;
        if name != NAME || version.split('.').next() != Some(MAJOR) {
            return Err(Error::Schema { found: format!("{} {}", text::shown(name), text::shown(version)) });
        }
        if document.filtered {
            return Err(Error::Filtered);
        }
        if document.boot_id.is_none() {
            return Err(Error::NoBoot);
        }
        let side = Self::from(document);
        let Snapshot { namespaces, processes, .. } = &side.taken.snapshot;
        if let Some([twice, _]) = processes.array_windows().find(|[one, other]| one.pid == other.pid) {
            return Err(Error::Twice(format!("process {}", twice.pid)));
        }
        let is_same =
            |[one, other]: &&[Namespace; 2]| (one.id.kind, one.id.ino) == (other.id.kind, other.id.ino);
        if let Some([twice, _]) = namespaces.array_windows().find(is_same) {
            return Err(Error::Twice(format!("namespace {}", twice.id)));
        }
        Ok(side)
    }
}

#[derive(Deserialize)]
struct SchemaObject {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Document {
    schema: SchemaObject,
    version: String,
    kernel: String,
    hostname: String,
    #[serde(default, deserialize_with = "bytes")]
    hostname_base64: Option<Text>,
    boot_id: Option<String>,
    #[serde(deserialize_with = "time")]
    taken_at: SystemTime,
    own_pid: Option<Pid>,
    filtered: bool,
    #[serde(deserialize_with = "source")]
    processes_from: ProcessSource,
    namespaces: Vec<NamespaceObject>,
    processes: Vec<ProcessObject>,
    gaps: Vec<SideGap>,
}

#[derive(Deserialize)]
struct NamespaceObject {
    #[serde(deserialize_with = "kind")]
    kind: NsKind,
    ino: u64,
    dev: u64,
    #[serde(deserialize_with = "kernel_id")]
    kernel_id: Option<u64>,
    #[serde(deserialize_with = "maybe_time")]
    file_since: Option<SystemTime>,
    initial: Option<bool>,
    parent: Option<NamespaceRef>,
    owner: Option<NamespaceRef>,
    owner_uid: Option<u32>,
    netnsid: Option<i64>,
    nprocs: Option<u64>,
    nprocs_seen: u64,
    leader: Option<LeaderObject>,
    mount_path: Option<String>,
    #[serde(default, deserialize_with = "bytes")]
    mount_path_base64: Option<Text>,
    holders: Vec<HolderObject>,
    #[serde(default)]
    holders_omitted: u64,
    #[serde(deserialize_with = "read::few::<_, _, 64>")]
    sources: Vec<String>,
}

#[derive(Deserialize)]
struct LeaderObject {
    pid: Pid,
}

#[derive(Clone, Copy, Deserialize)]
struct NamespaceRef {
    #[serde(deserialize_with = "kind")]
    kind: NsKind,
    ino: u64,
}

/// The fields of holders of all types. (Reading the type first would keep the rest in memory meanwhile, however
/// large.)
#[derive(Deserialize)]
struct HolderFields {
    #[serde(rename = "type")]
    kind: String,
    pid: Option<Pid>,
    tid: Option<Pid>,
    fd: Option<u32>,
    mount_namespace: Option<NamespaceRef>,
    path: Option<String>,
    #[serde(default, deserialize_with = "bytes")]
    path_base64: Option<Text>,
    here: Option<bool>,
    fs_type: Option<String>,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    state: Option<String>,
    dev_major: Option<u32>,
    dev_minor: Option<u32>,
    of: Option<NamespaceRef>,
}

#[derive(Deserialize)]
#[serde(try_from = "HolderFields")]
enum HolderObject {
    Thread {
        pid: Pid,
        tid: Pid,
    },
    ForChildren {
        pid: Pid,
        tid: Option<Pid>,
    },
    Descriptor {
        pid: Pid,
        tid: Option<Pid>,
        fd: u32,
    },
    Socket {
        pid: Pid,
        tid: Option<Pid>,
        fd: u32,
    },
    BindMount {
        mount_namespace: NamespaceRef,
        path: Text,
        here: bool,
    },
    Ancestor {
        of: NamespaceRef,
    },
    Mount {
        fs_type: Text,
        mount_namespace: NamespaceRef,
        path: Option<Text>,
        here: bool,
    },
    DetachedMount {
        fs_type: Text,
        dev: (u32, u32),
    },
    Connection {
        local: SocketAddr,
        remote: SocketAddr,
        state: TcpState,
    },
    File {
        by: HeldBy,
        pid: Pid,
        tid: Option<Pid>,
        fd: u32,
    },
    /// From a later version.
    Unknown,
}

impl TryFrom<HolderFields> for HolderObject {
    type Error = String;

    fn try_from(fields: HolderFields) -> Result<Self, String> {
        let HolderFields { kind, pid, tid, fd, mount_namespace, path, path_base64, here, of, .. } = fields;
        let (fs_type, dev) = (fields.fs_type.map(Text::from), fields.dev_major.zip(fields.dev_minor));
        let path = path_base64.or_else(|| path.map(Text::from));
        let whole = match kind.as_str() {
            "thread" => pid.zip(tid).map(|(pid, tid)| Self::Thread { pid, tid }),
            "for_children" => pid.map(|pid| Self::ForChildren { pid, tid }),
            "descriptor" => pid.zip(fd).map(|(pid, fd)| Self::Descriptor { pid, tid, fd }),
            "socket" => pid.zip(fd).map(|(pid, fd)| Self::Socket { pid, tid, fd }),
            "bind_mount" => path
                .zip(mount_namespace)
                .zip(here)
                .map(|((path, mount_namespace), here)| Self::BindMount { mount_namespace, path, here }),
            "mount" => fs_type.zip(mount_namespace).zip(here).map(|((fs_type, mount_namespace), here)| {
                Self::Mount { fs_type, mount_namespace, path, here }
            }),
            "detached_mount" => fs_type.zip(dev).map(|(fs_type, dev)| Self::DetachedMount { fs_type, dev }),
            "connection" => fields.local.zip(fields.remote).map(|(local, remote)| {
                let is = |state: &TcpState| Some(state.name()) == fields.state.as_deref();
                let state = TcpState::ALL.into_iter().find(is).unwrap_or(TcpState::Other);
                Self::Connection { local, remote, state }
            }),
            "ancestor" => of.map(|of| Self::Ancestor { of }),
            other => match HeldBy::ALL.into_iter().find(|by| by.name() == other) {
                Some(by) => pid.zip(fd).map(|(pid, fd)| Self::File { by, pid, tid, fd }),
                None => Some(Self::Unknown),
            },
        };
        whole.ok_or_else(|| format!("a holder `{kind}` with missing fields"))
    }
}

/// The pids of a process: the kernel nests pid namespaces 32 deep.
#[derive(Deserialize)]
struct Pids(#[serde(deserialize_with = "read::few::<_, _, 64>")] Vec<Pid>);

#[derive(Deserialize)]
struct ProcessObject {
    pid: Pid,
    pids: Option<Pids>,
    ppid: Pid,
    start_ticks: u64,
    threads: u32,
    kernel_thread: bool,
    uid: u32,
    comm: String,
    #[serde(default, deserialize_with = "bytes")]
    comm_base64: Option<Text>,
    #[serde(deserialize_with = "read::arguments")]
    arguments: Arguments,
    #[serde(default, deserialize_with = "read::encoded_arguments")]
    arguments_base64: Option<Arguments>,
    arguments_cut: bool,
    namespaces: Option<SlotInodes>,
    root: Option<String>,
    #[serde(default, deserialize_with = "bytes")]
    root_base64: Option<Text>,
    chrooted: Option<bool>,
    root_deleted: Option<bool>,
}

/// Reads the source of the processes, by its name.
fn source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProcessSource, D::Error> {
    let name = String::deserialize(deserializer)?;
    [ProcessSource::Proc, ProcessSource::Bpf].into_iter().find(|source| source.name() == name).ok_or_else(
        || serde::de::Error::custom(format_args!("unknown source of processes {}", text::shown(&name))),
    )
}

impl From<Document> for Side {
    fn from(document: Document) -> Self {
        // One device for the whole machine, which the references leave out.
        let dev = document.namespaces.first().map_or(0, |ns| ns.dev);
        let mut namespaces: Vec<_> = document.namespaces.into_iter().map(|ns| namespace(ns, dev)).collect();
        namespaces.sort_by_key(|ns| (ns.id.kind, ns.id.ino));
        let mut processes: Vec<_> =
            document.processes.into_iter().map(|process| self::process(process, dev)).collect();
        processes.sort_by_key(|process| process.pid);
        let origin = Origin {
            taken_at: document.taken_at,
            own_pid: document.own_pid,
            version: document.version,
            kernel: document.kernel,
            hostname: document.hostname_base64.unwrap_or_else(|| document.hostname.into()),
            boot_id: document.boot_id,
        };
        let snapshot =
            Snapshot { namespaces, processes, gaps: Vec::new(), processes_from: document.processes_from };
        Self { taken: Taken { origin, snapshot }, gaps: document.gaps }
    }
}

fn namespace(object: NamespaceObject, dev: u64) -> Namespace {
    let id = |it: NamespaceRef| NsId::new(it.kind, dev, it.ino);
    let holder = |holder| {
        Some(match holder {
            HolderObject::Thread { pid, tid } => Holder::Thread { pid, tid },
            HolderObject::ForChildren { pid, tid } => Holder::ForChildren { pid, tid },
            HolderObject::Descriptor { pid, tid, fd } => Holder::Descriptor { pid, tid, fd },
            HolderObject::Socket { pid, tid, fd } => Holder::Socket { pid, tid, fd },
            HolderObject::BindMount { mount_namespace, path, here } => {
                Holder::BindMount { mount_namespace: id(mount_namespace), path, here }
            }
            HolderObject::File { by, pid, tid, fd } => Holder::File { by, pid, tid, fd },
            HolderObject::Mount { fs_type, mount_namespace, path, here } => {
                Holder::Mount { fs_type, mount_namespace: id(mount_namespace), path, here }
            }
            HolderObject::Connection { local, remote, state } => Holder::Connection { local, remote, state },
            HolderObject::DetachedMount { fs_type, dev } => Holder::DetachedMount { fs_type, dev },
            HolderObject::Ancestor { of } => Holder::Ancestor { of: id(of) },
            HolderObject::Unknown => return None,
        })
    };
    let source = |name: &String| Source::ALL.into_iter().find(|source| source.name() == *name);
    Namespace {
        kernel_id: object.kernel_id,
        file_since: object.file_since,
        initial: match object.initial {
            Some(true) => Initial::Yes,
            Some(false) => Initial::No,
            None => Initial::Unknown,
        },
        parent: object.parent.map(id),
        owner: object.owner.map(id),
        owner_uid: object.owner_uid,
        netnsid: object.netnsid.and_then(|netnsid| match netnsid {
            -1 => Some(NetnsId::Unassigned),
            netnsid => u32::try_from(netnsid).ok().map(NetnsId::Assigned),
        }),
        processes: object.nprocs_seen,
        all_seen: object.nprocs.is_some(),
        leader: object.leader.map(|leader| leader.pid),
        mount_path: object.mount_path_base64.or_else(|| object.mount_path.map(Into::into)),
        holders: object.holders.into_iter().filter_map(holder).collect(),
        holders_omitted: object.holders_omitted,
        sources: object.sources.iter().filter_map(source).collect(),
        ..Namespace::new(NsId::new(object.kind, object.dev, object.ino))
    }
}

fn process(object: ProcessObject, dev: u64) -> Process {
    let slots = |SlotInodes(inodes): SlotInodes| {
        Slots::from_fn(|slot| inodes.get(slot).map(|ino| NsId::new(slot.kind(), dev, ino)))
    };
    let arguments = object.arguments_base64.unwrap_or(object.arguments);
    let arguments = if object.arguments_cut { arguments.and_more() } else { arguments };
    Process {
        pid: object.pid,
        ppid: object.ppid,
        pids: object.pids.map(|Pids(pids)| pids).unwrap_or_default(),
        start_ticks: object.start_ticks,
        threads: object.threads,
        kernel_thread: object.kernel_thread,
        uid: object.uid,
        comm: object.comm_base64.unwrap_or_else(|| object.comm.into()),
        arguments,
        namespaces: object.namespaces.map(slots),
        root: match (object.root, object.chrooted) {
            (Some(path), Some(true)) => {
                let path = object.root_base64.unwrap_or_else(|| path.into());
                if object.root_deleted == Some(true) { Root::Deleted(path) } else { Root::Chrooted(path) }
            }
            (Some(_), Some(false)) => Root::Whole,
            _ => Root::Unknown,
        },
    }
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NsKind, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn kernel_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(serde::de::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    parse_time(&String::deserialize(deserializer)?)
}

fn maybe_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    Option::<String>::deserialize(deserializer)?.as_deref().map(parse_time).transpose()
}

/// Reads the bytes of a text that is not UTF-8: they are used instead of the text beside them, in which they are
/// replaced.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text>, D::Error> {
    let encoded = Option::<String>::deserialize(deserializer)?;
    let decoded = encoded.map(|encoded| BASE64.decode(encoded.as_bytes()).map(Text::from));
    decoded.transpose().map_err(serde::de::Error::custom)
}

/// Parses a time in RFC 3339.
fn parse_time<E: serde::de::Error>(text: &str) -> Result<SystemTime, E> {
    SystemTime::try_from(text.parse::<jiff::Timestamp>().map_err(E::custom)?).map_err(E::custom)
}
