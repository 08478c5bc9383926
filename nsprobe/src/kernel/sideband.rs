//! The side-band records of perf events: of tasks that start, end, execute programs and change their namespaces
//! (`PERF_RECORD_NAMESPACES`, Linux 4.12), through a ring buffer per CPU. Needs no BPF.

use super::perf::{self, Attributes};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

const PERF_TYPE_SOFTWARE: u32 = 1;
/// Counts nothing.
const PERF_COUNT_SW_DUMMY: u64 = 9;

/// Bits of `perf_event_attr`, in the order of their declaration.
mod flag {
    pub(super) const COMM: u64 = 1 << 9;
    pub(super) const TASK: u64 = 1 << 13;
    pub(super) const WATERMARK: u64 = 1 << 14;
    pub(super) const SAMPLE_ID_ALL: u64 = 1 << 18;
    pub(super) const COMM_EXEC: u64 = 1 << 24;
    pub(super) const USE_CLOCKID: u64 = 1 << 25;
    pub(super) const NAMESPACES: u64 = 1 << 28;
}

/// The trailer of every record: pid and tid of its writer (two u32), time (u64).
const PERF_SAMPLE_TID: u64 = 1 << 1;
const PERF_SAMPLE_TIME: u64 = 1 << 2;

/// The length of the longest record of these kinds, with a record of lost ones before it.
const LONGEST: usize = 256;

/// Offsets in `struct perf_event_mmap_page`, the page before the data.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// The records of one CPU, from when it is opened until it is dropped.
#[derive(Debug)]
pub struct Sideband {
    event: OwnedFd,
    /// A page for the positions, followed by the data.
    map: NonNull<u8>,
    page: usize,
    /// A power of two.
    data: usize,
    tail: u64,
    counts_lost: bool,
}

impl Sideband {
    /// Opens a buffer of `bytes` (a power of two, and at least a page) on the CPU `cpu`. Times are `CLOCK_BOOTTIME`.
    ///
    /// Needs `CAP_PERFMON` (before Linux 5.8 `CAP_SYS_ADMIN`), whatever `kernel.perf_event_paranoid` is: nobody else
    /// may see namespaces. At level 3, which only patched kernels have, Debian's require `CAP_SYS_ADMIN`.
    /// `Err(ENODEV)`: the CPU is offline. `Err(EPERM)` also: this much memory may not be locked
    /// (`kernel.perf_event_mlock_kb`, without `CAP_IPC_LOCK`).
    pub fn open(cpu: u32, bytes: usize) -> io::Result<Self> {
        let attributes = Attributes {
            kind: PERF_TYPE_SOFTWARE,
            config: PERF_COUNT_SW_DUMMY,
            sample_type: PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
            flags: flag::COMM
                | flag::TASK
                | flag::WATERMARK
                | flag::SAMPLE_ID_ALL
                | flag::COMM_EXEC
                | flag::USE_CLOCKID
                | flag::NAMESPACES,
            // Every record wakes the reader, which sleeps only when there was none.
            wakeup_events: 1,
            clockid: libc::CLOCK_BOOTTIME,
            ..Attributes::default()
        };
        let cpu = i32::try_from(cpu).map_err(io::Error::other)?;
        let counting = Attributes { read_format: perf::PERF_FORMAT_LOST, ..attributes };
        let (event, counts_lost) = match perf::open(counting, cpu) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (perf::open(attributes, cpu)?, false),
            opened => (opened?, true),
        };
        let page = page_size();
        let data = bytes.next_power_of_two().max(page);
        let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at a place that the kernel chooses, of an open descriptor.
        let map =
            unsafe { libc::mmap(std::ptr::null_mut(), page + data, protection, kind, event.as_raw_fd(), 0) };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast()).ok_or_else(|| io::Error::other("mmap(2) returned no address"))?;
        Ok(Self { event, map, page, data, tail: 0, counts_lost })
    }

    /// Appends the content of the buffer to `bytes`, a sequence of whole records, and frees its space. Returns true if
    /// it was so full that records may have found no room; the kernel reports that only once there is room again.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> bool {
        let head = self.position(DATA_HEAD).load(Ordering::Acquire);
        let mask = self.data as u64 - 1;
        let was_full = head - self.tail + LONGEST as u64 > self.data as u64;
        while self.tail < head {
            let at = usize::try_from(self.tail & mask).unwrap_or(0);
            let length = usize::try_from(head - self.tail).unwrap_or(self.data).min(self.data - at);
            // SAFETY: inside the mapping, whose data begins after one page; between tail and head the kernel does not
            // write, and everything there was written before the head was stored.
            let piece = unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.page + at), length) };
            bytes.extend_from_slice(piece);
            self.tail += length as u64;
        }
        // Everything above is read before the kernel may write there again.
        self.position(DATA_TAIL).store(self.tail, Ordering::Release);
        was_full
    }

    /// Returns how many records found no room since it was opened; `None` if the kernel counts them only in records
    /// (before Linux 6.0), and so misses those after which none found room.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        let mut count_and_lost = [0; 16];
        let read = self.counts_lost.then(|| nix::unistd::read(&self.event, &mut count_and_lost));
        let is_whole = matches!(read, Some(Ok(length)) if length == count_and_lost.len());
        is_whole.then(|| count_and_lost.last_chunk().map(|lost| u64::from_ne_bytes(*lost))).flatten()
    }

    /// Returns about how many records there is room for.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.data / LONGEST
    }

    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the first page of the mapping, aligned to 8, and accessed by nsprobe only in this way; the
        // mapping lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.map.as_ptr().add(offset).cast()) }
    }
}

impl AsFd for Sideband {
    /// Readable when a record has come since the last poll(2).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Sideband {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made in `open`, with its length; nothing borrows from it any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.page + self.data) };
    }
}

/// Returns the size of a page of memory.
#[must_use]
pub fn page_size() -> usize {
    // SAFETY: a query without arguments in memory.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Returns the CPUs that are online.
pub fn online() -> io::Result<Vec<u32>> {
    let path = "/sys/devices/system/cpu/online";
    let named = |what: &dyn std::fmt::Display| io::Error::other(format!("{path}: {what}"));
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => named(&format_args!("{error}: /sys is not mounted")),
        _ => named(&error),
    })?;
    ranges(text.trim()).ok_or_else(|| named(&format_args!("{text:?}")))
}

/// Parses a list of numbers as the kernel writes it: `0-3,7`.
fn ranges(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_parsed() {
        assert_eq!(ranges("0"), Some(vec![0]));
        assert_eq!(ranges("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(ranges(""), None);
        assert_eq!(ranges("0-"), None);
        assert!(!online().unwrap().is_empty());
    }
}
