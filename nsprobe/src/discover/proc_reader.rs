//! Reads only tasks and their namespaces from `/proc`, leaner than a snapshot: for `trace` where the kernel reports
//! little or nothing.

use super::context::Context;
use super::errno::denied;
use super::error::Error;
use super::gaps::Gaps;
use super::options::Options;
use super::{caller, parse, processes};
use crate::kernel::bounded::{self, Reading, Stuck};
use crate::kernel::proc::ProcessDir;
use crate::model::{Caller, Gap, GapKind, NsId, NsSlot, Pid, Process, Slots, Text};
use std::io;
use std::time::Duration;

/// A proc file system that is read repeatedly.
#[derive(Debug)]
pub struct ProcReader {
    context: Context,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its process.
    pub pid: Pid,
    /// Its id.
    pub tid: Pid,
    /// The parent of its process.
    pub ppid: Pid,
    /// Its name.
    pub comm: Text,
    /// Its namespaces; `None` if they may not be read.
    pub namespaces: Option<Slots<Option<NsId>>>,
}

impl ProcReader {
    /// Opens `/proc`.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { context: Context::open(&Options::default())? })
    }

    /// Returns true if its pids are those of nsprobe's own pid namespace.
    #[must_use]
    pub const fn has_own_pids(&self) -> bool {
        self.context.own_pids
    }

    /// Returns true if it shows the whole machine: pid 2 of the initial pid namespace is kthreadd, which any user may
    /// see. It also counts as present if reading it does not return.
    #[must_use]
    pub fn is_of_whole_machine(&self) -> bool {
        let proc = self.context.proc.clone();
        // In another pid namespace, pid 2 is an arbitrary process.
        let kthreadd = bounded::one(move |buffer| {
            proc.process(2).and_then(|dir| dir.read("stat", buffer))?;
            Ok(parse::stat(buffer).is_some_and(|facts| facts.ppid == 0 && facts.kernel_thread))
        });
        match kthreadd {
            Ok(Ok(is_kthreadd)) => is_kthreadd,
            Ok(Err(error)) => Stuck::behind(&error).is_some(),
            Err(_) => true,
        }
    }

    /// Starts to read every process, sorted by pid.
    pub fn processes(&self) -> io::Result<Processes> {
        let pids = self.context.proc.pids()?;
        Ok(Processes { reading: processes::alone(&self.context, pids.clone()), pids })
    }

    /// Starts to read every thread of every process. One that ends meanwhile may be missing.
    pub fn threads(&self) -> io::Result<Reading<Vec<Thread>>> {
        let context = self.context.clone();
        Ok(Reading::begin(self.context.proc.pids()?, move |&pid, buffer| {
            let Ok(process) = context.proc.process(pid) else { return Vec::new() };
            let tids = process.threads().unwrap_or_default();
            tids.into_iter().filter_map(|tid| thread(&context, &process, (pid, tid), buffer)).collect()
        }))
    }

    /// Starts to read the current facts of threads, given as process and thread, without their names. `Err`: it is
    /// gone, or cannot be read.
    #[must_use]
    pub fn callers(&self, wanted: Vec<(Pid, Pid)>) -> Reading<io::Result<Caller>> {
        let proc = self.context.proc.clone();
        Reading::begin(wanted, move |&(pid, tid), buffer| caller::read(&proc, pid, tid, buffer))
    }
}

/// The processes while they are being read.
pub struct Processes {
    pids: Vec<Pid>,
    reading: Reading<processes::Alone>,
}

/// The result of reading the processes.
#[derive(Debug, Default)]
pub struct ReadProcesses {
    /// Those that were read.
    pub processes: Vec<Process>,
    /// Those that do not answer, or did not in time.
    pub unread: Vec<Pid>,
    /// The gaps.
    pub gaps: Vec<Gap>,
}

impl Processes {
    /// Waits for the end, but no longer than `limit`; returns true if it was reached.
    pub fn wait(&mut self, limit: Duration) -> bool {
        self.reading.wait(limit)
    }

    /// Returns what has been read so far.
    #[must_use]
    pub fn take(self) -> ReadProcesses {
        let (mut result, mut gaps) = (ReadProcesses::default(), Gaps::default());
        for (pid, read) in std::iter::zip(self.pids, self.reading.take()) {
            match read {
                Ok((process, of_process)) => {
                    // Gone, or known to be stuck.
                    if process.is_none() {
                        result.unread.extend(of_process.any().then_some(pid));
                    }
                    result.processes.extend(process);
                    gaps.merge(of_process);
                }
                Err(stuck) => {
                    result.unread.push(pid);
                    gaps.add_stuck(GapKind::ProcessStatus, stuck);
                }
            }
        }
        ReadProcesses { gaps: gaps.finish(), ..result }
    }
}

fn thread(
    context: &Context,
    process: &ProcessDir,
    (pid, tid): (Pid, Pid),
    buffer: &mut Vec<u8>,
) -> Option<Thread> {
    let dir = process.thread(tid).ok()?;
    dir.read("stat", buffer).ok()?;
    let parse::StatFacts { ppid, comm, .. } = parse::stat(buffer)?;
    let mut namespaces = Slots::default();
    for slot in NsSlot::ALL {
        match context.namespace(&dir, slot) {
            Ok(id) => *namespaces.get_mut(slot) = id,
            Err(error) if denied(&error) => return Some(Thread { pid, tid, ppid, comm, namespaces: None }),
            // The kernel lacks this kind, or the task is ending.
            Err(_) => {}
        }
    }
    Some(Thread { pid, tid, ppid, comm, namespaces: Some(namespaces) })
}
