//! Namespaces that an open descriptor stands for, and the sockets, which belong to one.
//!
//! Every descriptor is looked at with one statx(2), and none by its link: the link of an nsfs file opened
//! through a mount is a path like any other, and after the mount has gone (`ip netns del`) it is `/`.
//! Descriptors of threads that have left the table of their process (`CLONE_FILES`, unshare(2)) are not
//! seen here: only the kernel's own tables show them (`records`).

use super::sockets::{Belonging, SocketDescriptor};
use super::{Gaps, denied, parse, vanished};
use crate::kernel::nsfs;
use crate::kernel::proc::ProcessDir;
use crate::model::{GapKind, NsId, Pid, Process};
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
    /// Looks at the descriptors of one process.
    pub(super) fn find(&mut self, process: &Process, dir: &ProcessDir, nsfs_dev: u64, gaps: &mut Gaps) {
        // The kernel's own threads have none.
        if process.kernel_thread {
            return;
        }
        match self.look(process.pid, dir, nsfs_dev) {
            Ok(()) => {}
            Err(error) if vanished(&error) => {}
            Err(error) => gaps.add_error(GapKind::Descriptors, &error),
        }
    }

    fn look(&mut self, pid: Pid, dir: &ProcessDir, nsfs_dev: u64) -> io::Result<()> {
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
                    Ok(Some(id)) => self.namespaces.push(NamespaceDescriptor { pid, tid: None, fd, id }),
                    Ok(None) => {}
                    Err(error) if vanished(&error) => {}
                    Err(error) => refused = Err(error),
                }
            } else if file.is_socket {
                self.sockets.push(SocketDescriptor { pid, fd, ino: file.ino });
            }
        }
        refused
    }
}

/// The namespace that a descriptor stands for: by the text of its link, else by asking the namespace.
fn id(dir: &ProcessDir, fd: u32, link: io::Result<OsString>, nsfs_dev: u64) -> io::Result<Option<NsId>> {
    if let Some((kind, ino)) = parse::namespace_link(link?.as_bytes()) {
        return Ok(Some(NsId::new(kind, nsfs_dev, ino)));
    }
    let namespace = dir.open_namespace_descriptor(fd, nsfs_dev)?;
    nsfs::kind(namespace.as_fd())?.map(|kind| nsfs::id(namespace.as_fd(), kind)).transpose()
}
