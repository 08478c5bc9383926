//! The ring buffer's shares of users and control groups, and whose events were lost: the probe's maps, from userspace.

use super::random;
use super::sideband::page_size;
use aya::maps::{HashMap, MapData, MapError};
use nsprobe_ebpf::share::{Held, Loser, ROWS, SLOTS, Settings, index};
use nsprobe_ebpf::{Counter, Event};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The map of bytes sent and taken, in this process's memory.
pub struct Shares {
    map: NonNull<Held>,
    /// Keeps the map; the mapping alone would too.
    _data: MapData,
}

/// Its size: an array's values are contiguous.
const BYTES: usize = size_of::<Held>() * ROWS * SLOTS;

// SAFETY: the mapping belongs to this value alone, and is accessed by atomic operations only.
unsafe impl Send for Shares {}

impl Shares {
    pub(super) fn new(data: MapData) -> io::Result<Self> {
        let fd = data.fd().as_fd().as_raw_fd();
        let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at a place that the kernel chooses, of an open descriptor.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, protection, kind, fd, 0) };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast()).ok_or_else(|| io::Error::other("mmap(2) returned no address"))?;
        Ok(Self { map, _data: data })
    }

    /// Records that a record has been taken: its space is no longer charged.
    pub(super) fn take(&mut self, record: &[u8]) {
        const AT: usize = offset_of!(Event, shares);
        if record.len() < size_of::<Event>() {
            return;
        }
        let bytes = record.len() as u64;
        for row in 0..ROWS {
            let slot = record.get(AT + row * size_of::<u16>()..).and_then(|rest| rest.first_chunk());
            if let Some(index) = slot.and_then(|&slot| index(row, u16::from_ne_bytes(slot))) {
                // SAFETY: `index` is within the map, whose values are aligned to 8 and live as long as `self`; nsprobe
                // accesses them in this way only.
                let taken = unsafe {
                    AtomicU64::from_ptr(self.map.as_ptr().add(index).byte_add(offset_of!(Held, taken)).cast())
                };
                taken.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made in `new`, with its length; nothing borrows from it.
        unsafe { libc::munmap(self.map.as_ptr().cast(), BYTES) };
    }
}

/// Returns the size of a ring buffer for this many bytes: a power of two, and at least a page.
#[must_use]
pub fn ring_size(bytes: u32) -> u32 {
    let page = u32::try_from(page_size()).unwrap_or(4096);
    bytes.max(page).checked_next_power_of_two().unwrap_or(1 << 31)
}

/// Returns the probe's settings for a ring buffer, a table of namespaces and one of calls in progress of these sizes.
pub fn settings(ring_bytes: u32, watches: u32, calls: u32) -> io::Result<Settings> {
    let seed = || random::bytes().map(u64::from_ne_bytes);
    Ok(Settings {
        ring: ring_bytes.into(),
        seeds: [seed()?, seed()?],
        watches: watches.into(),
        calls: calls.into(),
    })
}

/// A [`Loser`] as its integers.
type Words = [u32; 4];

/// The map of whose events were lost.
pub struct Losers(HashMap<MapData, Words, u64>);

impl Losers {
    pub(super) const fn new(map: HashMap<MapData, Words, u64>) -> Self {
        Self(map)
    }

    /// Returns how many events each has lost, since the trace began or since it was removed.
    pub fn all(&self) -> io::Result<Vec<(Loser, u64)>> {
        let all = self.0.iter().filter_map(|item| match item {
            Ok(([stage, uid, low, high], count)) => {
                let cgroup = u64::from(low) | u64::from(high) << 32;
                Some(Ok((Loser { stage, uid, cgroup }, count)))
            }
            Err(MapError::KeyNotFound) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        });
        all.collect()
    }

    /// Removes one, which makes room.
    pub fn remove(&mut self, loser: Loser) {
        let half = |shift: u32| ((loser.cgroup >> shift) & 0xffff_ffff) as u32;
        // Not there: nothing to do.
        let _ = self.0.remove(&[loser.stage, loser.uid, half(0), half(32)]);
    }
}

/// Returns true if events of this counter are counted by owner.
#[must_use]
pub const fn has_losers(counter: Counter) -> bool {
    matches!(counter, Counter::RingFull | Counter::Share | Counter::CallsFull)
}
