//! Where the lines of a trace go.

use crate::model::{Event, Line};
use std::io;
use std::os::fd::BorrowedFd;

/// Where the lines go.
pub trait Sink {
    /// Whether it wants an event; `None` where that cannot be decided. One that it does not want gets no line, and does
    /// not count.
    fn wants(&mut self, event: &Event) -> Option<bool>;
    /// Takes one; false: there is no room for it now. There is always room for what a stream says of itself.
    fn line(&mut self, line: &Line) -> io::Result<bool>;
    /// Hands on what it has taken to the reader: no more is coming for now. Does not wait.
    fn flush(&mut self) -> io::Result<()>;
    /// Waits a moment for what it has taken to reach the output; the error says that nothing will.
    fn settle(&mut self) -> io::Result<()>;
    /// Waits for what it has taken to reach the output, but not for a reader that stands still, and no longer than until
    /// `hurry`.
    fn finish(&mut self, hurry: &mut dyn FnMut() -> bool) -> io::Result<()>;
    /// Whether there is room again, after there was none.
    fn has_room(&self) -> bool;
    /// Whether there may be no room for another event.
    fn is_full(&self) -> bool {
        false
    }
    /// Events that it has taken and that have not reached the output.
    fn unwritten(&self) -> u64;
    /// What shows by `POLLERR` that there is no reader any more.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// Readable when there is room again, or the output has failed; until it is heeded.
    fn news(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Takes notice of that.
    fn heed(&self) {}
}
