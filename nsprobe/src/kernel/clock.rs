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
}

impl BootClock {
    /// Reads both clocks.
    pub fn read() -> io::Result<Self> {
        let before = since_boot()?;
        let wall = SystemTime::now();
        let after = since_boot()?;
        // The wall clock was read halfway between the two.
        let boot = before + after.saturating_sub(before) / 2;
        let zero = wall.checked_sub(boot).ok_or_else(|| io::Error::other("the clock is before 1970"))?;
        Ok(Self { zero })
    }

    /// The wall clock's time at a moment after boot.
    #[must_use]
    pub fn wall(self, since_boot: Duration) -> SystemTime {
        self.zero + since_boot
    }

    /// The wall clock's time now, by the same rule.
    pub fn now(self) -> io::Result<SystemTime> {
        since_boot().map(|since| self.wall(since))
    }
}

/// `CLOCK_BOOTTIME` (Linux 2.6.39): time since boot, suspend included. A time namespace shifts it, and the
/// probe's clock is not shifted: see time_namespaces(7).
fn since_boot() -> io::Result<Duration> {
    let now = ClockId::CLOCK_BOOTTIME.now()?;
    Ok(now.into())
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
}
