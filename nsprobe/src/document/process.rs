//! A process, in `list`, `tree` and `diff` alike.

use super::values::{Arguments, Base64, EncodedArguments, Inodes, Pids, text};
use crate::model::{self, NsId, Pid, Root, Slots, Text};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process<'a> {
    /// Process id in the pid namespace of the /proc that was read.
    pub pid: Pid,
    /// Ids of the process in all pid namespaces that it is in, outermost first; the first is `pid`. Null if unknown.
    pub pids: Option<Pids<'a>>,
    /// Process id of the parent. 0 if no parent is visible.
    pub ppid: Pid,
    /// Start time in clock ticks (sysconf(_SC_CLK_TCK), 100 per second) after boot. Together with `pid`, it identifies
    /// the process within one boot.
    pub start_ticks: u64,
    /// Number of threads.
    pub threads: u32,
    /// True for a kernel thread.
    pub kernel_thread: bool,
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
    /// Namespaces of the process. Null if not readable.
    pub namespaces: Option<Inodes>,
    /// Root directory of the process, as seen from the reader's root directory. Null if not readable.
    pub root: Option<Cow<'a, str>>,
    /// All bytes of `root`, in which U+FFFD stands for bytes that are not UTF-8; absent if `root` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_base64: Option<Base64<'a>>,
    /// True if the root directory of the process differs from the root of its mount namespace. Null if unknown. If true
    /// while `root` is `/`, the root directory is the top of a file system that is not in this mount namespace, for
    /// example one that was unmounted lazily.
    pub chrooted: Option<bool>,
    /// True if the root directory of the process has been deleted; `root` is then its former path. Null if unknown.
    pub root_deleted: Option<bool>,
}

impl<'a> From<&'a model::Process> for Process<'a> {
    fn from(process: &'a model::Process) -> Self {
        Self {
            pid: process.pid,
            pids: Pids::of(process),
            ppid: process.ppid,
            start_ticks: process.start_ticks,
            threads: process.threads,
            kernel_thread: process.kernel_thread,
            uid: process.uid,
            comm: process.comm.lossy(),
            comm_base64: Base64::of(&process.comm),
            arguments: process.known_arguments().map(|known| Arguments(Cow::Borrowed(known))),
            arguments_base64: EncodedArguments::of(&process.arguments),
            arguments_cut: process.arguments.cut(),
            namespaces: process.namespaces.as_ref().map(Into::into),
            root: process.root.path().map(Text::lossy),
            root_base64: process.root.path().and_then(Base64::of),
            chrooted: process.root.is_chrooted(),
            root_deleted: process.root.is_deleted(),
        }
    }
}

impl Process<'_> {
    /// The process; `dev` is the device of nsfs.
    #[must_use]
    pub fn into_model(self, dev: u64) -> model::Process {
        let slots = |Inodes(inodes): Inodes| {
            Slots::from_fn(|slot| inodes.get(slot).map(|ino| NsId::new(slot.kind(), dev, ino)))
        };
        let encoded = self.arguments_base64.map(|encoded| encoded.0.into_owned());
        let shown = || self.arguments.map(|arguments| arguments.0.into_owned());
        let arguments = encoded.or_else(shown).unwrap_or_default();
        model::Process {
            pid: self.pid,
            ppid: self.ppid,
            pids: self.pids.map(|Pids(pids)| pids.into_owned()).unwrap_or_default(),
            start_ticks: self.start_ticks,
            threads: self.threads,
            kernel_thread: self.kernel_thread,
            uid: self.uid,
            comm: text(self.comm, self.comm_base64),
            arguments: if self.arguments_cut { arguments.and_more() } else { arguments },
            namespaces: self.namespaces.map(slots),
            root: match (self.root, self.chrooted) {
                (Some(path), Some(true)) => {
                    let path = text(path, self.root_base64);
                    if self.root_deleted == Some(true) { Root::Deleted(path) } else { Root::Chrooted(path) }
                }
                (Some(_), Some(false)) => Root::Whole,
                _ => Root::Unknown,
            },
        }
    }
}
