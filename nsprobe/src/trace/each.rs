//! A trace for other programs: each line goes to a function.

use super::options::Options;
use super::session;
use super::sink::Sink;
use super::{SnapshotFn, TraceError};
use crate::discover::{self, CommandLines};
use crate::model::{Event, Line, StreamEnd};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

/// Traces, and calls `each` with every line, until `each` breaks, one of the limits in `options` is reached, or SIGINT,
/// SIGTERM or SIGHUP arrives: these, and SIGCHLD, stay blocked in the calling thread afterwards.
///
/// The first line is `Body::Start`, which says what the source does not show; the last one is `Body::End` with the
/// totals, which is also returned. If `each` breaks, it is not called again, and the reason for the end is
/// `output closed`. While `each` runs, nothing is read from the kernel: if it is slow, events are lost and counted.
pub fn trace(options: &Options, each: impl FnMut(&Line) -> ControlFlow<()>) -> Result<StreamEnd, TraceError> {
    // A descriptor whose reader never goes away.
    let idle = File::open("/dev/null")?;
    let ended = session::run(options, &take_snapshot(), &mut [&mut Each { call: each, idle, broke: false }])?;
    let output = ended.outputs.into_iter().next().expect("one output for one sink");
    ended.error.map_or(Ok(output.end), Err)
}

/// Takes the snapshot from which the lifecycle of namespaces is followed.
#[must_use]
pub fn take_snapshot() -> SnapshotFn {
    Arc::new(|| {
        let options =
            discover::Options { command_lines: CommandLines::Leaders, ..discover::Options::default() };
        discover::snapshot(&options).map_err(|error| error.to_string())
    })
}

struct Each<F> {
    call: F,
    idle: File,
    /// True if no more lines are wanted.
    broke: bool,
}

impl<F> Each<F> {
    fn check(&self) -> io::Result<()> {
        if self.broke { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl<F: FnMut(&Line) -> ControlFlow<()>> Sink for Each<F> {
    fn wants(&mut self, _event: &Event) -> Option<bool> {
        Some(!self.broke)
    }

    fn line(&mut self, line: &Line) -> io::Result<bool> {
        self.check()?;
        self.broke = (self.call)(line).is_break();
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _hurry: &mut dyn FnMut() -> bool) -> io::Result<()> {
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn unwritten(&self) -> u64 {
        0
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.idle.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Body;
    use crate::trace::plan::Choice;

    #[test]
    fn broken_loop_ends_the_trace_and_is_no_loss() {
        let options = Options {
            source: Choice::Only(crate::trace::hooks::Plan::Proc),
            duration: Some(std::time::Duration::from_mins(1)),
            ..Options::default()
        };
        let mut lines = 0;
        let end = trace(&options, |line| {
            lines += 1;
            assert!(matches!(line.body, Body::Start(_)));
            ControlFlow::Break(())
        });
        let end = end.unwrap();
        assert_eq!((&*end.reason, lines), ("output closed", 1));
        assert_eq!((end.totals.events, end.totals.lost), (0, Vec::new()));
    }
}
