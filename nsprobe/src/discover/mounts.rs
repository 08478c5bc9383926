//! Namespaces kept alive by a bind mount of their nsfs file, in any mount namespace, whether or not a
//! process is in it.
//!
//! From Linux 6.12 on the kernel lists the mount namespaces themselves (`NS_MNT_GET_NEXT`), and from 6.11 on
//! the mounts of one that is known (listmount(2)). Without these, and in a mount namespace in which nsprobe
//! has no `CAP_SYS_ADMIN`, it is `/proc/PID/mountinfo` of a process in it that tells.

use super::census::{Census, Witness};
use super::reach::MountPoint;
use super::relations::Inquiry;
use super::{Gaps, parse, processes, vanished};
use crate::kernel::mounts::MountTable;
use crate::kernel::nsfs::{self, Neighbour};
use crate::kernel::proc::Proc;
use crate::model::{GapKind, Holder, NsId, NsKind, NsSlot, Pid, Process, Source};
use parse::NamespaceMount;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

/// Adds the mounted namespaces, each with its mounts as holders; and the mount namespaces that the kernel
/// lists.
pub(super) fn find(
    proc: &Proc,
    nsfs_dev: u64,
    processes: &[Process],
    inquiry: &mut Inquiry<'_>,
    census: &mut Census,
    gaps: &mut Gaps,
) {
    let readable = |pid| proc.process(pid).and_then(|dir| dir.read_link("root")).is_ok();
    let readers = Census::mount_readers(processes, readable);
    let own =
        proc.this_process().and_then(|own| processes::namespace(&own, NsSlot::In(NsKind::Mnt), nsfs_dev));
    let mut search = Search {
        proc,
        nsfs_dev,
        readers,
        own: own.unwrap_or_default(),
        table: Some(MountTable::default()),
        seen: HashSet::new(),
    };
    search.listed_by_the_kernel(inquiry, census, gaps);
    // A mount may be of a mount namespace that nothing else has led to.
    loop {
        let is_new = |id: &NsId| id.kind == NsKind::Mnt && !search.seen.contains(id);
        let new: Vec<NsId> = census.ids().into_iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        for id in new {
            search.known(id, inquiry, census, gaps);
        }
    }
}

struct Search<'a> {
    proc: &'a Proc,
    nsfs_dev: u64,
    /// A process in each mount namespace.
    readers: BTreeMap<NsId, Pid>,
    /// nsprobe's own mount namespace.
    own: Option<NsId>,
    /// `None` on a kernel that has no listmount(2) for other mount namespaces.
    table: Option<MountTable>,
    seen: HashSet<NsId>,
}

impl Search<'_> {
    /// Those mount namespaces that the kernel lists to us.
    fn listed_by_the_kernel(&mut self, inquiry: &mut Inquiry<'_>, census: &mut Census, gaps: &mut Gaps) {
        let own = self.proc.this_process().and_then(|own| own.open_namespace("ns/mnt"));
        let Ok(own) = own else { return };
        if let (Ok(id), Ok(_)) =
            (nsfs::id(own.as_fd(), NsKind::Mnt), nsfs::mount_namespace(own.as_fd(), Neighbour::Next))
        {
            census.entry(id).source(Source::KernelLists);
        }
        for way in [Neighbour::Previous, Neighbour::Next] {
            let mut last: Option<OwnedFd> = None;
            loop {
                let from = last.as_ref().map_or(own.as_fd(), OwnedFd::as_fd);
                let next = match nsfs::mount_namespace(from, way) {
                    Ok(next) => next,
                    Err(error) if not_there(&error) => {
                        gaps.add(
                            GapKind::Source,
                            "mount namespaces that nothing in /proc leads to cannot be listed",
                            Some("Linux 6.12 lists them"),
                        );
                        return;
                    }
                    Err(error) => return gaps.add_error(GapKind::Mounts, &error),
                };
                let Some(fd) = next else { break };
                match nsfs::id(fd.as_fd(), NsKind::Mnt).and_then(|id| Ok((id, fd.try_clone()?))) {
                    Ok((id, copy)) => {
                        census.entry(id).source(Source::KernelLists);
                        self.mounts(id, fd.as_fd(), census, gaps);
                        if !census.entry(id).asked {
                            inquiry.ask(id, copy, census, gaps);
                        }
                    }
                    Err(error) => gaps.add_error(GapKind::Mounts, &error),
                }
                last = Some(fd);
            }
        }
    }

    /// One that is known by other means.
    fn known(&mut self, id: NsId, inquiry: &Inquiry<'_>, census: &mut Census, gaps: &mut Gaps) {
        if self.table.is_some() {
            let witnesses = census.entry(id).witnesses.clone();
            match inquiry.open(id, &witnesses) {
                Ok(Some(fd)) => return self.mounts(id, fd.as_fd(), census, gaps),
                // All that led to it has gone, and it as well.
                Ok(None) if !witnesses.is_empty() => {
                    self.seen.insert(id);
                    return;
                }
                // Not to be opened: the process that is in it may still be read.
                Ok(None) | Err(_) => {}
            }
        }
        self.mountinfo(id, census, gaps);
    }

    /// The mounts of a mount namespace, by its descriptor.
    fn mounts(&mut self, id: NsId, fd: BorrowedFd<'_>, census: &mut Census, gaps: &mut Gaps) {
        let kernel_id = nsfs::kernel_id(fd, NsKind::Mnt);
        let listed = match (&mut self.table, kernel_id) {
            (Some(table), Some(kernel_id)) => table.nsfs_mounts(kernel_id),
            _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        };
        match listed {
            Ok(mounts) => {
                self.seen.insert(id);
                for mount in mounts {
                    let Some((kind, ino)) = parse::namespace_link(mount.root.as_bytes()) else { continue };
                    let mount =
                        NamespaceMount { kind, ino, path: mount.point.into(), mount_id: mount.number };
                    self.add(id, mount, census);
                }
            }
            // It has just lost the last that held it. Who has no right to its mounts is told the same; a process in
            // it may be readable all the same.
            Err(error) if vanished(&error) && !self.readers.contains_key(&id) => {
                self.seen.insert(id);
            }
            Err(error) => {
                if not_there(&error) {
                    self.table = None;
                }
                self.mountinfo(id, census, gaps);
            }
        }
    }

    /// The mounts of a mount namespace, by a process in it.
    fn mountinfo(&mut self, id: NsId, census: &mut Census, gaps: &mut Gaps) {
        self.seen.insert(id);
        let Some(&pid) = self.readers.get(&id) else {
            let reason = "no process is in it";
            gaps.add(GapKind::Mounts, reason, Some("Linux 6.11 tells them, to root"));
            return;
        };
        let mut buffer = Vec::new();
        match self.proc.process(pid).and_then(|dir| dir.read("mountinfo", &mut buffer)) {
            Ok(()) => {}
            Err(error) if vanished(&error) => return,
            Err(error) => return gaps.add_error(GapKind::Mounts, &error),
        }
        for mount in parse::namespace_mounts(&buffer) {
            self.add(id, mount, census);
        }
    }

    fn add(&self, mount_namespace: NsId, mount: NamespaceMount, census: &mut Census) {
        let NamespaceMount { kind, ino, path, mount_id } = mount;
        let entry = census.entry(NsId::new(kind, self.nsfs_dev, ino));
        let here = self.own == Some(mount_namespace);
        let way = |reader| MountPoint { mount_namespace, reader, mount_id, path: path.clone() };
        if let Some(&pid) = self.readers.get(&mount_namespace) {
            entry.witness(Witness::Mount(way(Some(pid))));
        }
        if here {
            // No tenant can put anything in this way.
            entry.first_mount(way(None));
        }
        entry.held(Holder::BindMount { mount_namespace, path, here });
    }
}

/// Whether an error says that the kernel does not know what it was asked.
fn not_there(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::ENOTTY | libc::E2BIG | libc::EINVAL))
}
