//! Limits how much of the mounts is read. A tenant decides how many there are, and how many are stacked: for each mount
//! the kernel climbs over all that are below it, so that the time grows with the square of their number.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// An amount of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of mounts.
    pub mounts: usize,
    /// Bytes of mountinfo.
    pub bytes: usize,
    /// Processor time.
    pub time: Duration,
}

/// The first share of each mount namespace, so that one with many mounts takes nothing from the others.
pub const FIRST: Share = Share { mounts: 256, bytes: 1 << 20, time: Duration::from_millis(50) };

/// The most for one mount namespace.
pub const ONE: Share = Share { mounts: 100_000, bytes: 64 << 20, time: Duration::from_secs(1) };

/// The most for following one path to a mount.
pub const PATH: Share = Share { mounts: usize::MAX, bytes: usize::MAX, ..ONE };

/// The most for all together.
pub const ALL: Share = Share { mounts: 400_000, bytes: 256 << 20, time: Duration::from_secs(4) };

/// The budget left for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room(Share);

impl Room {
    /// The budget for all mounts.
    #[must_use]
    pub const fn for_mounts() -> Self {
        Self(ALL)
    }

    /// The budget for all paths to mounts: each needs a few lines of mountinfo, so only the time is limited.
    #[must_use]
    pub const fn for_paths() -> Self {
        Self(Share { time: ALL.time, ..PATH })
    }

    /// Returns true if any part of it is used up.
    #[must_use]
    pub const fn is_used_up(&self) -> bool {
        self.0.mounts == 0 || self.0.bytes == 0 || self.0.time.is_zero()
    }

    /// Starts a turn, limited to `share` and to what is left.
    #[must_use]
    pub fn turn(&self, share: Share) -> Turn {
        let most = Share {
            mounts: share.mounts.min(self.0.mounts),
            bytes: share.bytes.min(self.0.bytes),
            time: share.time.min(self.0.time),
        };
        Turn { most, mounts: 0, bytes: 0, calls: 0, began: processor_time() }
    }

    /// Subtracts what a turn has used.
    pub fn settle(&mut self, used: Share) {
        self.0.mounts = self.0.mounts.saturating_sub(used.mounts);
        self.0.bytes = self.0.bytes.saturating_sub(used.bytes);
        self.0.time = self.0.time.saturating_sub(used.time);
    }
}

/// A unit of work in progress.
#[derive(Debug)]
pub struct Turn {
    most: Share,
    mounts: usize,
    bytes: usize,
    calls: u32,
    began: Duration,
}

/// The number of reads per reading of the clock, which is a system call.
const CLOCK: u32 = 32;

impl Turn {
    /// Counts what has been read; returns true if more may be read.
    pub fn read(&mut self, mounts: usize, bytes: usize) -> bool {
        self.mounts += mounts;
        self.bytes += bytes;
        self.calls += 1;
        self.mounts <= self.most.mounts
            && self.bytes <= self.most.bytes
            && (!self.calls.is_multiple_of(CLOCK) || self.time() <= self.most.time)
    }

    /// Returns what it has used; called by the thread that did the work.
    #[must_use]
    pub fn used(&self) -> Share {
        Share { mounts: self.mounts, bytes: self.bytes, time: self.time() }
    }

    fn time(&self) -> Duration {
        processor_time().saturating_sub(self.began)
    }
}

/// Returns the processor time of this thread, which a busy machine does not affect.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of mounts of `bytes` bytes read in one turn.
    fn read(room: &mut Room, share: Share, bytes: usize) -> usize {
        let mut turn = room.turn(share);
        let count = 1 + (0..10_000_000).take_while(|_| turn.read(1, bytes)).count();
        room.settle(turn.used());
        count
    }

    const UNHURRIED: Share = Share { time: Duration::from_secs(1000), ..ONE };

    #[test]
    fn mounts_and_bytes_end_a_turn() {
        let room = || Room(Share { time: Duration::from_secs(1000), ..ALL });
        assert_eq!(read(&mut room(), UNHURRIED, 100), 100_001);
        assert_eq!(read(&mut room(), UNHURRIED, 1 << 20), 65);
        assert_eq!(read(&mut room(), Share { time: UNHURRIED.time, ..FIRST }, 100), 257);
    }

    #[test]
    fn turns_share_a_total_limit() {
        let mut room = Room(Share { time: Duration::from_secs(1000), ..ALL });
        for _ in 0..3 {
            assert_eq!(read(&mut room, UNHURRIED, 1), 100_001);
            assert!(!room.is_used_up());
        }
        assert_eq!(read(&mut room, UNHURRIED, 1), 99_998);
        assert!(room.is_used_up());
        assert_eq!(read(&mut room, UNHURRIED, 1), 1);
    }

    #[test]
    fn time_ends_a_turn() {
        let mut room = Room::for_mounts();
        let mut turn = room.turn(Share { time: Duration::from_millis(2), ..ONE });
        while turn.read(0, 0) {
            std::hint::black_box((0..1000).sum::<u64>());
        }
        room.settle(turn.used());
        assert!(room.0.time + Duration::from_millis(2) <= ALL.time, "{room:?}");
    }
}
