//! The root directories of processes, and whether they belong to the mount namespaces of these processes.
//!
//! The link `/proc/PID/root` is `/` also if the root is the top of a file system that was unmounted lazily, or the root of
//! a different mount namespace. Such a mount does not belong to the mount namespace of the process. No path is followed
//! in it: the kernel fills in the id of the mount unasked (statx(2), Linux 5.8).

use super::{lines, parse};
use crate::kernel::mount_room::{self, Room};
use crate::kernel::mounts::MountTable;
use crate::kernel::nsfs;
use crate::kernel::proc::{Proc, ProcessDir};
use crate::kernel::statx::MountId;
use crate::model::{NsId, NsKind, Root, Text};
use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A reader of root directories. It remembers which mounts belong to which mount namespaces: nearly all processes of one
/// have the same.
#[derive(Clone)]
pub(super) struct Roots {
    /// False for a directory that is only laid out like a proc file system.
    is_live: bool,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The mounts that were found in a mount namespace. One that was not found is searched for again: that it is missing
    /// is true of one process at one moment, and no tenant may decide by it what is shown of others.
    known: HashSet<(NsId, MountId)>,
    /// False once statmount(2) turned out not to know mount namespaces (before Linux 6.11): then mountinfo is read. It is
    /// read for single processes also where statmount refuses.
    by_unique_id: bool,
    /// The budget left to read mountinfo.
    room: Room,
}

/// The number of times that a root is searched for while its process moves to others.
const MOST_MOVES: usize = 8;

impl Roots {
    pub(super) fn new(proc: &Proc) -> Self {
        let state = State { known: HashSet::new(), by_unique_id: true, room: Room::for_mounts() };
        Self { is_live: proc.is_live(), state: Arc::new(Mutex::new(state)) }
    }

    /// Reads the root of a process in the mount namespace `namespace`.
    pub(super) fn read(&self, dir: &ProcessDir, namespace: Option<NsId>) -> io::Result<Root> {
        Ok(match linked(dir, c"root")? {
            (path, true) => Root::Deleted(path),
            (path, false) if path != "/" => Root::Chrooted(path),
            (top, false) => match namespace.filter(|_| self.is_live) {
                Some(namespace) if !self.has(dir, namespace)? => Root::Chrooted(top),
                _ => Root::Whole,
            },
        })
    }

    /// Returns true if the mount of the process's root belongs to the mount namespace.
    fn has(&self, dir: &ProcessDir, namespace: NsId) -> io::Result<bool> {
        let (mut missing, mut is_refused) = (None, false);
        for _ in 0..MOST_MOVES {
            // Not locked while a process is read.
            let by_unique_id = !is_refused && self.state().by_unique_id;
            let mount = dir.mount_id(c"root", by_unique_id)?;
            if self.state().known.contains(&(namespace, mount)) {
                return Ok(true);
            }
            if missing == Some(mount) {
                return Ok(false);
            }
            let found = match mount {
                MountId::Unique(id) => {
                    let namespace = still_in(dir, namespace)?;
                    match is_mounted(id, namespace.as_fd()) {
                        Ok(found) => found,
                        Err(error) => {
                            // What one mount namespace refuses is no reason to read more of the others.
                            is_refused = true;
                            if is_unsupported(&error) {
                                self.state().by_unique_id = false;
                            }
                            continue;
                        }
                    }
                }
                MountId::Reused(id) => {
                    let found = self.is_in_mountinfo(dir, id)?;
                    still_in(dir, namespace)?;
                    found
                }
            };
            if found {
                self.state().known.insert((namespace, mount));
                return Ok(true);
            }
            // Unless it has moved meanwhile.
            missing = Some(mount);
        }
        Err(io::Error::other("its root directory changes too often"))
    }

    /// Returns true if the mountinfo of a process has the mount with this id.
    fn is_in_mountinfo(&self, dir: &ProcessDir, id: u64) -> io::Result<bool> {
        let room = self.state().room;
        if room.is_used_up() {
            return Err(too_many());
        }
        let (mut turn, mut found) = (room.turn(mount_room::ONE), false);
        let whole = lines::mounts(dir, 0, &mut turn, &mut |line| {
            found |= matches!(line, lines::Line::Whole(line) if parse::mount_id(line) == Some(id));
            !found
        });
        self.state().room.settle(turn.used());
        if whole? || found { Ok(found) } else { Err(too_many()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the mount namespace of a process, which should be `namespace`.
fn still_in(dir: &ProcessDir, namespace: NsId) -> io::Result<OwnedFd> {
    let current = dir.open_namespace("ns/mnt")?;
    if nsfs::id(current.as_fd(), NsKind::Mnt)? != namespace {
        return Err(io::Error::other("its mount namespace has changed meanwhile"));
    }
    Ok(current)
}

/// Returns true if the mount with this unique id belongs to the mount namespace.
fn is_mounted(id: u64, namespace: BorrowedFd<'_>) -> io::Result<bool> {
    let unknown = || io::Error::from_raw_os_error(libc::ENOSYS);
    let namespace = nsfs::kernel_id(namespace, NsKind::Mnt).ok_or_else(unknown)?;
    MountTable::default().has(id, namespace)
}

/// True if the kernel does not answer that of any mount namespace: before Linux 6.11.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::E2BIG))
}

/// Reads the target of the link `name` of a process, and whether that has been deleted.
pub(super) fn linked(dir: &ProcessDir, name: &CStr) -> io::Result<(Text, bool)> {
    let path = dir.read_link(&name.to_string_lossy())?.into_vec();
    // A name may end like this, so the file itself is checked.
    let former = path.strip_suffix(b" (deleted)").filter(|_| dir.is_deleted(name).unwrap_or(true));
    Ok(former.map_or_else(|| (path.as_slice().into(), false), |former| (former.into(), true)))
}

fn too_many() -> io::Error {
    io::Error::other("there are too many mounts to find that of the root directory among them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bounded;

    #[test]
    fn mountinfo_is_read_only_if_statmount_is_refused() {
        let proc = Proc::open("/proc".as_ref()).unwrap();
        let namespace =
            nsfs::id(std::fs::File::open("/proc/self/ns/mnt").unwrap().as_fd(), NsKind::Mnt).unwrap();
        let asked = {
            let proc = proc.clone();
            move |_: &mut Vec<u8>| {
                let own = proc.process(std::process::id()).unwrap();
                match own.mount_id(c"root", true).unwrap() {
                    MountId::Unique(id) => {
                        is_mounted(id, own.open_namespace("ns/mnt").unwrap().as_fd()).is_ok()
                    }
                    MountId::Reused(_) => false,
                }
            }
        };
        let is_asked = bounded::one(asked).unwrap();
        let roots = Roots::new(&proc);
        let read = {
            let roots = roots.clone();
            move |other: bool| {
                let namespace = if other { NsId::new(NsKind::Mnt, namespace.dev, 1) } else { namespace };
                roots.read(&proc.process(std::process::id())?, Some(namespace))
            }
        };
        let [whole, elsewhere] =
            <[_; 2]>::try_from(bounded::each(vec![false, true], move |&other, _| read(other))).unwrap();
        assert_eq!(whole.unwrap().unwrap(), Root::Whole);
        assert!(elsewhere.unwrap().is_err(), "it is not in that mount namespace");
        let state = roots.state();
        assert_eq!(state.known.len(), 1);
        assert_eq!(state.room == Room::for_mounts(), is_asked, "{:?}", state.room);
    }
}
