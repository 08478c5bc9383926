//! Namespaces kept alive by a bind mount of their nsfs file, in any mount namespace, with or without members.
//!
//! From Linux 6.12, the kernel lists the mount namespaces themselves (`NS_MNT_GET_NEXT`), and from 6.11 the mounts of a
//! known one (listmount(2)). Without these, and in a mount namespace in which nsprobe lacks `CAP_SYS_ADMIN`, the source
//! is `/proc/PID/mountinfo` of a member.
//!
//! The amount read is limited (`kernel::mount_room`). nsprobe's own mount namespace and the initial one come first,
//! then a few mounts of each, then those that have more.

use super::builder::Builder;
use super::errno::vanished;
use super::gaps::Gaps;
use super::index::Handle;
use super::limit::MOST_OF_ONE;
use super::parse;
use super::reach::MountPoint;
use super::readers::{self, Mountinfo, Point};
use crate::kernel::advice::{WITH_HOSTS_PIDS, remedy};
use crate::kernel::bounded;
use crate::kernel::capabilities::Capability;
use crate::kernel::mount_room::{self as room, Room, Share};
use crate::kernel::mounts::MountTable;
use crate::kernel::nsfs::{self, Neighbour};
use crate::model::{GapKind, Holder, NsId, NsKind, Pid, Source, Text};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

/// The most bytes of mount paths kept as holders.
const PATHS: usize = 16 << 20;

/// The most mount namespaces with too many mounts that are named.
const MOST_NAMED: usize = 8;

impl Builder {
    /// Adds the mounted namespaces, each with its mounts as holders, and the mount namespaces that the kernel lists.
    pub(super) fn add_mounts(&mut self) {
        let mut search = Search {
            readers: readers::find(&self.context.proc, &self.processes),
            own: self.context.own_namespace(NsKind::Mnt),
            builder: self,
            table: Some(MountTable::default()),
            seen: HashSet::new(),
            room: Room::for_mounts(),
            share: room::ONE,
            kept: HashMap::new(),
            paths: PATHS,
            new: Vec::new(),
            put_off: Vec::new(),
        };
        search.own_and_initial();
        search.share = room::FIRST;
        search.listed_by_the_kernel();
        search.all_known();
        search.share = room::ONE;
        search.the_rest();
    }
}

/// A way to read the mounts of a mount namespace, and how far they have been read.
#[derive(Clone, Copy, Debug)]
enum Access {
    /// By the kernel's id of the mount namespace; read up to the mount with this id.
    ById(u64, u64),
    /// Through a member process; this many lines have been read.
    ByMember(Pid, usize),
}

struct Search<'a> {
    builder: &'a mut Builder,
    /// A reader process for each mount namespace.
    readers: BTreeMap<NsId, Pid>,
    /// nsprobe's own mount namespace.
    own: Option<NsId>,
    /// `None` on a kernel without listmount(2) for other mount namespaces.
    table: Option<MountTable>,
    seen: HashSet<NsId>,
    /// The budget left to read.
    room: Room,
    /// The part of it that one mount namespace may use now.
    share: Share,
    /// Mounts kept per namespace, in the mount namespace being read.
    kept: HashMap<NsId, usize>,
    /// Bytes of paths that may still be kept.
    paths: usize,
    /// Mount namespaces still to be read.
    new: Vec<NsId>,
    /// Those that have more mounts than their first share.
    put_off: Vec<(NsId, Access)>,
}

impl Search<'_> {
    /// Reads nsprobe's own mount namespace, and the initial one.
    fn own_and_initial(&mut self) {
        for id in [self.own, self.builder.index.initial(NsKind::Mnt)].into_iter().flatten() {
            if self.builder.index.knows(id) && !self.seen.contains(&id) {
                self.known(id);
            }
        }
    }

    /// Reads all that are known.
    fn all_known(&mut self) {
        let known = self.builder.index.ids();
        self.new.extend(known.into_iter().filter(|id| id.kind == NsKind::Mnt));
        self.all_new();
    }

    /// Reads the new ones. A mount may be of a mount namespace not found otherwise.
    fn all_new(&mut self) {
        while let Some(id) = self.new.pop() {
            if !self.seen.contains(&id) {
                self.known(id);
            }
        }
    }

    /// Adds the mount namespaces that the kernel lists for this process.
    fn listed_by_the_kernel(&mut self) {
        let own = self.builder.context.proc.this_process().and_then(|own| own.open_namespace("ns/mnt"));
        let Ok(own) = own else { return };
        if let (Ok(id), Ok(_)) =
            (nsfs::id(own.as_fd(), NsKind::Mnt), nsfs::mount_namespace(own.as_fd(), Neighbour::Next))
        {
            self.builder.index.entry(id).source(Source::KernelLists);
        }
        for direction in [Neighbour::Previous, Neighbour::Next] {
            let mut last: Option<OwnedFd> = None;
            loop {
                let from = last.as_ref().map_or(own.as_fd(), OwnedFd::as_fd);
                let next = match nsfs::mount_namespace(from, direction) {
                    Ok(next) => next,
                    Err(error) if not_there(&error) => {
                        self.builder.gaps.add(
                            GapKind::Source,
                            "mount namespaces that nothing in /proc leads to cannot be listed",
                            Some("Linux 6.12 lists them"),
                        );
                        return;
                    }
                    Err(error) if error.raw_os_error() == Some(libc::EPERM) && self.is_nested() => {
                        self.builder.gaps.add(
                            GapKind::Source,
                            "mount namespaces that nothing in /proc leads to are listed in the initial pid namespace only",
                            Some(WITH_HOSTS_PIDS),
                        );
                        return;
                    }
                    Err(error) => return self.builder.gaps.add_error(GapKind::Mounts, &error),
                };
                let Some(fd) = next else { break };
                match nsfs::id(fd.as_fd(), NsKind::Mnt).and_then(|id| Ok((id, fd.try_clone()?))) {
                    Ok((id, copy)) => {
                        self.builder.index.entry(id).source(Source::KernelLists);
                        if !self.seen.contains(&id) {
                            self.mounts(id, fd.as_fd());
                        }
                        if !self.builder.index.entry(id).queried {
                            self.builder.query(id, copy);
                        }
                    }
                    Err(error) => self.builder.gaps.add_error(GapKind::Mounts, &error),
                }
                last = Some(fd);
            }
        }
    }

    /// Returns true if this process has all capabilities that listing takes, but is not in the initial pid namespace:
    /// kernels since early 2026 then refuse it.
    fn is_nested(&self) -> bool {
        let own = self.builder.context.own_namespace(NsKind::Pid);
        remedy(&[Capability::SysAdmin]).is_none()
            && (own.is_none() || own != self.builder.index.initial(NsKind::Pid))
    }

    /// Reads one that was found by other means.
    fn known(&mut self, id: NsId) {
        if self.table.is_some() {
            let handles = self.builder.index.entry(id).handles.clone();
            match self.builder.open(id, &handles) {
                Ok(Some(fd)) => return self.mounts(id, fd.as_fd()),
                // Everything that led to it is gone, and so is it.
                Ok(None) if !handles.is_empty() => {
                    self.seen.insert(id);
                    return;
                }
                // It cannot be opened, but a member may still be readable.
                Ok(None) | Err(_) => {}
            }
        }
        self.mountinfo(id);
    }

    /// Reads the mounts of a mount namespace by its descriptor.
    fn mounts(&mut self, id: NsId, fd: BorrowedFd<'_>) {
        if let Some(kernel_id) = nsfs::kernel_id(fd, NsKind::Mnt) {
            self.by_id(id, kernel_id, 0);
        } else {
            self.table = None;
            self.mountinfo(id);
        }
    }

    /// Reads them by its id, starting after the mount `after`.
    fn by_id(&mut self, id: NsId, kernel_id: u64, after: u64) {
        let Some(mut table) = self.table.take() else { return self.mountinfo(id) };
        let mut turn = self.room.turn(self.share);
        self.kept = HashMap::new();
        let mut each = |mount: Option<crate::kernel::mounts::NsfsMount>| {
            if let Some(mount) = mount
                && let Some((kind, ino)) = parse::namespace_link(mount.root.as_bytes())
            {
                let point = mount.point.map_or(Point::TooLong, |point| Point::Kept(point.into()));
                self.add(id, self.builder.context.id(kind, ino), mount.mount_id, point);
            }
            turn.read(1, 0)
        };
        let listed = table.each(kernel_id, after, &mut each);
        self.room.settle(turn.used());
        self.table = Some(table);
        match listed {
            Ok(stopped) => {
                self.seen.insert(id);
                if let Some(after) = stopped {
                    self.put_off.push((id, Access::ById(kernel_id, after)));
                }
            }
            // It has just lost its last holder. A caller without rights to its mounts gets the same error; a member may
            // be readable nevertheless.
            Err(error) if vanished(&error) && !self.readers.contains_key(&id) => {
                self.seen.insert(id);
            }
            Err(error) => {
                if not_there(&error) {
                    self.table = None;
                }
                self.mountinfo(id);
            }
        }
    }

    /// Reads the mounts of a mount namespace through a member.
    fn mountinfo(&mut self, id: NsId) {
        self.seen.insert(id);
        let Some(&pid) = self.readers.get(&id) else {
            let remedy = match self.table {
                Some(_) => remedy(&[Capability::SysPtrace, Capability::SysAdmin]),
                None => Some("Linux 6.11 lists them, to root".to_owned()),
            };
            self.builder.gaps.add(GapKind::Mounts, "no process is in it", remedy.as_deref());
            return;
        };
        self.by_member(id, pid, 0);
    }

    /// Reads them from its mountinfo, after the first `read` lines.
    fn by_member(&mut self, id: NsId, pid: Pid, read: usize) {
        self.kept = HashMap::new();
        let (proc, room, share) = (self.builder.context.proc.clone(), self.room, self.share);
        let seen = bounded::one(move |_| {
            let mut turn = room.turn(share);
            let seen = proc.process(pid).and_then(|dir| readers::read(&dir, read, &mut turn));
            (seen, turn.used())
        });
        let seen = seen.map_err(io::Error::from).and_then(|(seen, used)| {
            self.room.settle(used);
            seen
        });
        match seen {
            Ok(Mountinfo { mounts, too_long, lines, whole }) => {
                for (kind, ino, mount_id, point) in mounts {
                    self.add(id, self.builder.context.id(kind, ino), mount_id, point);
                }
                for _ in 0..too_long {
                    self.builder.gaps.add(
                        GapKind::Mounts,
                        "a line of mountinfo longer than 64 KiB is skipped",
                        None,
                    );
                }
                if !whole {
                    self.put_off.push((id, Access::ByMember(pid, lines)));
                }
            }
            Err(error) if vanished(&error) => {}
            Err(error) => self.builder.gaps.add_error(GapKind::Mounts, &error),
        }
    }

    /// Reads what was put off; what remains unread becomes a gap.
    fn the_rest(&mut self) {
        let mut unread = Vec::new();
        let mut all = false;
        while !self.put_off.is_empty() || !self.new.is_empty() {
            for (id, access) in std::mem::take(&mut self.put_off) {
                if self.room.is_used_up() {
                    all = true;
                    unread.push(id);
                    continue;
                }
                let before = self.put_off.len();
                match access {
                    Access::ById(kernel_id, after) => self.by_id(id, kernel_id, after),
                    Access::ByMember(pid, lines) => self.by_member(id, pid, lines),
                }
                if self.put_off.len() > before {
                    self.put_off.truncate(before);
                    unread.push(id);
                }
            }
            self.all_new();
        }
        note_unread(&unread, all, &mut self.builder.gaps);
    }

    /// Adds a mount of `target` in a mount namespace, with its id and path.
    fn add(&mut self, mount_namespace: NsId, target: NsId, mount_id: u64, point: Point) {
        if target.kind == NsKind::Mnt && !self.seen.contains(&target) && !self.builder.index.knows(target) {
            self.new.push(target);
        }
        let entry = self.builder.index.entry(target);
        entry.source(Source::BindMounts);
        let kept = self.kept.entry(target).or_default();
        let room = |path: &Text| path.as_bytes().len() <= self.paths;
        let path = match point {
            Point::Kept(path) if *kept < MOST_OF_ONE && room(&path) => path,
            omitted => {
                entry.namespace.holders_omitted += 1;
                if omitted == Point::TooLong {
                    self.builder.gaps.add(
                        GapKind::Mounts,
                        "mounted at a path of more than 4,096 bytes",
                        None,
                    );
                } else if *kept < MOST_OF_ONE && omitted != Point::Further {
                    self.builder.gaps.add(
                        GapKind::Mounts,
                        "paths of mounts beyond 16 MiB are not kept",
                        None,
                    );
                }
                return;
            }
        };
        *kept += 1;
        self.paths -= path.as_bytes().len();
        let here = self.own == Some(mount_namespace);
        let mount_point = |reader| MountPoint { mount_namespace, reader, mount_id, path: path.clone() };
        if let Some(&pid) = self.readers.get(&mount_namespace) {
            entry.handle(Handle::Mount(mount_point(Some(pid))));
        }
        if here {
            // No tenant can interfere with this path.
            entry.first_mount(mount_point(None));
        }
        entry.held(Holder::BindMount { mount_namespace, path, here });
    }
}

/// Adds gaps for the mount namespaces with more mounts than are read; `all`: because of the total.
fn note_unread(unread: &[NsId], all: bool, gaps: &mut Gaps) {
    let (named, others) = unread.split_at(unread.len().min(MOST_NAMED));
    let together = if all { "; all together: 400,000, 256 MiB or 4 s" } else { "" };
    for id in named {
        let reason = format!(
            "{id} has more mounts than are read (100,000, 64 MiB of mountinfo or 1 s of processor time{together})"
        );
        gaps.add(GapKind::Mounts, reason, None);
    }
    for _ in others {
        gaps.add(GapKind::Mounts, "further mount namespaces have more mounts than are read", None);
    }
}

/// Returns true if the kernel does not support the request.
fn not_there(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::ENOTTY | libc::E2BIG | libc::EINVAL))
}
