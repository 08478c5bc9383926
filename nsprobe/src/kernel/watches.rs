//! The namespaces whose end the probe reports: its maps, from userspace.

use aya::maps::{HashMap, MapData, MapError};
use nsprobe_ebpf::Watched;
use nsprobe_ebpf::share::ROWS;
use std::io;

/// A [`Watched`] as its integers.
type Words = [u64; size_of::<Watched>() / 8];

type Table = HashMap<MapData, u32, Words>;

/// The maps. A namespace is in one of them from when a call created or joined it, or it was added, until it ends: the
/// probe removes it, even if it cannot report the end.
pub struct Watches {
    /// Those that calls created or joined.
    of_calls: Table,
    /// Those that were added.
    found: Table,
}

impl Watches {
    pub(super) const fn new(of_calls: Table, found: Table) -> Self {
        Self { of_calls, found }
    }

    /// Returns all of them, by inode. The maps change meanwhile, but one that was present throughout is found.
    pub fn all(&self) -> io::Result<Vec<(u64, Watched)>> {
        let all = self.of_calls.iter().chain(self.found.iter()).filter_map(|item| match item {
            Ok((ino, words)) => Some(Ok((ino.into(), watched(words)))),
            Err(MapError::KeyNotFound) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        });
        all.collect()
    }

    /// Returns the one with this inode.
    pub fn get(&self, ino: u64) -> io::Result<Option<Watched>> {
        let Ok(ino) = u32::try_from(ino) else { return Ok(None) };
        for table in [&self.of_calls, &self.found] {
            match table.get(&ino, 0) {
                Ok(words) => return Ok(Some(watched(words))),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(None)
    }

    /// Adds one, unless this inode is already present; returns true if there was room.
    pub fn add(&mut self, ino: u64, watched: Watched) -> bool {
        /// `BPF_NOEXIST` of bpf(2).
        const NO_EXIST: u64 = 1;
        let is_there = |this: &Self| this.get(ino).is_ok_and(|found| found.is_some());
        let words = [watched.id, watched.made_ns, 0, watched.slot.into()];
        is_there(self)
            || u32::try_from(ino).is_ok_and(|ino| self.found.insert(ino, words, NO_EXIST).is_ok())
            || is_there(self)
    }

    /// Removes one that was added, and has ended.
    pub fn remove(&mut self, ino: u64) {
        if let Ok(ino) = u32::try_from(ino) {
            // Not there: the probe has removed it.
            let _ = self.found.remove(&ino);
        }
    }
}

/// Decodes an entry. The shares it is charged to concern only the probe.
fn watched([id, made_ns, _, slot]: Words) -> Watched {
    Watched { id, made_ns, shares: [0; ROWS], slot: (slot & 0xffff_ffff) as u32, reserved: 0 }
}
