//! The caller, and the child of a clone.

use crate::model::{Arguments, Cgroup, CloneChild, Event, NsKind, ResolvedPath};
use crate::render::bytes;
use serde::Serialize;
use std::borrow::Cow;

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "as in the model")]
pub(super) struct ResolvedPathObject<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    cut: bool,
    detached: bool,
    deleted: bool,
    unreachable: bool,
}

impl<'a> From<&'a ResolvedPath> for ResolvedPathObject<'a> {
    fn from(resolved: &'a ResolvedPath) -> Self {
        let (path, path_base64) = (resolved.path.lossy(), bytes::base64(&resolved.path));
        let ResolvedPath { cut, detached, deleted, unreachable, .. } = *resolved;
        Self { path, path_base64, cut, detached, deleted, unreachable }
    }
}

#[derive(Serialize)]
pub(super) struct ProcessObject<'a> {
    pid: u32,
    tid: u32,
    ppid: Option<u32>,
    pid_inside: Option<u32>,
    pids: Option<&'a [u32]>,
    comm: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_base64: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    euid: Option<u32>,
    cap_effective: Option<String>,
    cap_user_namespace: Option<u64>,
    start_ticks: Option<u64>,
    exe: Option<ResolvedPathObject<'a>>,
    arguments: Option<Vec<Cow<'a, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_base64: Option<Vec<String>>,
    arguments_cut: bool,
    cgroup: Option<CgroupObject<'a>>,
}

#[derive(Serialize)]
pub(super) struct CgroupObject<'a> {
    id: String,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    cut: bool,
}

impl<'a> From<&'a Cgroup> for CgroupObject<'a> {
    fn from(cgroup: &'a Cgroup) -> Self {
        let (path, path_base64) = (cgroup.path.lossy(), bytes::base64(&cgroup.path));
        Self { id: cgroup.id.to_string(), path, path_base64, cut: cgroup.cut }
    }
}

#[derive(Serialize)]
pub(super) struct ChildObject<'a> {
    pid: u32,
    tid: u32,
    ppid: Option<u32>,
    pid_inside: Option<u32>,
    pids: Option<&'a [u32]>,
    cgroup: Option<CgroupObject<'a>>,
}

impl<'a> ProcessObject<'a> {
    /// The caller, with the user namespace in which its capabilities count.
    pub(super) fn new(event: &'a Event) -> Self {
        let caller = &event.process;
        let arguments = caller.arguments.as_ref();
        let user = event.before.of(NsKind::User).filter(|_| caller.cap_effective.is_some());
        Self {
            pid: caller.pid,
            tid: caller.tid,
            ppid: caller.ppid,
            pid_inside: caller.pids.last().copied(),
            pids: (!caller.pids.is_empty()).then_some(&caller.pids),
            comm: (!caller.comm.is_empty()).then(|| caller.comm.lossy()),
            comm_base64: bytes::base64(&caller.comm),
            uid: caller.uid,
            gid: caller.gid,
            euid: caller.euid,
            cap_effective: caller.cap_effective.map(|mask| format!("{mask:016x}")),
            cap_user_namespace: user.map(|id| id.ino),
            start_ticks: caller.start_ticks,
            exe: caller.exe.as_ref().map(Into::into),
            arguments: arguments.map(|arguments| arguments.iter().map(String::from_utf8_lossy).collect()),
            arguments_base64: arguments.and_then(|arguments| bytes::base64_array(arguments.iter())),
            arguments_cut: arguments.is_some_and(Arguments::cut),
            cgroup: caller.cgroup.as_ref().map(Into::into),
        }
    }
}

impl<'a> From<&'a CloneChild> for ChildObject<'a> {
    fn from(child: &'a CloneChild) -> Self {
        let pids = (!child.pids.is_empty()).then_some(child.pids.as_slice());
        Self {
            pid: child.pid,
            tid: child.tid,
            ppid: child.ppid,
            pid_inside: child.pids.last().copied(),
            pids,
            cgroup: child.cgroup.as_ref().map(Into::into),
        }
    }
}
