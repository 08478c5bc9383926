//! The caller, and the child of a clone.

use super::path::{PathFields, PathState};
use super::text::Capabilities;
use crate::document::values::{Arguments, Base64, Decimal, EncodedArguments, Pids};
use crate::model::{self, Cgroup, CloneChild, Pid};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Caller. With perf and proc, the fields are read from /proc soon after the event and may be null if the process has
/// exited by then; the ids are those of nsprobe's own pid and user namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Caller<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of the parent. Null if unknown (possible with perf and proc).
    pub ppid: Option<u32>,
    /// Process ids in every pid namespace that the process is in, outermost first: the last one is that in its own pid
    /// namespace. Null if unknown (possible with perf and proc).
    pub pids: Option<Pids<'a>>,
    /// Command name. Null if empty, or if unknown (possible with perf and proc).
    pub comm: Option<Cow<'a, str>>,
    /// All bytes of `comm`, in which U+FFFD stands for bytes that are not UTF-8; absent if `comm` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm_base64: Option<Base64<'a>>,
    /// Real user id, in the initial user namespace. Null if unknown (possible with perf and proc).
    pub uid: Option<u32>,
    /// Real group id. Null if unknown (possible with perf and proc).
    pub gid: Option<u32>,
    /// Effective user id. Null if unknown (possible with perf and proc).
    pub euid: Option<u32>,
    /// Effective capabilities at entry, as CapEff in /proc/PID/status, relative to the user namespace that the caller
    /// was in before the call: `changed.user.before` or, if the call did not change it, `namespaces.user`; `capsh --decode=`
    /// names them. With perf and proc they are read from /proc after the call, perhaps after an execve: null if unknown,
    /// and relative to the user namespace that the process is in by then.
    pub cap_effective: Option<Capabilities<'a>>,
    /// Start time of the process, in clock ticks (1/100 s) after boot, as in `nsprobe list`; together with the pid it
    /// identifies the process. Null if unknown (possible with perf and proc).
    pub start_ticks: Option<u64>,
    /// Path of the executable, from the top of its mount namespace, whatever the root directory of the process. Null if
    /// the process is a kernel thread, or if unknown (possible with perf and proc).
    pub exe: Option<Cow<'a, str>>,
    /// All bytes of `exe`, in which U+FFFD stands for bytes that are not UTF-8; absent if `exe` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_base64: Option<Base64<'a>>,
    /// What is unusual about `exe`; absent if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub exe_state: Vec<PathState>,
    /// Arguments of the process, one per item, as in its memory: at most 4,096 bytes in total, 255 with BPF. Null if the
    /// process has none (as a kernel thread), or if they are not readable.
    pub arguments: Option<Arguments<'a>>,
    /// All bytes of each item of `arguments`, in which U+FFFD stands for bytes that are not UTF-8; absent if `arguments`
    /// is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_base64: Option<EncodedArguments<'a>>,
    /// True if the process has more arguments than these, or if the last one is longer; absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub arguments_cut: bool,
    /// Path of the process's control group in the version 2 hierarchy, from the root of the hierarchy, whatever the
    /// cgroup namespace. Null if unknown or if the process has none; see `source.missing` and `source.unseen` in the
    /// `start` line.
    pub cgroup: Option<Cow<'a, str>>,
    /// All bytes of `cgroup`, in which U+FFFD stands for bytes that are not UTF-8; absent if `cgroup` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_base64: Option<Base64<'a>>,
    /// True if `cgroup` was too long or too deep: it has only the last components of the path, without a leading /.
    /// Absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub cgroup_cut: bool,
    /// Id of the control group: the inode of its directory (64 bits). Null if `cgroup` is.
    pub cgroup_id: Option<Decimal>,
}

/// Task that clone created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Child<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of the child's parent, in the initial pid namespace. The parent is not the caller with CLONE_PARENT,
    /// nor for a thread. Null if unknown (possible with perf).
    pub ppid: Option<u32>,
    /// Ids of the child in every pid namespace that it is in, outermost first: the last one is that in its own pid
    /// namespace. Null if unknown (possible with perf).
    pub pids: Option<Pids<'a>>,
    /// Path of the child's control group in the version 2 hierarchy; with CLONE_INTO_CGROUP, not the caller's. Null if
    /// unknown (always with perf) or if the child has none.
    pub cgroup: Option<Cow<'a, str>>,
    /// All bytes of `cgroup`, in which U+FFFD stands for bytes that are not UTF-8; absent if `cgroup` is all UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_base64: Option<Base64<'a>>,
    /// True if `cgroup` was too long or too deep: it has only the last components of the path, without a leading /.
    /// Absent otherwise.
    #[serde(default, skip_serializing_if = "super::fields::is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub cgroup_cut: bool,
    /// Id of the control group: the inode of its directory (64 bits). Null if `cgroup` is.
    pub cgroup_id: Option<Decimal>,
}

fn known(pids: &[Pid]) -> Option<Pids<'_>> {
    (!pids.is_empty()).then_some(Pids(pids.into()))
}

fn path(cgroup: Option<&Cgroup>) -> Option<Cow<'_, str>> {
    cgroup.map(|cgroup| cgroup.path.lossy())
}

impl<'a> From<&'a model::Caller> for Caller<'a> {
    fn from(caller: &'a model::Caller) -> Self {
        let (arguments, cgroup) = (caller.arguments.as_ref(), caller.cgroup.as_ref());
        let (exe, exe_base64, exe_state) = match &caller.exe {
            None => (None, None, Vec::new()),
            Some(exe) => {
                let PathFields { path, base64, state } = exe.into();
                (Some(path), base64, state)
            }
        };
        Self {
            pid: caller.pid,
            tid: caller.tid,
            ppid: caller.ppid,
            pids: known(&caller.pids),
            comm: (!caller.comm.is_empty()).then(|| caller.comm.lossy()),
            comm_base64: Base64::of(&caller.comm),
            uid: caller.uid,
            gid: caller.gid,
            euid: caller.euid,
            cap_effective: caller.cap_effective.map(|mask| Capabilities(format!("{mask:016x}").into())),
            start_ticks: caller.start_ticks,
            exe,
            exe_base64,
            exe_state,
            arguments: arguments.map(|arguments| Arguments(Cow::Borrowed(arguments))),
            arguments_base64: arguments.and_then(EncodedArguments::of),
            arguments_cut: arguments.is_some_and(model::Arguments::cut),
            cgroup: path(cgroup),
            cgroup_base64: cgroup.and_then(|cgroup| Base64::of(&cgroup.path)),
            cgroup_cut: cgroup.is_some_and(|cgroup| cgroup.cut),
            cgroup_id: cgroup.map(|cgroup| Decimal(cgroup.id)),
        }
    }
}

impl<'a> From<&'a CloneChild> for Child<'a> {
    fn from(child: &'a CloneChild) -> Self {
        let cgroup = child.cgroup.as_ref();
        Self {
            pid: child.pid,
            tid: child.tid,
            ppid: child.ppid,
            pids: known(&child.pids),
            cgroup: path(cgroup),
            cgroup_base64: cgroup.and_then(|cgroup| Base64::of(&cgroup.path)),
            cgroup_cut: cgroup.is_some_and(|cgroup| cgroup.cut),
            cgroup_id: cgroup.map(|cgroup| Decimal(cgroup.id)),
        }
    }
}
