//! A look at `/proc` for tasks and their namespaces alone, leaner than a snapshot: for `trace` where the kernel tells it
//! little or nothing.

use super::{Error, Gaps, Options, denied, nsfs_dev, open, parse, processes, who};
use crate::kernel::proc::Proc;
use crate::model::{Actor, Gap, NsId, NsSlot, Pid, Process, Slots, Text};
use std::io;

/// A proc file system that is looked at again and again.
#[derive(Debug)]
pub struct Look {
    proc: Proc,
    nsfs_dev: u64,
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
    /// Its namespaces; `None` when they may not be read.
    pub namespaces: Option<Slots<Option<NsId>>>,
}

impl Look {
    /// Opens `/proc`.
    pub fn open() -> Result<Self, Error> {
        let proc = open(&Options::default())?;
        let nsfs_dev = nsfs_dev(&proc);
        Ok(Self { proc, nsfs_dev })
    }

    /// Whether it has the numbers by which nsprobe itself knows processes, and not those of another pid namespace.
    #[must_use]
    pub fn has_own_numbers(&self) -> bool {
        self.proc.own_pid() == Some(std::process::id())
    }

    /// Whether it shows the whole machine: pid 2 of the initial pid namespace is kthreadd, which any user may see.
    #[must_use]
    pub fn is_of_whole_machine(&self) -> bool {
        let mut buffer = Vec::new();
        let read = self.proc.process(2).and_then(|dir| dir.read("stat", &mut buffer));
        read.is_ok() && parse::stat(&buffer).is_some_and(|facts| facts.ppid == 0 && facts.kernel_thread)
    }

    /// Every process, in the order of their numbers, and what could not be read.
    pub fn processes(&self) -> io::Result<(Vec<Process>, Vec<Gap>)> {
        let mut gaps = Gaps::default();
        let processes = processes::alone(&self.proc, &self.proc.pids()?, self.nsfs_dev, &mut gaps);
        Ok((processes, gaps.finish()))
    }

    /// Every thread of every process. One that ends meanwhile may be missing.
    pub fn threads(&self) -> io::Result<Vec<Thread>> {
        let mut threads = Vec::new();
        for pid in self.proc.pids()? {
            let Ok(process) = self.proc.process(pid) else { continue };
            for tid in process.threads().unwrap_or_default() {
                threads.extend(self.thread(&process, pid, tid));
            }
        }
        Ok(threads)
    }

    fn thread(&self, process: &crate::kernel::proc::ProcessDir, pid: Pid, tid: Pid) -> Option<Thread> {
        let dir = process.thread(tid).ok()?;
        let mut buffer = Vec::new();
        dir.read("stat", &mut buffer).ok()?;
        let parse::StatFacts { ppid, comm, .. } = parse::stat(&buffer)?;
        let mut namespaces = Slots::default();
        for slot in NsSlot::ALL {
            match processes::namespace(&dir, slot, self.nsfs_dev) {
                Ok(id) => *namespaces.get_mut(slot) = id,
                Err(error) if denied(&error) => {
                    return Some(Thread { pid, tid, ppid, comm, namespaces: None });
                }
                // A kind that the kernel lacks, or the task is ending.
                Err(_) => {}
            }
        }
        Some(Thread { pid, tid, ppid, comm, namespaces: Some(namespaces) })
    }

    /// What is known of a thread now, without its name. `Err`: it has gone.
    pub fn actor(&self, pid: Pid, tid: Pid) -> io::Result<Actor> {
        who::read(&self.proc, pid, tid)
    }
}
