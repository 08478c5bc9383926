//! The processes, and the namespaces that `/proc/PID/ns/` shows for them.

use super::context::Context;
use super::directory_reader::{DirectoryReader, View};
use super::errno::{denied, vanished};
use super::found::Found;
use super::gaps::Gaps;
use super::parse;
use crate::kernel::bounded::{self, Reading};
use crate::kernel::proc::ProcessDir;
use crate::model::{Arguments, GapKind, NsId, NsKind, NsSlot, Pid, Process, Root, Slots};

/// Adds to `found` the processes `pids`, without their command lines, and what else their directories contain.
pub(super) fn read(context: &Context, pids: &[Pid], found: &mut Found, gaps: &mut Gaps) {
    let view = View::new(context);
    let parts = bounded::each(pids.to_vec(), move |&pid, buffer| {
        let mut reader = DirectoryReader::new(&view, buffer);
        reader.read_whole(pid);
        (reader.found, reader.gaps)
    });
    for part in parts {
        match part {
            Ok((part, part_gaps)) => {
                found.extend(part);
                gaps.merge(part_gaps);
            }
            Err(stuck) => gaps.add_stuck(GapKind::ProcessStatus, stuck),
        }
    }
}

/// A process, if it exists, and what could not be read of it.
pub(super) type Alone = (Option<Process>, Gaps);

/// Starts to read the processes `pids`, and nothing else that their directories lead to.
pub(super) fn alone(context: &Context, pids: Vec<Pid>) -> Reading<Alone> {
    let view = View::new(context);
    Reading::begin(pids, move |&pid, buffer| {
        let mut reader = DirectoryReader::new(&view, buffer);
        let process = reader.open(pid).and_then(|dir| reader.process(pid, &dir));
        (process, reader.gaps)
    })
}

impl DirectoryReader<'_> {
    /// Reads one process with its threads and descriptors, while its directory is open.
    fn read_whole(&mut self, pid: Pid) {
        let Some(dir) = self.open(pid) else { return };
        let Some(mut process) = self.process(pid, &dir) else { return };
        if process.namespaces.is_some() {
            let tids = self.other_threads(&process, &dir);
            self.find_divergent(&mut process, &dir, &tids);
            self.find_descriptors(&process, &dir, &tids);
        }
        self.found.processes.push(process);
    }

    fn open(&mut self, pid: Pid) -> Option<ProcessDir> {
        self.view.context.proc.process(pid).map_err(|error| self.note(GapKind::ProcessStatus, &error)).ok()
    }

    fn process(&mut self, pid: u32, dir: &ProcessDir) -> Option<Process> {
        let facts = match dir.read("stat", self.buffer) {
            Ok(()) => parse::stat(self.buffer),
            Err(error) => {
                self.note(GapKind::ProcessStatus, &error);
                return None;
            }
        };
        let Some(facts) = facts else {
            self.gaps.add(GapKind::ProcessStatus, "/proc/PID/stat has an unexpected format", None);
            return None;
        };
        let uid = dir.owner();
        let namespaces = self.namespaces(dir)?;
        // It may end between two reads: what was read before remains true.
        let pids = self.pids(pid, dir, namespaces.as_ref());
        let root = self.root(dir, namespaces.as_ref());
        Some(Process {
            pid,
            ppid: facts.ppid,
            pids,
            start_ticks: self.view.context.proc.offset().start(facts.start_ticks),
            threads: facts.threads,
            kernel_thread: facts.kernel_thread,
            uid,
            comm: facts.comm,
            arguments: Arguments::default(),
            namespaces,
            root,
        })
    }

    /// `None`: the process is gone. `Some(None)`: its namespaces may not be read.
    #[expect(clippy::option_option, reason = "the two say different things, and both are common")]
    fn namespaces(&mut self, dir: &ProcessDir) -> Option<Option<Slots<Option<NsId>>>> {
        let mut slots = Slots::default();
        let mut found = false;
        for slot in NsSlot::ALL {
            match self.view.context.namespace(dir, slot) {
                Ok(id) => {
                    found |= id.is_some();
                    *slots.get_mut(slot) = id;
                }
                // The kernel lacks this kind, the process is ending, or it has no child yet.
                Err(error) if vanished(&error) => {}
                // Permission for one is permission for all: ptrace(2), PTRACE_MODE_READ_FSCREDS.
                Err(error) if denied(&error) => {
                    self.note(GapKind::ProcessNamespaces, &error);
                    return Some(None);
                }
                Err(error) => self.note(GapKind::ProcessNamespaces, &error),
            }
        }
        // The last link is present, so the process was alive when this one was missing.
        let waiting = slots.get(NsSlot::PidForChildren).is_none()
            && slots.of(NsKind::Pid).is_some()
            && slots.get(NsSlot::TimeForChildren).is_some();
        if waiting {
            let reason = "no child is in it yet";
            self.gaps.add(GapKind::PidForChildren, reason, Some("BPF reads it from the kernel"));
        }
        // If none of them is left it is a zombie, or gone; a zombie still has its directory.
        (found || dir.stat("stat").is_ok()).then_some(Some(slots))
    }

    /// Reads the pids. Only a process in another pid namespace has more than one, and only then is `status` read.
    /// Empty: unknown.
    fn pids(&mut self, pid: u32, dir: &ProcessDir, namespaces: Option<&Slots<Option<NsId>>>) -> Vec<u32> {
        let pid_ns = namespaces.and_then(|slots| *slots.of(NsKind::Pid));
        if pid_ns.is_some() && pid_ns == self.view.own_pid_ns {
            return vec![pid];
        }
        let read = dir.read("status", self.buffer).map(|()| parse::pids(self.buffer));
        match read {
            Ok(Some(pids)) if pids.first() == Some(&pid) => pids,
            Ok(_) => {
                self.gaps.add(GapKind::ProcessIds, "/proc/PID/status has an unexpected format", None);
                Vec::new()
            }
            Err(error) => {
                self.note(GapKind::ProcessIds, &error);
                Vec::new()
            }
        }
    }

    fn root(&mut self, dir: &ProcessDir, namespaces: Option<&Slots<Option<NsId>>>) -> Root {
        let readable = namespaces.is_some();
        match self.view.roots.read(dir, namespaces.and_then(|slots| *slots.of(NsKind::Mnt))) {
            Ok(root) => root,
            Err(error) => {
                // If the namespaces are not readable, the root is not either: one gap covers both.
                if readable {
                    self.note(GapKind::ProcessRoot, &error);
                }
                Root::Unknown
            }
        }
    }
}
