//! Opens namespaces' files through processes and mounts, in watched threads, because a process decides how long that
//! takes.

use super::context::Context;
use super::index::Handle;
use super::lines::{self, Line};
use super::reach::Obstacle;
use super::{errno::vanished, parse};
use crate::kernel::bounded::{self, Stuck};
use crate::kernel::mount_room::{self as room, Room, Turn};
use crate::kernel::nsfs;
use crate::kernel::proc::ProcessDir;
use crate::model::{NsId, Pid, Text};
use nix::sys::resource::{Resource, getrlimit};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An opened namespace, and its path for nsprobe if a mount led to it.
pub(super) type Opened = (OwnedFd, Option<Text>);

/// The number of namespaces opened at once: handing work to another thread costs as much as opening two.
pub(super) fn at_once() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft / 16);
    usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, 64)
}

/// Returns the reason that nothing was opened, if it is that reading a process does not return.
pub(super) fn stuck(error: &io::Error) -> Option<String> {
    Some(match Stuck::behind(error)? {
        // The gap of the process names it: many namespaces share this reason.
        Stuck::Process(_) => "reading a process that leads to it does not return".to_owned(),
        other => other.to_string(),
    })
}

/// Opens namespaces by their handles.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    context: Context,
    /// The budget left for following paths to mounts.
    room: Arc<Mutex<Room>>,
}

impl Opener {
    pub(super) fn new(context: &Context) -> Self {
        Self { context: context.clone(), room: Arc::new(Mutex::new(Room::for_paths())) }
    }

    /// Opens each namespace by any handle that still works; `None` if all have vanished.
    pub(super) fn open(&self, sought: Vec<(NsId, Vec<Handle>)>) -> Vec<io::Result<Option<Opened>>> {
        let sought = Arc::new(sought);
        let mut opened: Vec<io::Result<Option<Opened>>> = sought.iter().map(|_| Ok(None)).collect();
        let mut left: Vec<usize> = (0..sought.len()).collect();
        let most = sought.iter().map(|(_, handles)| handles.len()).max().unwrap_or(0);
        // Each round skips one more process that does not answer: it is known by then.
        for _ in 0..=most {
            let (opener, of_thread) = (self.clone(), Arc::clone(&sought));
            let results = bounded::each(left.clone(), move |&index, _| {
                let (id, handles) = &of_thread[index];
                opener.open_by(*id, handles)
            });
            let mut stuck = Vec::new();
            for (index, result) in std::iter::zip(left, results) {
                opened[index] = result.unwrap_or_else(|error| {
                    stuck.push(index);
                    Err(error.into())
                });
            }
            left = stuck;
            if left.is_empty() {
                break;
            }
        }
        opened
    }

    fn open_by(&self, id: NsId, handles: &[Handle]) -> io::Result<Option<Opened>> {
        let mut failure = None;
        for handle in handles {
            // Since it was seen, the process may have changed namespaces, something else may have been mounted there,
            // or the inode may have been reused by a namespace of another kind.
            match self.follow(handle).and_then(|fd| Ok(is(fd.as_fd(), id)?.then_some(fd))) {
                Ok(Some(fd)) => return Ok(Some((fd, handle.mount_path()))),
                Ok(None) => {}
                Err(error) if vanished(&error) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn follow(&self, handle: &Handle) -> io::Result<OwnedFd> {
        match *handle {
            Handle::Process(pid, slot) => {
                self.context.proc.process(pid)?.open_namespace(&format!("ns/{slot}"))
            }
            Handle::Thread(pid, tid, slot) => {
                self.context.proc.process(pid)?.thread(tid)?.open_namespace(&format!("ns/{slot}"))
            }
            Handle::Descriptor(pid, tid, fd) => {
                let process = self.context.proc.process(pid)?;
                match tid {
                    None => process.open_namespace_descriptor(fd, self.context.nsfs_dev),
                    Some(tid) => process.thread(tid)?.open_namespace_descriptor(fd, self.context.nsfs_dev),
                }
            }
            Handle::Mount(ref mount) => {
                // Not locked meanwhile: this thread may never come back.
                let room = *self.room();
                if room.is_used_up() {
                    return Err(io::Error::other(mount.unreachable(Obstacle::TooMuch)));
                }
                let mut turn = room.turn(room::PATH);
                let opened = mount.open(&self.context, &mut turn);
                self.room().settle(turn.used());
                opened
            }
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns which of the namespaces `sought`, each with its mount point, are still mounted there in the view of the
    /// process `reader` (or nsprobe), and whether all mounts were read.
    pub(super) fn mounted(
        &self,
        reader: Option<Pid>,
        sought: HashSet<(NsId, Text)>,
        room: &mut Room,
    ) -> io::Result<(Vec<NsId>, bool)> {
        let (opener, left) = (self.clone(), *room);
        let (mounted, used) = bounded::one(move |_| {
            let mut turn = left.turn(room::ONE);
            let process = reader
                .map_or_else(|| opener.context.proc.this_process(), |pid| opener.context.proc.process(pid));
            let mounted = process.and_then(|dir| opener.read(&dir, &sought, &mut turn));
            (mounted, turn.used())
        })?;
        room.settle(used);
        mounted
    }

    fn read(
        &self,
        dir: &ProcessDir,
        sought: &HashSet<(NsId, Text)>,
        turn: &mut Turn,
    ) -> io::Result<(Vec<NsId>, bool)> {
        let mut found = Vec::new();
        let whole = lines::mounts(dir, 0, turn, &mut |line| {
            if let Line::Whole(line) = line
                && let Some(mount) = parse::namespace_mount(line)
            {
                let mount = (self.context.id(mount.kind, mount.ino), mount.path);
                found.extend(sought.contains(&mount).then_some(mount.0));
            }
            true
        })?;
        Ok((found, whole))
    }
}

/// Returns true if a descriptor refers to the namespace `id`, or to one that has reused both its kind and its inode.
pub(super) fn is(fd: BorrowedFd<'_>, id: NsId) -> io::Result<bool> {
    Ok(nsfs::identity(fd)?.1 == id.ino && nsfs::kind(fd)? == Some(id.kind))
}
