//! An event for tests.

use crate::model::{Caller, Event, Operation, Outcome, Slots};
use std::time::Duration;

/// A successful call by the process `pid` at boot, of which nothing else is known.
pub fn event(pid: u32, operation: Operation) -> Event {
    Event {
        since_boot: Duration::ZERO,
        duration: None,
        process: Caller::new(pid, pid),
        operation,
        compat: None,
        outcome: Outcome::Success(0),
        before: Slots::default(),
        after: Slots::default(),
        marks: None,
        seen: None,
        denied: false,
        root: None,
        cwd: None,
    }
}
