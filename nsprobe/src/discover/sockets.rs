//! Network namespaces that nothing but a socket holds.
//!
//! `/proc` does not say which network namespace a socket is in, so each socket is asked once, whoever shares
//! it; see [`kernel::sockets`](crate::kernel::sockets) for what that does. Asking for the number of the
//! namespace changes nothing; the namespace itself is opened, which makes one that is held by sockets only
//! active again for that moment, only when its number is not known otherwise and BPF may not read it in the
//! kernel's tables: one socket of each such namespace. Before Linux 6.18 the numbers of namespaces are not known, and
//! one socket of every namespace is asked for it; before 5.14 every socket.
//!
//! Where BPF shows the kernel's own tables none of this is needed: the record of a socket says where it belongs.
//!
//! Descriptors of tun devices, which belong to a network namespace as well, are left alone: before Linux
//! 6.10 asking them could bring a freed namespace back into use.

use super::census::Census;
use super::records::SocketNamespace;
use super::relations::{self, Inquiry};
use super::tasks;
use super::{Gaps, vanished};
use crate::kernel::listns::{self, Number};
use crate::kernel::nsfs;
use crate::kernel::proc::Proc;
use crate::kernel::sockets::{PidFd, Socket};
use crate::model::{GapKind, Holder, NsId, NsKind, Pid};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;

/// A descriptor of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketDescriptor {
    pub(super) pid: Pid,
    /// The thread whose descriptor it is, where that has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    /// The socket's inode.
    pub(super) ino: u64,
}

/// A socket, and the network namespace that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belonging {
    pub(super) pid: Pid,
    /// The thread whose descriptor it is, where that has a table of its own.
    pub(super) tid: Option<Pid>,
    pub(super) fd: u32,
    pub(super) namespace: SocketNamespace,
}

/// Adds the network namespaces of `sockets` that no process is in, each with its sockets.
///
/// Where a namespace has a number (Linux 6.18) no socket is touched. Before, one socket of a namespace that nothing
/// else has led to is asked for it, which changes nothing there: no namespace was ever inactive.
pub(super) fn add(sockets: &[Belonging], inquiry: &mut Inquiry<'_>, census: &mut Census, gaps: &mut Gaps) {
    for socket in sockets {
        let SocketNamespace { id, kernel_id, owner, owner_kernel_id } = socket.namespace;
        if !census.knows(id) {
            let opened = match kernel_id {
                Some(number) => listns::open(Number::of(id, number)),
                None => PidFd::of(socket.pid, socket.tid)
                    .and_then(|process| process.socket(socket.fd))
                    .and_then(|socket| socket.network_namespace()),
            };
            let is_it = |fd: &OwnedFd| relations::is(fd.as_fd(), id).unwrap_or(false);
            match opened.ok().filter(is_it) {
                Some(fd) => inquiry.ask(id, fd, census, gaps),
                None => inquiry.take_on_trust(id, kernel_id, (owner, owner_kernel_id), census, gaps),
            }
        }
        let entry = census.entry(id);
        if entry.namespace.processes == 0 {
            entry.held(Holder::Socket { pid: socket.pid, tid: socket.tid, fd: socket.fd });
        }
    }
}

/// Adds the network namespaces of `sockets` that no process or thread is in, each with its sockets. `bpf`: whether BPF
/// may be used for a namespace that nothing else has led to.
pub(super) fn find(
    proc: &Proc,
    nsfs_dev: u64,
    sockets: &[SocketDescriptor],
    bpf: bool,
    inquiry: &mut Inquiry<'_>,
    census: &mut Census,
    gaps: &mut Gaps,
) {
    if sockets.is_empty() {
        return;
    }
    // A process is duplicated from by its number in the caller's pid namespace.
    if proc.own_pid() != Some(std::process::id()) {
        let reason = "network namespaces that only sockets hold: this /proc is of another pid namespace";
        return gaps.add(GapKind::Source, reason, None);
    }
    let tables = bpf.then_some((proc, nsfs_dev));
    let mut search =
        Search { inquiry, census, gaps, tables, by_cookie: HashMap::new(), by_socket: HashMap::new() };
    search.learn_cookies();
    let (mut owner, mut process) = (None, Err(io::Error::from_raw_os_error(libc::ESRCH)));
    for &socket in sockets {
        if let Some(&id) = search.by_socket.get(&socket.ino) {
            search.hold(id, socket);
            continue;
        }
        if owner != Some((socket.pid, socket.tid)) {
            owner = Some((socket.pid, socket.tid));
            process = PidFd::of(socket.pid, socket.tid);
        }
        let duplicate = match &process {
            Ok(process) => process.socket(socket.fd),
            Err(error) => Err(copy(error)),
        };
        match duplicate.and_then(|duplicate| search.namespace(socket, &duplicate)) {
            Ok(id) => {
                search.by_socket.insert(socket.ino, id);
                search.hold(id, socket);
            }
            Err(error) if vanished(&error) || error.raw_os_error() == Some(libc::EBADF) => {}
            Err(error) if socket.tid.is_some() && error.raw_os_error() == Some(libc::EINVAL) => {
                let reason = "in a table of descriptors that a thread has for its own";
                search.gaps.add(GapKind::Sockets, reason, Some("BPF, or Linux 6.9"));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                let reason = "network namespaces that only sockets hold cannot be found";
                return search.gaps.add(GapKind::Source, reason, Some("Linux 5.6 duplicates sockets"));
            }
            Err(error) => search.gaps.add_error(GapKind::Sockets, &error),
        }
    }
}

struct Search<'a, 'b> {
    inquiry: &'a mut Inquiry<'b>,
    census: &'a mut Census,
    gaps: &'a mut Gaps,
    /// Where to look for namespaces with numbers that are not known yet, when that has not been done.
    tables: Option<(&'a Proc, u64)>,
    by_cookie: HashMap<u64, NsId>,
    by_socket: HashMap<u64, NsId>,
}

impl Search<'_, '_> {
    /// The cookies of the namespaces known so far, where the kernel lets them be compared.
    fn learn_cookies(&mut self) {
        let own = UnixDatagram::unbound().map(|socket| Socket::from(OwnedFd::from(socket)));
        let own_namespace = std::fs::File::open("/proc/self/ns/net");
        let (Ok(socket), Ok(namespace)) = (own, own_namespace) else { return };
        let (Ok(cookie), Ok(id)) = (socket.netns_cookie(), nsfs::id(namespace.as_fd(), NsKind::Net)) else {
            return;
        };
        self.by_cookie.insert(cookie, id);
        // They are the same number from Linux 6.18 on; a kernel that gives them apart is not believed.
        if nsfs::kernel_id(namespace.as_fd(), NsKind::Net) == Some(cookie) {
            self.by_cookie.extend(self.census.kernel_ids(NsKind::Net));
        } else {
            // Nor would those in the kernel's tables help.
            self.tables = None;
        }
    }

    /// Adds the namespaces that the kernel's own tables say sockets belong to. That takes BPF, and wakes none of them.
    fn learn_from_tables(&mut self) {
        let Some((proc, nsfs_dev)) = self.tables.take() else { return };
        // Refused: the sockets themselves can still be asked.
        if let Ok(mut sockets) = tasks::sockets(proc, nsfs_dev) {
            // Not the duplicate that is being asked.
            sockets.retain(|socket| socket.pid != std::process::id());
            add(&sockets, self.inquiry, self.census, self.gaps);
            self.by_cookie.extend(self.census.kernel_ids(NsKind::Net));
        }
    }

    /// The network namespace of a socket.
    fn namespace(&mut self, seen: SocketDescriptor, socket: &Socket) -> io::Result<NsId> {
        let cookie = socket.netns_cookie().ok();
        if cookie.is_some_and(|cookie| !self.by_cookie.contains_key(&cookie)) {
            self.learn_from_tables();
        }
        let known = cookie.and_then(|cookie| self.by_cookie.get(&cookie)).copied();
        if let Some(id) = known.filter(|&id| self.census.entry(id).namespace.processes > 0) {
            // As nearly always: nothing is said of this socket, so which one it is does not matter.
            return Ok(id);
        }
        // The number may stand for another socket by now, or the process be another one.
        if nsfs::identity(socket.as_fd())?.1 != seen.ino {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        if let Some(id) = known {
            return Ok(id);
        }
        let namespace = socket.network_namespace()?;
        let id = nsfs::id(namespace.as_fd(), NsKind::Net)?;
        if let Some(cookie) = cookie {
            self.by_cookie.insert(cookie, id);
        }
        if !self.census.knows(id) {
            self.inquiry.ask(id, namespace, self.census, self.gaps);
        }
        Ok(id)
    }

    /// Notes a socket as a holder, where it is more than one of the many sockets of the processes inside.
    fn hold(&mut self, id: NsId, SocketDescriptor { pid, tid, fd, .. }: SocketDescriptor) {
        let entry = self.census.entry(id);
        if entry.namespace.processes == 0 {
            entry.held(Holder::Socket { pid, tid, fd });
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
