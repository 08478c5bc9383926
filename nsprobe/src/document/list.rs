//! The document of `nsprobe list --json`.

use super::namespace::Namespace;
use super::process::Process;
use super::schemas::{self, Document, Schema, SchemaName};
use super::values::{Base64, Time};
use super::word::Word;
use crate::model::{self, Pid, ProcessSource};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;

/// Namespaces and processes of a machine, as far as they were visible at one time. Each namespace, process and gap is an
/// object on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "nsprobe list --json"))]
pub struct List<'a, N = Vec<Namespace<'a>>, P = Vec<Process<'a>>, G = Vec<Gap<'a>>> {
    /// Name and version of the schema that this output follows.
    pub schema: SchemaName<'a>,
    /// Version of nsprobe.
    pub version: Cow<'a, str>,
    /// Release of the kernel, as in uname(2).
    pub kernel: Cow<'a, str>,
    /// Host name in the reader's uts namespace.
    pub hostname: Cow<'a, str>,
    /// All bytes of `hostname`, in which U+FFFD stands for bytes that are not UTF-8; absent if `hostname` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname_base64: Option<Base64<'a>>,
    /// Random id of this boot (/proc/sys/kernel/random/boot_id). Pids, start times and inodes of one boot mean nothing
    /// in another. Null if not readable.
    pub boot_id: Option<Cow<'a, str>>,
    /// Time at which the snapshot began, UTC.
    pub taken_at: Time,
    /// Pid of nsprobe in the /proc that was read. Null if not visible there.
    pub own_pid: Option<Pid>,
    /// True if namespaces were left out because others were requested; `processes` then has only those that refer to a
    /// listed namespace.
    pub filtered: bool,
    /// Source of the processes and threads. proc: the files of /proc. bpf: the kernel's own tasks, read by a BPF
    /// iterator.
    pub processes_from: Word<ProcessSource>,
    /// Namespaces, ordered by kind, then inode.
    pub namespaces: N,
    /// Processes, ordered by pid.
    pub processes: P,
    /// Data that could not be read.
    pub gaps: G,
}

impl Document for List<'_> {
    const SCHEMA: Schema = schemas::LIST;
}

/// Items that are made while they are written: ten thousand would take as much memory again as the snapshot.
pub struct Lazy<I>(pub I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Lazy<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gap<'a> {
    /// Data that is missing.
    // A later version may have other kinds, which `diff` names as well.
    #[cfg_attr(feature = "schema", schemars(with = "Word<model::GapKind>"))]
    pub kind: Cow<'a, str>,
    /// Number of cases.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub count: u64,
    /// Reason: the kernel's error, or the missing feature.
    pub reason: Cow<'a, str>,
    /// Remedy that would make the data readable. Null if none is known.
    pub remedy: Option<Cow<'a, str>>,
}

impl<'a> From<&'a model::Gap> for Gap<'a> {
    fn from(gap: &'a model::Gap) -> Self {
        Self {
            kind: gap.kind.name().into(),
            count: gap.count,
            reason: (&gap.reason).into(),
            remedy: gap.remedy.as_ref().map(Into::into),
        }
    }
}
