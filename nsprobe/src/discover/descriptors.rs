//! Namespaces that an open descriptor stands for, and the sockets, which belong to one.
//!
//! Every descriptor is looked at with one statx(2), and none by its link: the link of an nsfs file opened
//! through a mount is a path like any other, and after the mount has gone (`ip netns del`) it is `/`.
//! A thread that has left the table of its process (`CLONE_FILES`, unshare(2)) is found by comparing tables, with one
//! kcmp(2) a thread.

use super::sockets::{Belonging, SocketDescriptor};
use super::{Gaps, denied, parse, vanished};
use crate::kernel::kcmp::share_descriptors;
use crate::kernel::nsfs;
use crate::kernel::proc::ProcessDir;
use crate::model::{GapKind, NsId, Pid, Process};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

/// A descriptor of a namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamespaceDescriptor {
    pub(super) pid: Pid,
    /// The thread whose it is, where that has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    pub(super) id: NsId,
}

/// The descriptors of interest seen so far.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// Those of namespaces.
    pub(super) namespaces: Vec<NamespaceDescriptor>,
    /// Those of sockets, of which nothing is known yet.
    pub(super) sockets: Vec<SocketDescriptor>,
    /// Those of sockets whose network namespace is known.
    pub(super) belonging: Vec<Belonging>,
}

impl Descriptors {
    /// Adds others.
    pub(super) fn extend(&mut self, others: Self) {
        self.namespaces.extend(others.namespaces);
        self.sockets.extend(others.sockets);
        self.belonging.extend(others.belonging);
    }

    /// Of threads that share a table keeps the first, where that can be told: the kernel's iterator passes over only
    /// those that share their process's, which has none any more when its first thread has ended.
    pub(super) fn once_a_table(&mut self) {
        let namespaces = self.namespaces.iter().map(|found| (found.pid, found.tid));
        let sockets = self.belonging.iter().map(|found| (found.pid, found.tid));
        let mut threads: BTreeMap<Pid, BTreeSet<Pid>> = BTreeMap::new();
        for (pid, tid) in namespaces.chain(sockets) {
            threads.entry(pid).or_default().extend(tid);
        }
        let mut others = HashSet::new();
        for (pid, tids) in threads.into_iter().filter(|(_, tids)| tids.len() > 1) {
            let tids: Vec<Pid> = tids.into_iter().collect();
            if let Ok(first) = own_tables(pid, &tids, true) {
                others.extend(tids.into_iter().filter(|tid| !first.contains(tid)));
            }
        }
        let is_first = |tid: Option<Pid>| tid.is_none_or(|tid| !others.contains(&tid));
        self.namespaces.retain(|found| is_first(found.tid));
        self.belonging.retain(|found| is_first(found.tid));
    }

    /// Looks at the descriptors of one process, and of those of its other threads `tids` that have a table of their
    /// own. `own_numbers`: whether processes are numbered here as nsprobe's pid namespace does it.
    pub(super) fn find(
        &mut self,
        process: &Process,
        dir: &ProcessDir,
        tids: &[Pid],
        own_numbers: bool,
        nsfs_dev: u64,
        gaps: &mut Gaps,
    ) {
        // The kernel's own threads have none.
        if process.kernel_thread {
            return;
        }
        let pid = process.pid;
        let mut looked = self.look(pid, None, dir, nsfs_dev);
        match own_tables(pid, tids, own_numbers) {
            Ok(tables) => {
                for tid in tables {
                    let thread =
                        dir.thread(tid).and_then(|thread| self.look(pid, Some(tid), &thread, nsfs_dev));
                    looked = and(looked, thread);
                }
            }
            Err(Incomparable::Numbers) => gaps.add(GapKind::Descriptors, OTHER_NUMBERS, None),
            Err(Incomparable::Error(error)) => looked = and(looked, Err(error)),
        }
        match looked {
            Ok(()) => {}
            Err(error) if vanished(&error) => {}
            Err(error) => gaps.add_error(GapKind::Descriptors, &error),
        }
    }

    fn look(&mut self, pid: Pid, tid: Option<Pid>, dir: &ProcessDir, nsfs_dev: u64) -> io::Result<()> {
        let (descriptors, numbers) = dir.descriptors()?;
        let mut refused = Ok(());
        for fd in numbers {
            let file = match descriptors.stat(fd) {
                Ok(file) => file,
                // What cannot be asked for another reason (closed, a dead file server) is no namespace.
                Err(error) => {
                    refused = if denied(&error) { Err(error) } else { refused };
                    continue;
                }
            };
            if file.dev == nsfs_dev {
                match id(dir, fd, descriptors.read_link(fd), nsfs_dev) {
                    Ok(Some(id)) => self.namespaces.push(NamespaceDescriptor { pid, tid, fd, id }),
                    Ok(None) => {}
                    Err(error) if vanished(&error) => {}
                    Err(error) => refused = Err(error),
                }
            } else if file.is_socket {
                self.sockets.push(SocketDescriptor { pid, tid, fd, ino: file.ino });
            }
        }
        refused
    }
}

/// Both results; of two errors the first that does not merely say that a task has ended.
fn and(one: io::Result<()>, other: io::Result<()>) -> io::Result<()> {
    match one {
        Err(error) if !vanished(&error) => Err(error),
        _ => other,
    }
}

/// What is not seen of processes with several threads when they cannot be compared.
const OTHER_NUMBERS: &str =
    "descriptors of threads with a table of their own: this /proc is of another pid namespace";

/// Why tables cannot be compared.
enum Incomparable {
    /// Tasks have other numbers in nsprobe's pid namespace than in this `/proc`.
    Numbers,
    /// The kernel says no.
    Error(io::Error),
}

/// Those threads `tids` of the process `pid` that have another table than it, and than those before.
fn own_tables(pid: Pid, tids: &[Pid], own_numbers: bool) -> Result<Vec<Pid>, Incomparable> {
    if !tids.is_empty() && !own_numbers {
        return Err(Incomparable::Numbers);
    }
    let mut tables = vec![pid];
    for &tid in tids {
        let mut shared = false;
        for &other in &tables {
            match share_descriptors(other, tid) {
                Ok(same) => shared |= same,
                // The thread, or the one that it is compared with, has ended.
                Err(error) if vanished(&error) => {}
                Err(error) => return Err(Incomparable::Error(error)),
            }
            if shared {
                break;
            }
        }
        if !shared {
            tables.push(tid);
        }
    }
    tables.remove(0);
    Ok(tables)
}

/// The namespace that a descriptor stands for: by the text of its link, else by asking the namespace.
fn id(dir: &ProcessDir, fd: u32, link: io::Result<OsString>, nsfs_dev: u64) -> io::Result<Option<NsId>> {
    if let Some((kind, ino)) = parse::namespace_link(link?.as_bytes()) {
        return Ok(Some(NsId::new(kind, nsfs_dev, ino)));
    }
    let namespace = dir.open_namespace_descriptor(fd, nsfs_dev)?;
    nsfs::kind(namespace.as_fd())?.map(|kind| nsfs::id(namespace.as_fd(), kind)).transpose()
}
