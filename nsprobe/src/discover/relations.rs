//! Queries what only a namespace itself reveals: its parent, owner and id, and ancestors found in no other way. Each
//! namespace is queried once.

use super::builder::Builder;
use super::index::Handle;
use super::opener::{self, Opened};
use super::reach::{MountPoint, Unreachable};
use super::records::SocketNamespace;
use crate::kernel::listns::{self, NsHandle};
use crate::kernel::mount_room::Room;
use crate::kernel::nsfs;
use crate::model::{GapKind, Holder, NetnsId, NsId, NsKind, Pid, Text};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The most obstructing mounts that are named; a tenant decides how many there are.
const MOST_NAMED: usize = 8;

impl Builder {
    /// Queries every namespace that has not been queried.
    pub(super) fn query_all(&mut self) {
        let ids = self.index.ids();
        for ids in ids.chunks(opener::at_once()) {
            let unqueried: Vec<NsId> =
                ids.iter().copied().filter(|&id| !self.index.entry(id).queried).collect();
            for (id, opened) in self.open_all(&unqueried) {
                // It was reached through one of the others meanwhile.
                if self.index.entry(id).queried {
                    continue;
                }
                match opened {
                    Ok(Some((fd, mount_path))) => {
                        self.index.entry(id).namespace.mount_path = mount_path;
                        self.query(id, fd);
                    }
                    // All its members are gone, and it may be too.
                    Ok(None) => {}
                    // The kernel may list it.
                    Err(error) => match Unreachable::reason(&error).or_else(|| opener::stuck(&error)) {
                        Some(reason) => self.index.entry(id).unreached = Some(reason),
                        None => self.gaps.add_error(GapKind::Relations, &error),
                    },
                }
            }
        }
    }

    /// Opens namespaces by their handles.
    fn open_all(&mut self, ids: &[NsId]) -> Vec<(NsId, io::Result<Option<Opened>>)> {
        let sought = ids.iter().map(|&id| (id, self.index.entry(id).handles.clone())).collect();
        std::iter::zip(ids.iter().copied(), self.opener.open(sought)).collect()
    }

    /// Finds a path to namespaces that only a mount leads to and that were queried without following it.
    pub(super) fn find_paths(&mut self) {
        let known = self.index.ids();
        let is_sought = |id: &NsId| {
            let entry = self.index.entry(*id);
            // Those that could not be queried have been tried already.
            entry.queried && !entry.handles.is_empty() && entry.namespace.path().is_none()
        };
        let sought: Vec<NsId> = known.into_iter().filter(is_sought).collect();
        for ids in sought.chunks(opener::at_once()) {
            for (id, opened) in self.open_all(ids) {
                self.index.entry(id).namespace.mount_path = opened.ok().flatten().and_then(|(_, path)| path);
            }
        }
    }

    /// Counts those that could not be queried because only a mount leads to them, and no path leads to the mount.
    pub(super) fn note_unqueried(&mut self) {
        let mut named = HashSet::new();
        let hidden = self.hidden();
        for id in self.index.ids() {
            let entry = self.index.entry(id);
            let reason = if entry.queried {
                continue;
            } else if let Some(reason) = entry.unreached.take() {
                if named.len() < MOST_NAMED || named.contains(&reason) {
                    named.insert(reason.clone());
                    self.gaps.add(GapKind::Relations, reason, Some("use BPF on Linux 6.18, or Linux 6.19"));
                    continue;
                }
                "mounted where looking up a name may wait for a server, or take too long"
            } else if entry.handles.is_empty() {
                "mounted only in mount namespaces without members: cannot be opened without entering one"
            } else if let Some(reason) = hidden.get(&id) {
                reason
            } else {
                // Everything that led to it is gone.
                continue;
            };
            self.gaps.add(GapKind::Relations, reason, Some("use BPF on Linux 6.18, or Linux 6.19"));
        }
    }

    /// Returns, with the reason, those that were not queried although a mount of theirs still exists, because its path
    /// leads elsewhere. The mounts of each mount namespace are read once.
    fn hidden(&mut self) -> HashMap<NsId, &'static str> {
        let mut sought: BTreeMap<Option<Pid>, HashSet<(NsId, Text)>> = BTreeMap::new();
        for id in self.index.ids() {
            let entry = self.index.entry(id);
            if entry.queried || entry.unreached.is_some() {
                continue;
            }
            for handle in &entry.handles {
                if let Handle::Mount(MountPoint { reader, path, .. }) = handle {
                    sought.entry(*reader).or_default().insert((id, path.clone()));
                }
            }
        }
        let (mut hidden, mut room) = (HashMap::new(), Room::for_mounts());
        for (reader, sought) in sought {
            let Ok((found, whole)) = self.opener.mounted(reader, sought.clone(), &mut room) else { continue };
            hidden.extend(found.into_iter().map(|id| (id, "mounted only where another mount hides it")));
            if !whole {
                for (id, _) in sought {
                    hidden.entry(id).or_insert("among too many mounts to check that it is still mounted");
                }
            }
        }
        hidden
    }

    /// Queries one namespace, then those it leads to, as long as they are new.
    pub(super) fn query(&mut self, id: NsId, fd: OwnedFd) {
        let mut open = vec![(id, fd)];
        while let Some((id, fd)) = open.pop() {
            if let Err(error) = self.relate(id, fd.as_fd(), &mut open) {
                self.gaps.add_error(GapKind::Relations, &error);
            }
        }
    }

    /// Records what the kernel's tables show of a namespace that cannot be opened: its id and its owner, which may not
    /// have been found otherwise.
    pub(super) fn record_unverified(&mut self, namespace: SocketNamespace) {
        let SocketNamespace { id, kernel_id, owner, owner_kernel_id } = namespace;
        let entry = self.index.entry(id);
        entry.queried = true;
        entry.namespace.kernel_id = kernel_id;
        entry.namespace.owner = Some(owner);
        if !self.index.knows(owner) {
            let opened = owner_kernel_id.and_then(|id| listns::open(NsHandle::of(owner, id)).ok());
            if let Some(fd) = opened {
                self.query(owner, fd);
            } else {
                let entry = self.index.entry(owner);
                entry.queried = true;
                entry.namespace.kernel_id = owner_kernel_id;
                self.gaps.add(
                    GapKind::Relations,
                    "owns a namespace that only sockets hold, and cannot be opened",
                    None,
                );
            }
        }
        self.index.entry(owner).held(Holder::Ancestor { of: id });
    }

    /// Opens a namespace by any handle that still works; `None` if all have vanished.
    pub(super) fn open(&self, id: NsId, handles: &[Handle]) -> io::Result<Option<OwnedFd>> {
        let mut opened = self.opener.open(vec![(id, handles.to_vec())]);
        Ok(opened.pop().transpose()?.flatten().map(|(fd, _)| fd))
    }

    /// Queries one namespace, and adds those it leads to that were not known to `open`.
    fn relate(&mut self, id: NsId, fd: BorrowedFd<'_>, open: &mut Vec<(NsId, OwnedFd)>) -> io::Result<()> {
        self.index.entry(id).queried = true;
        let owner = nsfs::owner(fd)?;
        let parent = if matches!(id.kind, NsKind::Pid | NsKind::User) { nsfs::parent(fd)? } else { None };
        let owner_uid = (id.kind == NsKind::User).then(|| nsfs::owner_uid(fd)).transpose()?;
        let mut relate = |fd: Option<OwnedFd>, kind| -> io::Result<Option<NsId>> {
            let Some(fd) = fd else { return Ok(None) };
            let related = nsfs::id(fd.as_fd(), kind)?;
            if !self.index.knows(related) {
                open.push((related, fd));
            }
            self.index.entry(related).held(Holder::Ancestor { of: id });
            Ok(Some(related))
        };
        let owner = relate(owner, NsKind::User)?;
        let parent = relate(parent, id.kind)?;
        let namespace = &mut self.index.entry(id).namespace;
        namespace.owner = owner;
        namespace.parent = parent;
        namespace.owner_uid = owner_uid;
        namespace.kernel_id = nsfs::kernel_id(fd, id.kind);
        if namespace.kernel_id.is_none() {
            namespace.file_since = nsfs::file_since(fd).ok();
        }
        if id.kind == NsKind::Net {
            let netnsid = self.netnsid(fd)?;
            self.index.entry(id).namespace.netnsid = netnsid;
        }
        Ok(())
    }

    fn netnsid(&mut self, fd: BorrowedFd<'_>) -> io::Result<Option<NetnsId>> {
        let Some(rtnetlink) = &mut self.rtnetlink else { return Ok(None) };
        Ok(Some(rtnetlink.netns_id(fd)?.map_or(NetnsId::Unassigned, NetnsId::Assigned)))
    }
}
