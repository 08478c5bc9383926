//! The namespaces whose end the probe is to tell: its map, from userspace.

use aya::maps::{HashMap, MapData, MapError};
use nsprobe_ebpf::Watched;
use std::io;

/// A [`Watched`] as the integers that it is.
type Words = [u64; size_of::<Watched>() / 8];

/// The map. A namespace is in it from when a call made or joined it, or it was put there, until it ends: the probe takes
/// it out, also when it cannot tell.
pub struct Watches(HashMap<MapData, u32, Words>);

impl Watches {
    pub(super) const fn new(map: HashMap<MapData, u32, Words>) -> Self {
        Self(map)
    }

    /// All of them, by inode. The map changes meanwhile: one that was in it throughout is found.
    pub fn all(&self) -> io::Result<Vec<(u64, Watched)>> {
        let all = self.0.iter().filter_map(|item| match item {
            Ok((ino, words)) => Some(Ok((ino.into(), watched(words)))),
            Err(MapError::KeyNotFound) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        });
        all.collect()
    }

    /// The one with this inode.
    pub fn get(&self, ino: u64) -> io::Result<Option<Watched>> {
        let Ok(ino) = u32::try_from(ino) else { return Ok(None) };
        match self.0.get(&ino, 0) {
            Ok(words) => Ok(Some(watched(words))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Puts one there, unless there is one of this inode; whether there was room.
    pub fn add(&mut self, ino: u64, watched: Watched) -> bool {
        /// `BPF_NOEXIST` of bpf(2).
        const NO_EXIST: u64 = 1;
        let words = [watched.id, watched.made_ns, watched.slot.into()];
        let added = u32::try_from(ino).map(|ino| self.0.insert(ino, words, NO_EXIST));
        // Refused: it is there.
        added.is_ok_and(|added| added.is_ok()) || self.get(ino).is_ok_and(|found| found.is_some())
    }

    /// Takes one out, which has ended.
    pub fn remove(&mut self, ino: u64) {
        if let Ok(ino) = u32::try_from(ino) {
            // Not there: the probe has taken it out.
            let _ = self.0.remove(&ino);
        }
    }
}

fn watched([id, made_ns, slot]: Words) -> Watched {
    Watched { id, made_ns, slot: (slot & 0xffff_ffff) as u32, reserved: 0 }
}
