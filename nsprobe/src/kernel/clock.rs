//! The clock of events and the clock on the wall.

use nix::time::ClockId;
use std::io;
use std::time::{Duration, SystemTime};

/// What the wall clock showed when `CLOCK_BOOTTIME` was zero.
///
/// Taken once: what it makes of later boot times never steps, even when somebody sets the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    zero: SystemTime,
    offset: Offset,
}

impl BootClock {
    /// Reads both clocks.
    pub fn read() -> io::Result<Self> {
        // A kernel without time namespaces (before 5.6, or CONFIG_TIME_NS off) has no such file.
        let offset = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        let offset = Offset::parse(&offset).unwrap_or_default();
        let before = since_boot(offset)?;
        let wall = SystemTime::now();
        let after = since_boot(offset)?;
        // The wall clock was read halfway between the two.
        let boot = before + after.saturating_sub(before) / 2;
        let zero = wall.checked_sub(boot).ok_or_else(|| io::Error::other("the clock is before 1970"))?;
        Ok(Self { zero, offset })
    }

    /// The wall clock's time at a moment after boot.
    #[must_use]
    pub fn wall(self, since_boot: Duration) -> SystemTime {
        self.zero + since_boot
    }

    /// The time since boot now: `CLOCK_BOOTTIME` of the initial time namespace.
    pub fn since_boot(self) -> io::Result<Duration> {
        since_boot(self.offset)
    }

    /// The wall clock's time now, by the same rule.
    pub fn now(self) -> io::Result<SystemTime> {
        self.since_boot().map(|since| self.wall(since))
    }
}

/// `CLOCK_BOOTTIME` (Linux 2.6.39), time since boot with suspend, as the initial time namespace and the
/// kernel itself have it.
fn since_boot(offset: Offset) -> io::Result<Duration> {
    let now = Duration::from(ClockId::CLOCK_BOOTTIME.now()?);
    offset.undo(now).ok_or_else(|| io::Error::other("the time namespace's clock is before boot"))
}

/// How much later than the initial one this process's time namespace has it: time_namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offset {
    seconds: i64,
    nanoseconds: u32,
}

impl Offset {
    /// That of the boot-time clock in the text of a `timens_offsets`: lines of clock, seconds, nanoseconds.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.starts_with("boottime"))?;
        let mut words = line.split_whitespace().skip(1);
        Some(Self { seconds: words.next()?.parse().ok()?, nanoseconds: words.next()?.parse().ok()? })
    }

    fn undo(self, time: Duration) -> Option<Duration> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let shifted = if self.seconds < 0 { time.checked_add(whole) } else { time.checked_sub(whole) };
        shifted?.checked_sub(Duration::from_nanos(self.nanoseconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_what_the_wall_clock_shows() {
        let clock = BootClock::read().unwrap();
        let (before, now, after) = (SystemTime::now(), clock.now().unwrap(), SystemTime::now());
        let slack = Duration::from_millis(100);
        assert!(before - slack <= now && now <= after + slack, "{before:?} {now:?} {after:?}");
    }

    #[test]
    fn a_time_namespace_is_seen_through() {
        let offset =
            Offset::parse("monotonic           0         0\nboottime       100000         5\n").unwrap();
        assert_eq!(offset, Offset { seconds: 100_000, nanoseconds: 5 });
        let time = Duration::new(100_007, 6);
        assert_eq!(offset.undo(time), Some(Duration::new(7, 1)));
        assert_eq!(Offset { seconds: -3, nanoseconds: 0 }.undo(time), Some(Duration::new(100_010, 6)));
        assert_eq!(offset.undo(Duration::ZERO), None);
        assert_eq!(Offset::parse("monotonic 0 0\n"), None);
        assert_eq!(Offset::parse("boottime x 0\n"), None);
    }
}
