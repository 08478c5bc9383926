//! Gives each line its time and its sequence number.

use crate::kernel::clock::BootClock;
use crate::model::{Body, Line};
use std::io;
use std::time::{Duration, SystemTime};

/// The number of the next line of a stream, and its clock.
pub(super) struct Numbering {
    /// The id of the stream.
    stream: String,
    clock: BootClock,
    next: u64,
}

impl Numbering {
    pub(super) const fn new(stream: String, clock: BootClock) -> Self {
        Self { stream, clock, next: 0 }
    }

    /// The id of the stream.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// The wall time at a time since boot.
    pub(super) fn time(&self, since_boot: Duration) -> SystemTime {
        self.clock.wall(since_boot)
    }

    /// The current wall time.
    pub(super) fn now(&self) -> io::Result<SystemTime> {
        self.clock.now()
    }

    /// The number of the last line; 0 before it.
    pub(super) const fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Hands a line with the next number to `write`. The number is used up if `write` returns true: if an output has
    /// taken the line.
    pub(super) fn write(&mut self, time: SystemTime, body: Body, write: impl FnOnce(&Line) -> bool) {
        let taken = write(&Line { seq: self.next, time, body });
        self.next += u64::from(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Rebuilt;

    #[test]
    fn only_lines_that_are_taken_use_up_a_number() {
        let mut numbering = Numbering::new("id".to_owned(), BootClock::read().unwrap());
        let time = numbering.time(Duration::from_secs(5));
        let mut seen = Vec::new();
        for taken in [true, false, false, true, true] {
            numbering.write(time, Body::Rebuilt(Rebuilt::default()), |line| {
                assert_eq!(line.time, time);
                seen.push(line.seq);
                taken
            });
        }
        assert_eq!((seen, numbering.last()), (vec![0, 1, 1, 1, 2], 2));
    }
}
