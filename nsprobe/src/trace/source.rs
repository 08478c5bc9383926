//! What gives events: one file a way.

pub mod probe;

use crate::model::{Event, Hooks, Lost};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// A way to learn what happens. It is at work from when it is opened until it is dropped.
pub trait Source {
    /// How the events are obtained, and why that way.
    fn hooks(&self) -> &Hooks;

    /// Each is readable when there is something to take.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// When there is something to take, whether a descriptor says so or not.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Takes the next thing; `None` when there is none now.
    fn next(&mut self) -> io::Result<Option<Told>>;

    /// What was lost since it began, by stage; stages without a loss may be among them.
    fn losses(&mut self) -> io::Result<Vec<Lost>>;

    /// Everything that happened until now can be taken from now on; gives how many times at most there is something
    /// to take. Losses that are dear to count are counted from now on.
    fn finish(&mut self) -> io::Result<usize>;
}

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A crossing.
    Event(Box<Event>),
    /// The end of the namespace with this inode, at this time after boot.
    Freed(u64, Duration),
}
