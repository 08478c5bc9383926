//! The destinations of a trace's lines.

use crate::model::{Event, Line, StreamEnd};
use std::io;
use std::os::fd::BorrowedFd;

/// A destination of the lines.
pub trait Sink {
    /// Returns true if it accepts an event; `None` if that cannot be decided. A rejected event gets no line, and does
    /// not count.
    fn wants(&mut self, event: &Event) -> Option<bool>;
    /// Takes a line; false if there is no room for it now. There is always room for the stream's data about itself.
    fn line(&mut self, line: &Line) -> io::Result<bool>;
    /// Passes on to the reader what it has taken: no more is coming for now. Does not wait.
    fn flush(&mut self) -> io::Result<()>;
    /// Waits a moment for what it has taken to reach the output; an error means that nothing will.
    fn settle(&mut self) -> io::Result<()>;
    /// Waits for what it has taken to reach the output, but not for a stalled reader, and only until `hurry`.
    fn finish(&mut self, hurry: &mut dyn FnMut() -> bool) -> io::Result<()>;
    /// True if there is room again, after there was none.
    fn has_room(&self) -> bool;
    /// True if there may be no room for another event.
    fn is_full(&self) -> bool {
        false
    }
    /// The number of events that it has taken and that have not reached the output.
    fn unwritten(&self) -> u64;
    /// A descriptor that shows by `POLLERR` that the reader is gone.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// Readable when there is room again, or the output has failed; until cleared.
    fn news(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Clears the news.
    fn clear_news(&self) {}
}

/// The end of a trace for one sink.
#[derive(Debug)]
pub struct OutputEnd {
    /// The reason for the end, and the totals of this sink.
    pub end: StreamEnd,
    /// The error because of which the last lines did not reach the output, if any.
    pub error: Option<io::Error>,
}

#[cfg(test)]
pub(super) mod tests;
