//! The items that a source reports.

use crate::model::{Event, Mark};
use std::time::Duration;

/// An item that a source reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceItem {
    /// An operation.
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
    /// The time of the end: `CLOCK_BOOTTIME`.
    pub since_boot: Duration,
}

#[cfg(test)]
pub(super) mod tests;
