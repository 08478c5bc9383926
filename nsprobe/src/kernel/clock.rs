//! The clock of events and the wall clock.

use nix::time::ClockId;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The wall clock at `CLOCK_BOOTTIME` zero.
///
/// Read once: converted times never step, even if the wall clock is set.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    zero: SystemTime,
    offset: Offset,
}

impl BootClock {
    /// Reads both clocks.
    pub fn read() -> io::Result<Self> {
        let offset = Offset::own("/proc".as_ref());
        let before = since_boot(offset)?;
        let wall = SystemTime::now();
        let after = since_boot(offset)?;
        // The wall clock was read midway between the two.
        let boot = before + after.saturating_sub(before) / 2;
        let zero = wall.checked_sub(boot).ok_or_else(|| io::Error::other("the clock is before 1970"))?;
        Ok(Self { zero, offset })
    }

    /// Returns the wall clock's time at a time since boot.
    #[must_use]
    pub fn wall(self, since_boot: Duration) -> SystemTime {
        self.zero + since_boot
    }

    /// Returns the current time since boot: `CLOCK_BOOTTIME` of the initial time namespace.
    pub fn since_boot(self) -> io::Result<Duration> {
        since_boot(self.offset)
    }

    /// Returns the current wall clock time, converted in the same way.
    pub fn now(self) -> io::Result<SystemTime> {
        self.since_boot().map(|since| self.wall(since))
    }
}

/// Reads `CLOCK_BOOTTIME` (Linux 2.6.39), the time since boot including suspend, as in the initial time namespace and
/// the kernel itself.
fn since_boot(offset: Offset) -> io::Result<Duration> {
    let now = Duration::from(ClockId::CLOCK_BOOTTIME.now()?);
    offset.undo(now).ok_or_else(|| io::Error::other("the time namespace's clock is before boot"))
}

/// A clock tick of `/proc`: USER_HZ is 100.
const TICK_MS: u64 = 10;

/// The offset of this process's time namespace from the initial one: time_namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    seconds: i64,
    nanoseconds: u32,
}

impl Offset {
    /// Reads that of this process from the proc file system at `root`; zero if unavailable, as on a kernel without time
    /// namespaces (before 5.6, or without CONFIG_TIME_NS).
    #[must_use]
    pub fn own(root: &Path) -> Self {
        // The file describes the namespace for children, which may differ from the process's own; then another process,
        // such as the parent, may have the latter for its own children.
        let parent = std::os::unix::process::parent_id().to_string();
        let link = |pid: &str, name: &str| std::fs::read_link(root.join(pid).join("ns").join(name));
        let own = link("self", "time").ok();
        let is_of = |pid: &&str| own.is_some() && link(pid, "time_for_children").ok() == own;
        let pid = ["self", &parent, "1", "2"].into_iter().find(is_of);
        let text = pid.and_then(|pid| std::fs::read_to_string(root.join(pid).join("timens_offsets")).ok());
        text.and_then(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// Converts a process's start time in `/proc`, as read in this namespace, to clock ticks since boot in the initial
    /// time namespace. Exact if the offset is a whole number of ticks.
    #[must_use]
    pub fn start(self, ticks: u64) -> u64 {
        if self == Self::default() {
            return ticks;
        }
        let reported = Duration::from_millis(ticks.saturating_mul(TICK_MS));
        let start = self.undo(reported).unwrap_or_default();
        u64::try_from(start.as_millis()).unwrap_or(u64::MAX) / TICK_MS
    }

    /// Parses that of the boot-time clock from a `timens_offsets`: lines of clock, seconds, nanoseconds.
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
    fn now_matches_the_wall_clock() {
        let clock = BootClock::read().unwrap();
        let (before, now, after) = (SystemTime::now(), clock.now().unwrap(), SystemTime::now());
        let slack = Duration::from_millis(100);
        assert!(before - slack <= now && now <= after + slack, "{before:?} {now:?} {after:?}");
    }

    #[test]
    fn time_namespace_offset_is_undone() {
        let offset =
            Offset::parse("monotonic           0         0\nboottime       100000         5\n").unwrap();
        assert_eq!(offset, Offset { seconds: 100_000, nanoseconds: 5 });
        let time = Duration::new(100_007, 6);
        assert_eq!(offset.undo(time), Some(Duration::new(7, 1)));
        assert_eq!(Offset { seconds: -3, nanoseconds: 0 }.undo(time), Some(Duration::new(100_010, 6)));
        assert_eq!(offset.undo(Duration::ZERO), None);
        assert_eq!(Offset::parse("monotonic 0 0\n"), None);
        assert_eq!(Offset::parse("boottime x 0\n"), None);
        assert_eq!(Offset::default().start(u64::MAX), u64::MAX);
        assert_eq!(Offset { seconds: 100, nanoseconds: 0 }.start(10_123), 123);
        assert_eq!(Offset { seconds: -3, nanoseconds: 0 }.start(7), 307);
    }
}
