//! How much of the mounts is read. A tenant decides how many there are, and how many are stacked on one another: for
//! each mount the kernel climbs over all that are below it, so that the time grows with the square of their number.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A part of the work.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// How many of them.
    pub mounts: usize,
    /// Of the text of mountinfo.
    pub bytes: usize,
    /// Time of a processor.
    pub time: Duration,
}

/// What each mount namespace is given at first, so that one with many mounts takes nothing from the others.
pub const FIRST: Share = Share { mounts: 256, bytes: 1 << 20, time: Duration::from_millis(50) };

/// What one mount namespace is given at most.
pub const ONE: Share = Share { mounts: 100_000, bytes: 64 << 20, time: Duration::from_secs(1) };

/// What following one path to a mount is given at most.
pub const PATH: Share = Share { mounts: usize::MAX, bytes: usize::MAX, ..ONE };

/// What all are given together.
pub const ALL: Share = Share { mounts: 400_000, bytes: 256 << 20, time: Duration::from_secs(4) };

/// What is left for all.
#[derive(Clone, Copy, Debug)]
pub struct Room(Share);

impl Room {
    /// For all mounts.
    #[must_use]
    pub const fn for_mounts() -> Self {
        Self(ALL)
    }

    /// For all paths to mounts: each needs a few lines of mountinfo, so that the time alone says what is too much.
    #[must_use]
    pub const fn for_paths() -> Self {
        Self(Share { time: ALL.time, ..PATH })
    }

    /// Whether nothing is left of something.
    #[must_use]
    pub const fn is_used_up(&self) -> bool {
        self.0.mounts == 0 || self.0.bytes == 0 || self.0.time.is_zero()
    }

    /// Begins a part of the work, with no more than `share` and what is left.
    #[must_use]
    pub fn turn(&self, share: Share) -> Turn {
        let most = Share {
            mounts: share.mounts.min(self.0.mounts),
            bytes: share.bytes.min(self.0.bytes),
            time: share.time.min(self.0.time),
        };
        Turn { most, mounts: 0, bytes: 0, calls: 0, began: processor_time() }
    }

    /// Takes what a part has used from what is left.
    pub fn settle(&mut self, used: Share) {
        self.0.mounts = self.0.mounts.saturating_sub(used.mounts);
        self.0.bytes = self.0.bytes.saturating_sub(used.bytes);
        self.0.time = self.0.time.saturating_sub(used.time);
    }
}

/// A part of the work that has begun.
#[derive(Debug)]
pub struct Turn {
    most: Share,
    mounts: usize,
    bytes: usize,
    calls: u32,
    began: Duration,
}

/// The clock is read, which is a system call, once in this many.
const CLOCK: u32 = 32;

impl Turn {
    /// Counts what has been read; returns whether there may be more.
    pub fn read(&mut self, mounts: usize, bytes: usize) -> bool {
        self.mounts += mounts;
        self.bytes += bytes;
        self.calls += 1;
        self.mounts <= self.most.mounts
            && self.bytes <= self.most.bytes
            && (!self.calls.is_multiple_of(CLOCK) || self.time() <= self.most.time)
    }

    /// What it has used, as the thread knows that has done it.
    #[must_use]
    pub fn used(&self) -> Share {
        Share { mounts: self.mounts, bytes: self.bytes, time: self.time() }
    }

    fn time(&self) -> Duration {
        processor_time().saturating_sub(self.began)
    }
}

/// The processor time of this thread: what others do on a busy machine takes nothing away.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many mounts of `bytes` bytes are read in one part.
    fn read(room: &mut Room, share: Share, bytes: usize) -> usize {
        let mut turn = room.turn(share);
        let count = 1 + (0..10_000_000).take_while(|_| turn.read(1, bytes)).count();
        room.settle(turn.used());
        count
    }

    const UNHURRIED: Share = Share { time: Duration::from_secs(1000), ..ONE };

    #[test]
    fn many_mounts_or_many_bytes_end_a_part() {
        let room = || Room(Share { time: Duration::from_secs(1000), ..ALL });
        assert_eq!(read(&mut room(), UNHURRIED, 100), 100_001);
        assert_eq!(read(&mut room(), UNHURRIED, 1 << 20), 65);
        assert_eq!(read(&mut room(), Share { time: UNHURRIED.time, ..FIRST }, 100), 257);
    }

    #[test]
    fn the_parts_have_a_limit_together() {
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
    fn time_ends_a_part_however_little_was_read() {
        let mut room = Room::for_mounts();
        let mut turn = room.turn(Share { time: Duration::from_millis(2), ..ONE });
        while turn.read(0, 0) {
            std::hint::black_box((0..1000).sum::<u64>());
        }
        room.settle(turn.used());
        assert!(room.0.time + Duration::from_millis(2) <= ALL.time, "{room:?}");
    }
}
