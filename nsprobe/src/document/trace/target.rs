//! The object of setns's file descriptor.

use crate::document::values::{Base64, Decimal};
use crate::document::word::Word;
use crate::model::{NsId, NsKind, SetnsTarget, Text};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A namespace, or a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(untagged)]
pub enum Target<'a> {
    /// A namespace.
    Namespace(TargetNamespace<'a>),
    /// A process.
    Process(TargetProcess<'a>),
}

/// Namespace to whose nsfs file the file descriptor refers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TargetNamespace<'a> {
    /// Kind of namespace, as in namespaces(7).
    pub kind: Word<NsKind>,
    /// Inode of the namespace.
    pub ino: u64,
    /// The kernel's own 64-bit id of the namespace (Linux 6.18), unique within a boot. Null if the kernel has none.
    pub kernel_id: Option<Decimal>,
    /// Path of the bind mount through which the file was opened, in the caller's mount namespace. Null if it was opened
    /// through /proc, or if unknown.
    pub path: Option<Cow<'a, str>>,
    /// All bytes of `path`, in which U+FFFD stands for bytes that are not UTF-8; absent if `path` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<Base64<'a>>,
}

/// Process or thread to which the file descriptor refers: a pidfd, or a file of /proc/PID, which the kernel refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TargetProcess<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Command name. Null if the process is gone.
    pub comm: Option<Cow<'a, str>>,
    /// All bytes of `comm`, in which U+FFFD stands for bytes that are not UTF-8; absent if `comm` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm_base64: Option<Base64<'a>>,
    /// Namespaces of the process or thread, of the kinds in `args.flags`, by inode.
    pub namespaces: TargetNamespaces,
}

/// Namespaces of a process, by inode; absent where not requested or unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TargetNamespaces {
    /// Inode of the cgroup namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<u64>,
    /// Inode of the IPC namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc: Option<u64>,
    /// Inode of the mount namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mnt: Option<u64>,
    /// Inode of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<u64>,
    /// Inode of the pid namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Inode of the time namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// Inode of the user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u64>,
    /// Inode of the UTS namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uts: Option<u64>,
}

impl From<&[NsId]> for TargetNamespaces {
    fn from(namespaces: &[NsId]) -> Self {
        let mut inodes = Self::default();
        for id in namespaces {
            let inode = match id.kind {
                NsKind::Cgroup => &mut inodes.cgroup,
                NsKind::Ipc => &mut inodes.ipc,
                NsKind::Mnt => &mut inodes.mnt,
                NsKind::Net => &mut inodes.net,
                NsKind::Pid => &mut inodes.pid,
                NsKind::Time => &mut inodes.time,
                NsKind::User => &mut inodes.user,
                NsKind::Uts => &mut inodes.uts,
            };
            *inode = Some(id.ino);
        }
        inodes
    }
}

impl<'a> From<&'a SetnsTarget> for Target<'a> {
    fn from(target: &'a SetnsTarget) -> Self {
        match target {
            SetnsTarget::Namespace { id, kernel_id, path } => Self::Namespace(TargetNamespace {
                kind: Word(id.kind),
                ino: id.ino,
                kernel_id: kernel_id.map(Decimal),
                path: path.as_ref().map(Text::lossy),
                path_base64: path.as_ref().and_then(Base64::of),
            }),
            SetnsTarget::Process { pid, tid, comm, namespaces } => Self::Process(TargetProcess {
                pid: *pid,
                tid: *tid,
                comm: comm.as_ref().map(Text::lossy),
                comm_base64: comm.as_ref().and_then(Base64::of),
                namespaces: namespaces.as_slice().into(),
            }),
        }
    }
}
