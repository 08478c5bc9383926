//! The processes, and the namespaces that `/proc/PID/ns/` shows for them.

use super::errno::{denied, vanished};
use super::found::Found;
use super::gaps::Gaps;
use super::roots::Roots;
use super::{parse, threads};
use crate::kernel::bounded::{self, Reading};
use crate::kernel::clock::Offset;
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{Arguments, GapKind, NsId, NsKind, NsSlot, Pid, Process, Root, Slots};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

/// Adds to `found` the processes `pids` of `proc`, without their command lines, and what else their directories
/// contain.
pub(super) fn read(proc: &Proc, pids: &[Pid], nsfs_dev: u64, found: &mut Found, gaps: &mut Gaps) {
    let (view, roots) = (View::new(proc, nsfs_dev), Roots::new(proc));
    let proc = proc.clone();
    let parts = bounded::each(pids.to_vec(), move |&pid, buffer| {
        let (mut found, mut gaps) = (Found::default(), Gaps::default());
        Reader { view, roots: &roots, buffer, gaps: &mut gaps }.add(&proc, pid, &mut found);
        (found, gaps)
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

/// Starts to read the processes `pids` of `proc`, and nothing else that their directories lead to.
pub(super) fn alone(proc: &Proc, pids: Vec<Pid>, nsfs_dev: u64) -> Reading<Alone> {
    let (view, roots) = (View::new(proc, nsfs_dev), Roots::new(proc));
    let proc = proc.clone();
    Reading::begin(pids, move |&pid, buffer| {
        let mut gaps = Gaps::default();
        let process = Reader { view, roots: &roots, buffer, gaps: &mut gaps }.open(&proc, pid);
        (process, gaps)
    })
}

/// The viewpoint of a proc file system.
#[derive(Clone, Copy)]
struct View {
    nsfs_dev: u64,
    /// True if pids here are those of nsprobe's pid namespace.
    own_pids: bool,
    own_pid_ns: Option<NsId>,
    offset: Offset,
}

impl View {
    fn new(proc: &Proc, nsfs_dev: u64) -> Self {
        let own_pids = proc.own_pid() == Some(std::process::id());
        let own_pid_ns = own_pid_namespace(proc, nsfs_dev).filter(|_| own_pids);
        Self { nsfs_dev, own_pids, own_pid_ns, offset: proc.offset() }
    }
}

/// Returns the reader's own pid namespace, if `proc` shows that one: its members have a single pid.
pub(super) fn own_pid_namespace(proc: &Proc, nsfs_dev: u64) -> Option<NsId> {
    // A proc mount of an outer pid namespace shows the reader with a different pid.
    if proc.own_pid()? != std::process::id() {
        return None;
    }
    own_namespace(proc, NsKind::Pid, nsfs_dev)
}

struct Reader<'a> {
    view: View,
    roots: &'a Roots,
    buffer: &'a mut Vec<u8>,
    gaps: &'a mut Gaps,
}

impl Reader<'_> {
    /// Counts an error, unless the process has vanished.
    fn note(&mut self, kind: GapKind, error: &io::Error) {
        if !vanished(error) {
            self.gaps.add_error(kind, error);
        }
    }

    /// Reads one process with its threads and descriptors, while its directory is open.
    fn add(&mut self, proc: &Proc, pid: Pid, found: &mut Found) {
        match proc.process(pid) {
            Ok(dir) => {
                let Some(mut process) = self.process(pid, &dir) else { return };
                if process.namespaces.is_some() {
                    let tids = threads::ids(&process, &dir, self.gaps);
                    threads::find(
                        &mut process,
                        &dir,
                        &tids,
                        self.view.nsfs_dev,
                        &mut found.divergent,
                        self.gaps,
                    );
                    let own_pids = self.view.own_pids;
                    found.descriptors.find(&process, &dir, &tids, own_pids, self.view.nsfs_dev, self.gaps);
                }
                found.processes.push(process);
            }
            Err(error) => self.note(GapKind::ProcessStatus, &error),
        }
    }

    /// Reads one process, without what else its directory leads to.
    fn open(&mut self, proc: &Proc, pid: Pid) -> Option<Process> {
        match proc.process(pid) {
            Ok(dir) => self.process(pid, &dir),
            Err(error) => {
                self.note(GapKind::ProcessStatus, &error);
                None
            }
        }
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
            start_ticks: self.view.offset.start(facts.start_ticks),
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
            match namespace(dir, slot, self.view.nsfs_dev) {
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
        match self.roots.read(dir, namespaces.and_then(|slots| *slots.of(NsKind::Mnt))) {
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

/// Reads the namespace in a slot of a process or thread; `Ok(None)` if its link is malformed.
pub(super) fn namespace(dir: &ProcessDir, slot: NsSlot, nsfs_dev: u64) -> io::Result<Option<NsId>> {
    let text = dir.read_link(slot.link())?;
    Ok(parse::namespace_link(text.as_bytes()).map(|(kind, ino)| NsId::new(kind, nsfs_dev, ino)))
}

/// Returns nsprobe's own namespace of this kind.
pub(super) fn own_namespace(proc: &Proc, kind: NsKind, nsfs_dev: u64) -> Option<NsId> {
    namespace(&proc.this_process().ok()?, NsSlot::In(kind), nsfs_dev).ok()?
}
