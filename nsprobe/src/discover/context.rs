//! Context of a snapshot: what each step of it needs to know, and none changes.

use super::error::Error;
use super::options::Options;
use super::parse;
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{NsId, NsKind, NsSlot};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The proc file system that is read, and what it is to nsprobe.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) proc: Proc,
    /// The device of nsfs: one for the whole machine. 0 if the proc root is not a live one.
    pub(super) nsfs_dev: u64,
    /// True if pids here are those of nsprobe's own pid namespace. (A proc mount of an outer pid namespace shows nsprobe
    /// with a different pid.)
    pub(super) own_pids: bool,
    /// True if BPF may be used.
    pub(super) bpf: bool,
}

impl Context {
    /// Opens the proc file system.
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        let proc = Proc::open(&options.proc_root)
            .map_err(|source| Error::Proc { path: options.proc_root.clone(), source })?;
        let nsfs_dev = nsfs_dev(&proc);
        let own_pids = has_own_pids(&proc);
        Ok(Self { proc, nsfs_dev, own_pids, bpf: options.bpf })
    }

    /// Returns the id of the namespace with this kind and inode.
    pub(super) const fn id(&self, kind: NsKind, ino: u64) -> NsId {
        NsId::new(kind, self.nsfs_dev, ino)
    }

    /// Reads the namespace in a slot of a process or thread; `Ok(None)` if its link is malformed.
    pub(super) fn namespace(&self, dir: &ProcessDir, slot: NsSlot) -> io::Result<Option<NsId>> {
        let text = dir.read_link(slot.link())?;
        Ok(parse::namespace_link(text.as_bytes()).map(|(kind, ino)| self.id(kind, ino)))
    }

    /// Returns nsprobe's own namespace of this kind.
    pub(super) fn own_namespace(&self, kind: NsKind) -> Option<NsId> {
        self.namespace(&self.proc.this_process().ok()?, NsSlot::In(kind)).ok()?
    }

    /// Returns nsprobe's own pid namespace, if this `/proc` shows that one: its members have a single pid.
    pub(super) fn own_pid_namespace(&self) -> Option<NsId> {
        self.own_pids.then(|| self.own_namespace(NsKind::Pid))?
    }
}

/// Returns true if this is the proc file system of nsprobe's own pid namespace: it shows nsprobe with its own pid, and no
/// further one inside. (The pid alone may be the same in both: clone3(2) can set it.)
fn has_own_pids(proc: &Proc) -> bool {
    let mut status = Vec::new();
    let read = |status: &mut Vec<u8>| proc.this_process()?.read("status", status);
    // Before Linux 4.1, and without pid namespaces, the pids are not in there.
    proc.own_pid() == Some(std::process::id())
        && (read(&mut status).is_err() || parse::pids(&status).is_none_or(|pids| pids.len() == 1))
}

fn nsfs_dev(proc: &Proc) -> u64 {
    // In a proc mount of another pid namespace there is no `self`; its namespaces are on the same nsfs.
    let own =
        proc.this_process().or_else(|_| Proc::open(Path::new("/proc")).and_then(|own| own.this_process()));
    own.and_then(|own| own.stat("ns/mnt")).map_or(0, |stat| stat.st_dev)
}
