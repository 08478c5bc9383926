//! An event: a call, or a change whose call is unknown.

use super::args::Args;
use super::fields;
use super::namespaces::{Changed, Initial, Keys, Namespaces, OfEvent, Unsure};
use super::path::{PathFields, PathState};
use super::process::{Caller, Child};
use super::tag;
use super::target::Target;
use super::text::Errno;
use crate::document::values::{Base64, Time};
use crate::model::{self, Directory, Operation, Outcome, ResolvedPath, Seen, errno_name};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A call that made, joined or left a namespace or changed a root directory, or that tried to; or a change whose call is
/// unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(transform = super::conditions::of_event))]
pub struct Event<'a> {
    /// Type of the line.
    #[serde(rename = "type")]
    pub line: tag::Event,
    /// Time of the event. UTC, from a clock that never steps back.
    pub time: Time,
    /// Sequence number of the line, from 0. Missing sequence numbers are lines that were not received.
    pub seq: u64,
    /// Name of the call; `clone` stands for clone, clone3, fork and vfork. `change` is, with perf, an unshare or setns
    /// that succeeded (perf does not distinguish the two); with proc, a difference between two scans of a process.
    pub event: Call,
    /// ABI of the system call, if it is not that of the kernel. i386: made by int 0x80, or in a 32-bit process. Null if
    /// unknown (always with perf and proc). Absent for a native call.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::fields::present")]
    #[cfg_attr(feature = "schema", schemars(extend("nullable" = true)))]
    pub abi: Option<Option<Abi>>,
    /// Caller.
    pub process: Caller<'a>,
    /// Arguments of the call, decoded. Absent for `change`, whose call is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Args<'a>>,
    /// Time at which `args` and `target` were read, if not at the entry of the call. return: at the return of the call,
    /// for paths that could not be read at entry. entry_missed: the entry was not seen, because the kernel skips
    /// programs for preempted tasks, or because the caller did not match the filter then (its command name or control
    /// group was different); all data is then from the return of the call and, if the call succeeded, what was before
    /// it is unknown (`unsure`), except for `pid`. Absent if they were read at the entry. Until the kernel reads them,
    /// other tasks can change the caller's memory and file descriptors, so paths and `target` may differ from what the
    /// kernel used; the effect of the call is in `changed`, `namespaces`, `root` and `cwd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_seen: Option<ArgsSeen>,
    /// Object that the file descriptor of setns refers to. Absent if it is neither a namespace nor a process, and if
    /// `args_seen` is entry_missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target<'a>>,
    /// Task that clone created. Absent if the call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<Child<'a>>,
    /// The two scans that found the change, for `change` with proc; `time` is that of the later scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scans: Option<Scans>,
    /// Return value of the call; -1 if it failed. For clone, the child's thread id in the caller's pid namespace. Null
    /// if the call is restarted, or if it succeeded and its return value is unknown (always for `change`, possible for
    /// clone with perf).
    #[cfg_attr(feature = "schema", schemars(extend("minimum" = -1)))]
    pub result: Option<i64>,
    /// Name of the error. Absent if the call did not fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<Errno<'a>>,
    /// Kernel-internal error of a call that was interrupted by a signal and that the kernel restarts: neither a failure
    /// nor a success. After ERESTARTNOINTR the kernel always restarts the call; after the others the caller gets EINTR
    /// instead if the signal has a handler that does not restart calls, which is decided after the call. Absent if the
    /// call returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("enum" = super::conditions::RESTARTS)))]
    pub restarted: Option<Cow<'a, str>>,
    /// Present if the call failed before the kernel saw it, because a seccomp filter of the process answered it
    /// (requires --denied). Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<Denied>,
    /// Duration of the call in nanoseconds. Null if not measured: for a clone that succeeded, for a call with `denied`
    /// or with `args_seen` entry_missed, and with perf and proc.
    pub duration_ns: Option<u64>,
    /// What is different after the call.
    pub changed: Changed<'a>,
    /// What may be different after the call. Absent if nothing is unsure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsure: Option<Unsure<'a>>,
    /// Namespaces of the caller after the call; for a clone, those of the child. What is neither in `changed` nor in
    /// `unsure` was the same before the call; for a clone, in the parent. perf reports seven: not time, pid_for_children
    /// and time_for_children.
    pub namespaces: Namespaces,
    /// Keys of those namespaces, except for the initial ones of the machine, whose keys are in the `start` line, and
    /// which never end. If these are unknown to nsprobe, their keys are here, too. A key is absent where the namespace
    /// is unknown, and for a `_for_children` that `namespaces` does not have. Absent if only inodes are known: without
    /// --lifecycle, before Linux 6.18 or with perf or proc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys<'a>>,
    /// Root directory of the caller after the call, from the top of its mount namespace, for calls that may move it:
    /// chroot, pivot_root, setns, and unshare of a mount namespace; with proc, for a `change` that moved it. pivot_root
    /// also moves the root and working directory of every other task in the mount namespace that was at the old root;
    /// only the caller's are reported here. Absent for other calls, and if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Cow<'a, str>>,
    /// All bytes of `root`, in which U+FFFD stands for bytes that are not UTF-8; absent if `root` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_base64: Option<Base64<'a>>,
    /// What is unusual about `root`; absent if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub root_state: Vec<PathState>,
    /// Working directory of the caller after the call, for the same calls; not with proc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Cow<'a, str>>,
    /// All bytes of `cwd`, in which U+FFFD stands for bytes that are not UTF-8; absent if `cwd` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd_base64: Option<Base64<'a>>,
    /// What is unusual about `cwd`; absent if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub cwd_state: Vec<PathState>,
}

/// The name of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the schema has one description for all, which keeps it an enum there")]
pub enum Call {
    Clone,
    Unshare,
    Setns,
    Chroot,
    PivotRoot,
    Change,
}

/// An ABI other than the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "see the field")]
pub enum Abi {
    I386,
}

/// The time at which arguments were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "see the field")]
pub enum ArgsSeen {
    Return,
    EntryMissed,
}

/// What denied a call, if not the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "see the field")]
pub enum Denied {
    Seccomp,
}

/// Two scans of the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct Scans {
    /// Time between the two scans, in nanoseconds: the change happened at most this long before it was noticed.
    pub within_ns: u64,
    /// True if the process did not exist in the earlier scan: it began in the namespaces of its parent. Where the parent
    /// also moved between the scans, it is unknown in which of the two namespaces (`unsure`). Absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub new_process: bool,
}

impl From<&model::Scans> for Scans {
    fn from(scans: &model::Scans) -> Self {
        Self { within_ns: fields::nanoseconds(scans.within), new_process: scans.is_new }
    }
}

impl From<&Operation> for Call {
    fn from(operation: &Operation) -> Self {
        match operation {
            Operation::Clone { .. } => Self::Clone,
            Operation::Unshare { .. } => Self::Unshare,
            Operation::Setns { .. } => Self::Setns,
            Operation::Chroot { .. } => Self::Chroot,
            Operation::PivotRoot { .. } => Self::PivotRoot,
            Operation::Change { .. } => Self::Change,
        }
    }
}

/// The three fields of a directory; all are absent without one.
fn directory(directory: Option<&Directory>) -> (Option<Cow<'_, str>>, Option<Base64<'_>>, Vec<PathState>) {
    let Some(Directory { after, .. }) = directory else { return (None, None, Vec::new()) };
    let PathFields { path, base64, state } = <&ResolvedPath>::into(after);
    (Some(path), base64, state)
}

impl<'a> Event<'a> {
    /// The line of an event.
    pub(super) fn new(time: Time, seq: u64, event: &'a model::Event, initial: &Initial) -> Self {
        let (result, errno, restarted) = match event.outcome {
            Outcome::Success(result) => (Some(result), None, None),
            Outcome::Failure(errno) => (Some(-1), Some(Errno(errno_name(errno).into())), None),
            Outcome::Restarted(errno) => (None, None, Some(errno_name(errno).into())),
            Outcome::Unseen => (None, None, None),
        };
        let (target, child, scans) = match &event.operation {
            Operation::Setns { target, .. } => (target.as_ref(), None, None),
            Operation::Clone { child, .. } => (None, child.as_ref(), None),
            Operation::Change { scans } => (None, None, scans.as_ref()),
            _ => (None, None, None),
        };
        let OfEvent { changed, unsure, namespaces, keys } = OfEvent::new(event, initial);
        let (root, root_base64, root_state) = directory(event.root.as_ref());
        let (cwd, cwd_base64, cwd_state) = directory(event.cwd.as_ref());
        Self {
            line: tag::Event::Tag,
            time,
            seq,
            event: (&event.operation).into(),
            abi: match event.compat {
                Some(false) => None,
                Some(true) => Some(Some(Abi::I386)),
                None => Some(None),
            },
            process: (&event.process).into(),
            args: Args::new(&event.operation),
            args_seen: match event.seen {
                Some(Seen::Entry) | None => None,
                Some(Seen::Return) => Some(ArgsSeen::Return),
                Some(Seen::EntryMissed) => Some(ArgsSeen::EntryMissed),
            },
            target: target.map(Into::into),
            child: child.map(Into::into),
            scans: scans.map(Into::into),
            result,
            errno,
            restarted,
            denied: event.denied.then_some(Denied::Seccomp),
            duration_ns: event.duration.map(fields::nanoseconds),
            changed,
            unsure,
            namespaces,
            keys,
            root,
            root_base64,
            root_state,
            cwd,
            cwd_base64,
            cwd_state,
        }
    }
}
