//! The probe's output: records through a ring buffer, and counts of those it could not send.

use super::shares::Shares;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use nsprobe_ebpf::Counter;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The ring buffer, from the reader's side. Its descriptor is readable when there is a record.
pub struct Ring {
    ring: RingBuf<MapData>,
    shares: Shares,
}

impl Ring {
    pub(super) const fn new(ring: RingBuf<MapData>, shares: Shares) -> Self {
        Self { ring, shares }
    }

    /// Passes the next record to `read`, and then returns its space to the probe; `None` if there is none now.
    pub fn next<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let record = self.ring.next()?;
        self.shares.take(&record);
        Some(read(&record))
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The probe's counters, summed over all CPUs.
pub struct Counters(PerCpuArray<MapData, u64>);

impl Counters {
    pub(super) const fn new(array: PerCpuArray<MapData, u64>) -> Self {
        Self(array)
    }

    /// Reads one of them.
    pub fn read(&self, counter: Counter) -> io::Result<u64> {
        let values = self.0.get(&(counter as u32), 0).map_err(io::Error::other)?;
        Ok(values.iter().sum())
    }
}
