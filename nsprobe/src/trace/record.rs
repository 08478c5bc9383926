//! What a source reports.

use crate::model::{Event, Mark};
use std::time::Duration;

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceItem {
    /// A crossing.
    Event(Box<Event>),
    /// The end of a namespace.
    Freed(End),
}

/// The end of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The inode it had.
    pub ino: u64,
    /// Its id, where the kernel gave it one.
    pub mark: Mark,
    /// When: `CLOCK_BOOTTIME`.
    pub since_boot: Duration,
}
