//! The processes, and the namespaces that `/proc/PID/ns/` says they are in.

use super::errno::{denied, vanished};
use super::found::Found;
use super::gaps::Gaps;
use super::{parse, threads};
use crate::kernel::bounded::{self, Reading};
use crate::kernel::clock::Offset;
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{Arguments, GapKind, NsId, NsKind, NsSlot, Pid, Process, Root, Slots, Text};
use std::ffi::CStr;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// Adds to `found` the processes `pids` of `proc`, without their command lines, and what else there is to find in their
/// directories.
pub(super) fn read(proc: &Proc, pids: &[Pid], nsfs_dev: u64, found: &mut Found, gaps: &mut Gaps) {
    let whose = Whose::new(proc, nsfs_dev);
    let proc = proc.clone();
    let parts = bounded::each(pids.to_vec(), move |&pid, buffer| {
        let (mut found, mut gaps) = (Found::default(), Gaps::default());
        Reader { whose, buffer, gaps: &mut gaps }.add(&proc, pid, &mut found);
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

/// One process, where there is one, and what could not be read of it.
pub(super) type Alone = (Option<Process>, Gaps);

/// Begins to read the processes `pids` of `proc`, and nothing else that their directories lead to.
pub(super) fn alone(proc: &Proc, pids: Vec<Pid>, nsfs_dev: u64) -> Reading<Alone> {
    let whose = Whose::new(proc, nsfs_dev);
    let proc = proc.clone();
    Reading::begin(pids, move |&pid, buffer| {
        let mut gaps = Gaps::default();
        let process = Reader { whose, buffer, gaps: &mut gaps }.open(&proc, pid);
        (process, gaps)
    })
}

/// Whose view a proc file system gives.
#[derive(Clone, Copy)]
struct Whose {
    nsfs_dev: u64,
    /// Whether a process has the number here that nsprobe knows it by.
    own_numbers: bool,
    own_pid_ns: Option<NsId>,
    offset: Offset,
}

impl Whose {
    fn new(proc: &Proc, nsfs_dev: u64) -> Self {
        let own_numbers = proc.own_pid() == Some(std::process::id());
        let own_pid_ns = own_pid_namespace(proc, nsfs_dev).filter(|_| own_numbers);
        Self { nsfs_dev, own_numbers, own_pid_ns, offset: proc.offset() }
    }
}

/// The reader's own pid namespace, when `proc` is its proc file system: a process in it has one id.
pub(super) fn own_pid_namespace(proc: &Proc, nsfs_dev: u64) -> Option<NsId> {
    // A proc mount of an outer pid namespace shows the reader by an id that is not its own.
    if proc.own_pid()? != std::process::id() {
        return None;
    }
    own_namespace(proc, NsKind::Pid, nsfs_dev)
}

struct Reader<'a> {
    whose: Whose,
    buffer: &'a mut Vec<u8>,
    gaps: &'a mut Gaps,
}

impl Reader<'_> {
    /// Counts an error; a process that has vanished is none.
    fn note(&mut self, kind: GapKind, error: &io::Error) {
        if !vanished(error) {
            self.gaps.add_error(kind, error);
        }
    }

    /// One process with its threads and descriptors, while its directory is at hand.
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
                        self.whose.nsfs_dev,
                        &mut found.divergent,
                        self.gaps,
                    );
                    let own_numbers = self.whose.own_numbers;
                    found.descriptors.find(
                        &process,
                        &dir,
                        &tids,
                        own_numbers,
                        self.whose.nsfs_dev,
                        self.gaps,
                    );
                }
                found.processes.push(process);
            }
            Err(error) => self.note(GapKind::ProcessStatus, &error),
        }
    }

    /// One process, without what else its directory leads to.
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
            self.gaps.add(GapKind::ProcessStatus, "/proc/PID/stat is not of the known form", None);
            return None;
        };
        let uid = dir.owner();
        let namespaces = self.namespaces(dir)?;
        // Its end may come between two reads: what was read before is true all the same.
        let pids = self.pids(pid, dir, namespaces.as_ref());
        let root = self.root(dir, namespaces.is_some());
        Some(Process {
            pid,
            ppid: facts.ppid,
            pids,
            start_ticks: self.whose.offset.start(facts.start_ticks),
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
            match namespace(dir, slot, self.whose.nsfs_dev) {
                Ok(id) => {
                    found |= id.is_some();
                    *slots.get_mut(slot) = id;
                }
                // A kind that the kernel lacks, the slots of a process that is ending, or no child yet.
                Err(error) if vanished(&error) => {}
                // The right to see one is the right to see all: ptrace(2), PTRACE_MODE_READ_FSCREDS.
                Err(error) if denied(&error) => {
                    self.note(GapKind::ProcessNamespaces, &error);
                    return Some(None);
                }
                Err(error) => self.note(GapKind::ProcessNamespaces, &error),
            }
        }
        // The last link is there, so the process was alive when this one was not.
        let waiting = slots.get(NsSlot::PidForChildren).is_none()
            && slots.of(NsKind::Pid).is_some()
            && slots.get(NsSlot::TimeForChildren).is_some();
        if waiting {
            let reason = "no child is in it yet";
            self.gaps.add(GapKind::PidForChildren, reason, Some("BPF reads it from the kernel"));
        }
        // With none of them left it is a zombie, or gone; a zombie still has its directory.
        (found || dir.stat("stat").is_ok()).then_some(Some(slots))
    }

    /// Only a process in another pid namespace has more than one id, and only then is `status` read. Empty: not known.
    fn pids(&mut self, pid: u32, dir: &ProcessDir, namespaces: Option<&Slots<Option<NsId>>>) -> Vec<u32> {
        let pid_ns = namespaces.and_then(|slots| *slots.of(NsKind::Pid));
        if pid_ns.is_some() && pid_ns == self.whose.own_pid_ns {
            return vec![pid];
        }
        let read = dir.read("status", self.buffer).map(|()| parse::pids(self.buffer));
        match read {
            Ok(Some(pids)) if pids.first() == Some(&pid) => pids,
            Ok(_) => {
                self.gaps.add(GapKind::ProcessIds, "/proc/PID/status is not of the known form", None);
                Vec::new()
            }
            Err(error) => {
                self.note(GapKind::ProcessIds, &error);
                Vec::new()
            }
        }
    }

    fn root(&mut self, dir: &ProcessDir, readable: bool) -> Root {
        match root(dir) {
            Ok(root) => root,
            Err(error) => {
                // Where the namespaces are not readable the root is not either: one gap says both.
                if readable {
                    self.note(GapKind::ProcessRoot, &error);
                }
                Root::Unknown
            }
        }
    }
}

/// The root directory of a process.
pub(super) fn root(dir: &ProcessDir) -> io::Result<Root> {
    Ok(match linked(dir, c"root")? {
        (path, false) if path == "/" => Root::Whole,
        (path, false) => Root::Chrooted(path),
        (path, true) => Root::Deleted(path),
    })
}

/// The path of what the link `name` of a process leads to, and whether that has been deleted.
pub(super) fn linked(dir: &ProcessDir, name: &CStr) -> io::Result<(Text, bool)> {
    let path = dir.read_link(&name.to_string_lossy())?.into_vec();
    // A name may end like this, so the file itself is asked.
    let former = path.strip_suffix(b" (deleted)").filter(|_| dir.is_deleted(name).unwrap_or(true));
    Ok(former.map_or_else(|| (path.as_slice().into(), false), |former| (former.into(), true)))
}

/// The namespace in a slot of a process or thread; `Ok(None)` when its link is not of the known form.
pub(super) fn namespace(dir: &ProcessDir, slot: NsSlot, nsfs_dev: u64) -> io::Result<Option<NsId>> {
    let text = dir.read_link(slot.link())?;
    Ok(parse::namespace_link(text.as_bytes()).map(|(kind, ino)| NsId::new(kind, nsfs_dev, ino)))
}

/// The namespace of this kind that nsprobe itself is in.
pub(super) fn own_namespace(proc: &Proc, kind: NsKind, nsfs_dev: u64) -> Option<NsId> {
    namespace(&proc.this_process().ok()?, NsSlot::In(kind), nsfs_dev).ok()?
}
