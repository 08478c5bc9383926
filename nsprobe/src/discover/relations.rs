//! Parents and owners, asked of each namespace once; and the ancestors that no process is in.

use super::Gaps;
use super::census::{Census, Witness};
use crate::kernel::nsfs;
use crate::kernel::proc::Proc;
use crate::model::{GapKind, Holder, NsId, NsKind};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// Adds parent, owner and owner's uid to every namespace known, and the ancestors that were not.
pub(super) fn find(proc: &Proc, nsfs_dev: u64, census: &mut Census, gaps: &mut Gaps) {
    for id in census.ids() {
        if census.entry(id).asked {
            continue;
        }
        match open(proc, nsfs_dev, id, &census.entry(id).witnesses.clone()) {
            Ok(Some(fd)) => {
                if let Err(error) = climb(id, fd, census) {
                    gaps.add_error(GapKind::Relations, &error);
                }
            }
            // All who were in it are gone, and it may be as well.
            Ok(None) => {}
            Err(error) => gaps.add_error(GapKind::Relations, &error),
        }
    }
}

/// Opens a namespace by whatever way still leads to it; `None` when all have vanished.
fn open(proc: &Proc, nsfs_dev: u64, id: NsId, witnesses: &[Witness]) -> io::Result<Option<OwnedFd>> {
    let mut failure = None;
    for witness in witnesses {
        let opened = match witness {
            Witness::Process(pid, slot) => {
                proc.process(*pid).and_then(|dir| dir.open_namespace(&format!("ns/{slot}")))
            }
            Witness::Thread(pid, tid, slot) => proc
                .process(*pid)
                .and_then(|dir| dir.thread(*tid))
                .and_then(|dir| dir.open_namespace(&format!("ns/{slot}"))),
            Witness::Descriptor(pid, fd) => {
                proc.process(*pid).and_then(|dir| dir.open_namespace_descriptor(*fd, nsfs_dev))
            }
            Witness::Mount(pid, path) => {
                proc.process(*pid).and_then(|dir| dir.open_mounted_namespace(path, nsfs_dev))
            }
        };
        match opened {
            // Since it was seen, the process may have moved or something else been mounted there.
            Ok(fd) if nsfs::identity(fd.as_fd())?.1 == id.ino => return Ok(Some(fd)),
            Ok(_) => {}
            Err(error) if super::vanished(&error) => {}
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// Records the relations of one namespace, then of those it leads to, as long as they are new.
fn climb(id: NsId, fd: OwnedFd, census: &mut Census) -> io::Result<()> {
    let mut open = vec![(id, fd)];
    while let Some((id, fd)) = open.pop() {
        let fd = fd.as_fd();
        let owner = nsfs::owner(fd)?;
        let parent = if matches!(id.kind, NsKind::Pid | NsKind::User) { nsfs::parent(fd)? } else { None };
        let owner_uid = (id.kind == NsKind::User).then(|| nsfs::owner_uid(fd)).transpose()?;
        let mut relate = |fd: Option<OwnedFd>, kind| -> io::Result<Option<NsId>> {
            let Some(fd) = fd else { return Ok(None) };
            let related = nsfs::id(fd.as_fd(), kind)?;
            if !census.knows(related) {
                census.entry(related);
                open.push((related, fd));
            }
            census.entry(related).held(Holder::Ancestor { of: id });
            Ok(Some(related))
        };
        let owner = relate(owner, NsKind::User)?;
        let parent = relate(parent, id.kind)?;
        let entry = census.entry(id);
        entry.asked = true;
        entry.namespace.owner = owner;
        entry.namespace.parent = parent;
        entry.namespace.owner_uid = owner_uid;
    }
    Ok(())
}
