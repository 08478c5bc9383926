//! A namespace, in `list`, `tree` and `diff` alike.

use super::holder::{self, Holder};
use super::reference::NamespaceRef;
use super::values::{Arguments, Base64, Decimal, EncodedArguments, Pids, Time, WordSet, text};
use super::word::Word;
use crate::model::{self, Initial, NetnsId, NsId, NsKind, Pid, Snapshot, Source, Text};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Namespace<'a> {
    /// Name of the namespace within this boot. Linux 6.18 and later: the kind, # and the kernel's id, which is never
    /// given to another namespace. Before 6.18, or if the id could not be read: the kind, : and the inode, which an
    /// earlier namespace may have had. The events of trace have the same key; if trace saw the namespace being created,
    /// its key before 6.18 also has the time of creation.
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^(cgroup|ipc|mnt|net|pid|time|user|uts)(#|:)\d+$"))
    )]
    pub key: Cow<'a, str>,
    /// Kind of namespace, as in namespaces(7).
    pub kind: Word<NsKind>,
    /// Inode of the namespace's nsfs file, as in `net:[4026531833]`. The kernel reuses the inode after the namespace has
    /// ended.
    pub ino: u64,
    /// Device number of nsfs, the same on the whole machine.
    pub dev: u64,
    /// The kernel's own 64-bit id of the namespace, in decimal, unique within a boot. Null if the kernel is older than
    /// 6.18 (6.11 for mount namespaces), or if the namespace could not be opened.
    pub kernel_id: Option<Decimal>,
    /// Time since which the kernel has had the inode of the nsfs file in memory, UTC. Null if `kernel_id` is known, or
    /// if the namespace could not be opened. If two lists have the same time for an inode, and it is earlier than
    /// `taken_at` of the first list, the namespace is the same.
    pub file_since: Option<Time>,
    /// True for the initial namespace of its kind, which the kernel makes at boot. Null if unknown.
    pub initial: Option<bool>,
    /// Parent, in which this pid or user namespace is nested. Null if it has none or the parent is not visible, and for
    /// other kinds.
    pub parent: Option<NamespaceRef>,
    /// User namespace that owns the namespace; for a user namespace, its parent. Null if it has none, or if the owner is
    /// not visible.
    pub owner: Option<NamespaceRef>,
    /// User id of the creator of a user namespace, in the reader's user namespace. Null if unknown, and for other kinds.
    pub owner_uid: Option<u32>,
    /// Id of a network namespace in the reader's own network namespace. -1 if none is assigned. Null if the query was
    /// not possible, and for other kinds.
    // As the kernel has it: NETNSA_NSID_NOT_ASSIGNED.
    #[cfg_attr(feature = "schema", schemars(range(min = -1, max = 4_294_967_295_i64)))]
    pub netnsid: Option<i64>,
    /// Number of processes in the namespace. Null if unknown because not all processes were visible (see `gaps`).
    pub nprocs: Option<u64>,
    /// Number of processes seen in the namespace. If `nprocs` is null, it may have more.
    pub nprocs_seen: u64,
    /// Leader among the processes seen in the namespace. Null if no process was seen in it.
    pub leader: Option<Leader<'a>>,
    /// Path of a bind mount by which nsprobe reached the namespace: in nsprobe's own mount namespace, or below
    /// /proc/PID/root. Null if no bind mount can be reached by either, if nsprobe reached the namespace in a different
    /// way, or if following the path would query a file system's server.
    pub mount_path: Option<Cow<'a, str>>,
    /// All bytes of `mount_path`, in which U+FFFD stands for bytes that are not UTF-8; absent if `mount_path` is all
    /// UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path_base64: Option<Base64<'a>>,
    /// Holders: what keeps the namespace alive besides the processes in it. A namespace without processes and holders
    /// (`holders_omitted` is 0) was found in the kernel's lists alone: it is held by a descriptor in flight, by the
    /// kernel, or by something else to which no file and no process leads.
    #[serde(deserialize_with = "known_holders")]
    pub holders: Vec<Holder<'a>>,
    /// Number of further holders that are not listed, for example because at most 64 of one type are listed for one
    /// process, and for one mount namespace.
    pub holders_omitted: u64,
    /// Sources that found the namespace.
    pub sources: WordSet<'a, Source>,
}

fn known_holders<'a, 'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Holder<'a>>, D::Error> {
    holder::known(deserializer)
}

/// Leader of a namespace: of the processes whose parent is not in the namespace, the one that started first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Leader<'a> {
    /// Process id in the pid namespace of the /proc that was read.
    pub pid: Pid,
    /// Ids of the process in all pid namespaces that it is in, outermost first; the first is `pid`. Null if unknown.
    pub pids: Option<Pids<'a>>,
    /// Process id of the parent. 0 if no parent is visible.
    pub ppid: Pid,
    /// Effective user id in the reader's user namespace.
    pub uid: u32,
    /// Command name, at most 15 bytes.
    pub comm: Cow<'a, str>,
    /// All bytes of `comm`, in which U+FFFD stands for bytes that are not UTF-8; absent if `comm` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm_base64: Option<Base64<'a>>,
    /// Arguments of the process, one per item, as in its memory: at most 4,096 bytes. Empty for kernel threads and
    /// zombies. Null if not readable.
    pub arguments: Option<Arguments<'a>>,
    /// All bytes of each item of `arguments`, in which U+FFFD stands for bytes that are not UTF-8; absent if `arguments`
    /// is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_base64: Option<EncodedArguments<'a>>,
    /// True if the process has more arguments than these, or if the last one is longer.
    pub arguments_cut: bool,
}

impl<'a> From<&'a model::Process> for Leader<'a> {
    fn from(process: &'a model::Process) -> Self {
        Self {
            pid: process.pid,
            pids: Pids::of(process),
            ppid: process.ppid,
            uid: process.uid,
            comm: process.comm.lossy(),
            comm_base64: Base64::of(&process.comm),
            arguments: process.known_arguments().map(|known| Arguments(Cow::Borrowed(known))),
            arguments_base64: EncodedArguments::of(&process.arguments),
            arguments_cut: process.arguments.cut(),
        }
    }
}

impl<'a> Namespace<'a> {
    /// A `namespace` of `snapshot`, which has its leader.
    #[must_use]
    pub fn new(namespace: &'a model::Namespace, snapshot: &'a Snapshot) -> Self {
        Self {
            key: snapshot.key(namespace).to_string().into(),
            kind: Word(namespace.id.kind),
            ino: namespace.id.ino,
            dev: namespace.id.dev,
            kernel_id: namespace.kernel_id.map(Decimal),
            file_since: namespace.file_since.map(Time),
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
            leader: namespace.leader.and_then(|pid| snapshot.process(pid)).map(Into::into),
            mount_path: namespace.mount_path.as_ref().map(Text::lossy),
            mount_path_base64: namespace.mount_path.as_ref().and_then(Base64::of),
            holders: namespace.holders.iter().map(Into::into).collect(),
            holders_omitted: namespace.holders_omitted,
            sources: WordSet(namespace.sources.as_slice().into()),
        }
    }

    /// The namespace; `dev` is the device of nsfs.
    #[must_use]
    pub fn into_model(self, dev: u64) -> model::Namespace {
        let id = |it: NamespaceRef| it.id(dev);
        model::Namespace {
            kernel_id: self.kernel_id.map(|Decimal(id)| id),
            file_since: self.file_since.map(|Time(time)| time),
            initial: match self.initial {
                Some(true) => Initial::Yes,
                Some(false) => Initial::No,
                None => Initial::Unknown,
            },
            parent: self.parent.map(id),
            owner: self.owner.map(id),
            owner_uid: self.owner_uid,
            netnsid: self.netnsid.and_then(|netnsid| match netnsid {
                -1 => Some(NetnsId::Unassigned),
                netnsid => u32::try_from(netnsid).ok().map(NetnsId::Assigned),
            }),
            processes: self.nprocs_seen,
            all_seen: self.nprocs.is_some(),
            leader: self.leader.map(|leader| leader.pid),
            mount_path: self.mount_path.map(|path| text(path, self.mount_path_base64)),
            holders: self.holders.into_iter().map(|holder| holder.into_model(dev)).collect(),
            holders_omitted: self.holders_omitted,
            sources: self.sources.0.into_owned(),
            ..model::Namespace::new(NsId::new(self.kind.0, self.dev, self.ino))
        }
    }
}
