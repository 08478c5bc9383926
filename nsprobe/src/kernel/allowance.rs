//! The time for which others may still hold up this thread: one allowance for all waits of a command.
//!
//! Each wait has a limit, but a tenant decides how many there are. So each takes from what the waits before have left, and
//! gets less than they did. In a long trace the allowance comes back with time.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The most time that all waits may take together.
const MOST: Duration = Duration::from_secs(1);

/// The fraction of passing time that is added to the allowance.
const PART: u32 = 10;

thread_local! {
    /// What was left, and the time at which it was.
    static LEFT: Cell<Option<(Duration, Instant)>> = const { Cell::new(None) };
}

/// Returns the time for which the calling thread may still be held up.
pub fn left() -> Duration {
    LEFT.get().map_or(MOST, |(left, at)| after(left, at.elapsed()))
}

/// Subtracts a time for which the calling thread has been held up.
pub fn spend(time: Duration) {
    if time.is_zero() {
        return;
    }
    LEFT.set(Some((left().saturating_sub(time), Instant::now())));
}

/// Returns what an allowance has become after some time.
fn after(left: Duration, time: Duration) -> Duration {
    (left + time / PART).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spent_allowance_comes_back_with_time() {
        assert_eq!(left(), MOST);
        spend(MOST * 2);
        assert!(left() < MOST / 2, "{:?}", left());
        assert_eq!(std::thread::spawn(left).join().unwrap(), MOST);
        assert_eq!(after(Duration::ZERO, Duration::from_secs(3)), Duration::from_millis(300));
        assert_eq!(after(Duration::ZERO, Duration::MAX), MOST);
    }
}
