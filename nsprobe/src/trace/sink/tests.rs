//! A sink for tests.

use super::Sink;
use crate::model::{Body, Event, Line};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;

/// Decides which events a sink accepts, as [`Sink::wants`].
pub type Wants = Box<dyn FnMut(&Event) -> Option<bool>>;

/// Keeps the lines it takes.
pub struct ScriptedSink {
    pub lines: Vec<Line>,
    /// The number of lines of events and namespaces for which it has room; a test may change it.
    pub room: Rc<Cell<usize>>,
    /// The number of lines after which it fails.
    pub fails_after: usize,
    /// The filter.
    pub wants: Wants,
    /// The number of lines of events and namespaces that it has.
    pub held: usize,
    pub output: File,
}

impl Default for ScriptedSink {
    /// Takes everything.
    fn default() -> Self {
        let output = File::open("/dev/null").unwrap();
        let (room, fails_after) = (Rc::new(Cell::new(usize::MAX)), usize::MAX);
        Self { lines: Vec::new(), room, fails_after, wants: Box::new(|_| Some(true)), held: 0, output }
    }
}

const fn needs_room(line: &Line) -> bool {
    matches!(line.body, Body::Event(_) | Body::Created(_) | Body::Destroyed(_))
}

impl Sink for ScriptedSink {
    fn wants(&mut self, event: &Event) -> Option<bool> {
        (self.wants)(event)
    }

    fn line(&mut self, line: &Line) -> io::Result<bool> {
        if self.lines.len() >= self.fails_after {
            return Err(io::Error::other("it broke"));
        }
        let taken = !needs_room(line) || !self.is_full();
        if taken {
            self.lines.push(line.clone());
            self.held += usize::from(needs_room(line));
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn FnMut() -> bool) -> io::Result<()> {
        Ok(())
    }

    /// True if more than half of the room is left.
    fn has_room(&self) -> bool {
        self.held < self.room.get().div_ceil(2)
    }

    fn is_full(&self) -> bool {
        self.held >= self.room.get()
    }

    /// All of its events, if it has failed.
    fn unwritten(&self) -> u64 {
        self.lines.iter().filter(|line| matches!(line.body, Body::Event(_))).count() as u64
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}
