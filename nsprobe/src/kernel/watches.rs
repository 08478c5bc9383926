//! The namespaces whose end the probe is to tell: its maps, from userspace.

use aya::maps::{HashMap, MapData, MapError};
use nsprobe_ebpf::Watched;
use nsprobe_ebpf::share::ROWS;
use std::io;

/// A [`Watched`] as the integers that it is.
type Words = [u64; size_of::<Watched>() / 8];

type Table = HashMap<MapData, u32, Words>;

/// The maps. A namespace is in one of them from when a call made or joined it, or it was put there, until it ends: the
/// probe takes it out, also when it cannot tell.
pub struct Watches {
    /// What calls made or joined.
    of_calls: Table,
    /// What was put there.
    found: Table,
}

impl Watches {
    pub(super) const fn new(of_calls: Table, found: Table) -> Self {
        Self { of_calls, found }
    }

    /// All of them, by inode. The maps change meanwhile: one that was in one throughout is found.
    pub fn all(&self) -> io::Result<Vec<(u64, Watched)>> {
        let all = self.of_calls.iter().chain(self.found.iter()).filter_map(|item| match item {
            Ok((ino, words)) => Some(Ok((ino.into(), watched(words)))),
            Err(MapError::KeyNotFound) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        });
        all.collect()
    }

    /// The one with this inode.
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

    /// Puts one there, unless there is one of this inode; whether there was room.
    pub fn add(&mut self, ino: u64, watched: Watched) -> bool {
        /// `BPF_NOEXIST` of bpf(2).
        const NO_EXIST: u64 = 1;
        let is_there = |this: &Self| this.get(ino).is_ok_and(|found| found.is_some());
        let words = [watched.id, watched.made_ns, 0, watched.slot.into()];
        is_there(self)
            || u32::try_from(ino).is_ok_and(|ino| self.found.insert(ino, words, NO_EXIST).is_ok())
            || is_there(self)
    }

    /// Takes one out that was put there, and has ended.
    pub fn remove(&mut self, ino: u64) {
        if let Ok(ino) = u32::try_from(ino) {
            // Not there: the probe has taken it out.
            let _ = self.found.remove(&ino);
        }
    }
}

/// Whose room it takes is the probe's concern alone.
fn watched([id, made_ns, _, slot]: Words) -> Watched {
    Watched { id, made_ns, shares: [0; ROWS], slot: (slot & 0xffff_ffff) as u32, reserved: 0 }
}
