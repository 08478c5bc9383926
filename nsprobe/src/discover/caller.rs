//! The facts that `/proc` shows of a task beside its namespaces.

use super::{command_lines, parse};
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{Caller, Pid, ResolvedPath};
use std::io;

/// The fields used of `/proc/PID/status`: proc_pid_status(5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct StatusFacts {
    ppid: Option<u32>,
    uid: u32,
    gid: u32,
    euid: u32,
    cap_effective: u64,
    /// Pids of the process, outermost first.
    pids: Vec<u32>,
}

fn status(bytes: &[u8]) -> Option<StatusFacts> {
    let status = parse::status(bytes)?;
    let ids = status.nstgid.unwrap_or_default();
    Some(StatusFacts {
        ppid: u32::try_from(status.ppid).ok(),
        uid: status.ruid,
        gid: status.rgid,
        euid: status.euid,
        cap_effective: status.capeff,
        pids: ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect(),
    })
}

/// Reads the current facts of the thread `tid` of the process `pid`, without its name.
pub(super) fn read(proc: &Proc, pid: Pid, tid: Pid, buffer: &mut Vec<u8>) -> io::Result<Caller> {
    let process = proc.process(pid)?;
    let thread = process.thread(tid)?;
    let mut caller = Caller::new(pid, tid);
    thread.read("status", buffer)?;
    if let Some(facts) = status(buffer) {
        caller.ppid = facts.ppid;
        (caller.uid, caller.gid, caller.euid) = (Some(facts.uid), Some(facts.gid), Some(facts.euid));
        caller.cap_effective = Some(facts.cap_effective);
        caller.pids = facts.pids;
    }
    process.read("stat", buffer)?;
    caller.start_ticks = parse::stat(buffer).map(|facts| proc.offset().start(facts.start_ticks));
    caller.exe = exe(&process);
    caller.arguments = command_lines::of(&process, buffer).filter(|arguments| !arguments.is_empty());
    Ok(caller)
}

/// Reads the executable, if its link may be read; a kernel thread has none.
fn exe(process: &ProcessDir) -> Option<ResolvedPath> {
    let (path, deleted) = super::roots::linked(process, c"exe").ok()?;
    Some(ResolvedPath { path, deleted, ..ResolvedPath::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bounded;

    #[test]
    fn own_task_is_read_from_proc() {
        let of_thread = Proc::open("/proc".as_ref()).unwrap();
        let own = std::process::id();
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        let read = |pid, tid| {
            let proc = of_thread.clone();
            bounded::one(move |buffer| read(&proc, pid, tid, buffer)).unwrap()
        };
        let caller = read(own, tid).unwrap();
        assert_eq!(
            (caller.pid, caller.tid, caller.ppid),
            (own, tid, Some(std::os::unix::process::parent_id()))
        );
        assert_eq!(caller.pids.first(), Some(&own));
        assert_eq!(caller.euid, Some(nix::unistd::geteuid().as_raw()));
        let exe = std::fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(caller.exe.unwrap().path, crate::model::Text::from(exe));
        assert!(caller.start_ticks.is_some() && caller.arguments.is_some());
        assert!(read(own, 1).is_err(), "another process's thread");
    }

    #[test]
    fn malformed_status_is_none() {
        assert_eq!(status(b""), None);
        assert_eq!(status(b"Name:\tx\n"), None);
    }
}
