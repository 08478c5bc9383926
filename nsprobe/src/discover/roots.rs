//! The root directories of processes, and whether they belong to the mount namespaces of these processes.
//!
//! The link `/proc/PID/root` is `/` also if the root is the top of a file system that was unmounted lazily, or the root of
//! a different mount namespace. Such a mount is missing from the mountinfo of the process. No path is followed in it: the
//! kernel fills in the id of the mount unasked (statx(2), Linux 5.8).

use super::{lines, parse};
use crate::kernel::mount_room::{self, Room};
use crate::kernel::proc::{Proc, ProcessDir};
use crate::model::{NsId, Root, Text};
use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
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
    /// Whether the mount namespace has the mount.
    known: HashMap<(NsId, u64), bool>,
    room: Room,
}

impl Roots {
    pub(super) fn new(proc: &Proc) -> Self {
        let state = State { known: HashMap::new(), room: Room::for_mounts() };
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
        let mut mount = dir.mount_id(c"root")?;
        loop {
            // Not held while a process is read.
            let (known, room) = {
                let state = self.state();
                (state.known.get(&(namespace, mount)).copied(), state.room)
            };
            if let Some(known) = known {
                return Ok(known);
            }
            let mut turn = room.turn(mount_room::ONE);
            let mut found = false;
            let whole = lines::mounts(dir, 0, &mut turn, &mut |line| {
                found |= matches!(line, lines::Line::Whole(line) if parse::mount_id(line) == Some(mount));
                !found
            });
            self.state().room.settle(turn.used());
            let whole = whole?;
            let after = dir.mount_id(c"root")?;
            if after != mount {
                // It has moved meanwhile.
                mount = after;
                if room.is_used_up() {
                    return Err(too_many());
                }
                continue;
            }
            if !found && !whole {
                return Err(too_many());
            }
            self.state().known.insert((namespace, mount), found);
            return Ok(found);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
