//! One of the sinks of a stream, with what it has received, what it had no room for, and its failure.

use super::losses::Losses;
use crate::model::{Body, Line, Loss, Lost, Stage, Totals};
use crate::trace::sink::Sink;
use std::io;
use std::time::SystemTime;

/// A sink. After a failure it is closed: it gets no more lines, and the events for it count as lost.
pub(super) struct Output<'a> {
    sink: &'a mut dyn Sink,
    /// The number of events that it has taken.
    events: u64,
    /// The number of events for which its filter could not be evaluated.
    unevaluated: u64,
    losses: Losses,
    overflow: Overflow,
    failure: Option<io::Error>,
}

/// Lines that a sink had no room for.
#[derive(Default)]
struct Overflow {
    /// True if it has no room now, and that has not been reported.
    active: bool,
    events: u64,
    /// Lines of namespaces created or destroyed.
    lifecycle: u64,
}

impl<'a> Output<'a> {
    /// A sink without a line yet, of a stream that begins at `now`.
    pub(super) fn new(sink: &'a mut dyn Sink, now: SystemTime) -> Self {
        let (losses, overflow) = (Losses::new(now), Overflow::default());
        Self { sink, events: 0, unevaluated: 0, losses, overflow, failure: None }
    }

    /// The sink.
    pub(super) fn sink(&self) -> &dyn Sink {
        self.sink
    }

    /// True until the sink fails.
    pub(super) const fn is_open(&self) -> bool {
        self.failure.is_none()
    }

    /// True if it has had room for every line since it was last asked to report its losses.
    pub(super) const fn keeps_up(&self) -> bool {
        !self.overflow.active
    }

    /// The number of events that it has taken.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// Writes the line of an event, if the sink wants the event; returns true if it takes the line.
    pub(super) fn event(&mut self, line: &Line) -> bool {
        let Body::Event(event) = &line.body else { return false };
        match self.sink.wants(event) {
            Some(true) if !self.overflow.active && self.line(line) => {
                self.events += 1;
                return true;
            }
            Some(true) if self.failure.is_some() => self.losses.unwritten(1),
            Some(true) => self.overflow.events += 1,
            Some(false) => {}
            None => self.unevaluated += 1,
        }
        false
    }

    /// Writes the line of a namespace that was created or destroyed; returns true if the sink takes it. It finds room
    /// when lines of events no longer do.
    pub(super) fn lifecycle(&mut self, line: &Line) -> bool {
        let taken = self.line(line);
        self.overflow.lifecycle += u64::from(!taken && self.failure.is_none());
        taken
    }

    /// Writes a line; returns true if the sink takes it.
    pub(super) fn line(&mut self, line: &Line) -> bool {
        if self.failure.is_some() {
            return false;
        }
        match self.sink.line(line) {
            Ok(taken) => {
                self.overflow.active |= !taken;
                taken
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// The losses `counted` by the source that it has received no report of; see [`Losses::news`].
    pub(super) fn news(&mut self, counted: &[Lost], now: SystemTime, seq: u64) -> Vec<Loss> {
        self.losses.news(counted, now, seq)
    }

    /// The same, of the lines that it had no room for.
    pub(super) fn own_news(&mut self, now: SystemTime, seq: u64) -> Vec<Loss> {
        let Overflow { events, lifecycle, .. } = self.overflow;
        let all = [Lost::at(Stage::OutputFull, events), Lost::at(Stage::OutputFullLifecycle, lifecycle)];
        let counted: Vec<Lost> = all.into_iter().filter(|lost| lost.count > 0).collect();
        self.losses.news(&counted, now, seq)
    }

    /// True if there was no room for a line, and there is room again now.
    pub(super) fn resumes(&mut self) -> bool {
        let resumes = self.overflow.active && self.sink.has_room();
        self.overflow.active &= !resumes;
        resumes
    }

    /// Has losses reported even if there is no room: for the stream's data about itself there always is.
    pub(super) const fn close(&mut self) {
        self.overflow.active = false;
    }

    /// Passes on all lines to the reader; if `settle`, waits a moment to find out if the output works at all.
    pub(super) fn flush(&mut self, settle: bool) {
        if self.failure.is_some() {
            return;
        }
        let flushed = self.sink.flush();
        let result = flushed.and_then(|()| if settle { self.sink.settle() } else { Ok(()) });
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Waits briefly until the reader has all lines, unless there is a `hurry`.
    pub(super) fn finish(&mut self, hurry: &mut dyn FnMut() -> bool) {
        if self.failure.is_none()
            && let Err(error) = self.sink.finish(hurry)
        {
            self.fail(error);
        }
    }

    /// Closes the output because of an error; the first one counts.
    pub(super) fn fail(&mut self, error: io::Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
            // Nobody can get these any more.
            let unwritten = self.sink.unwritten();
            self.losses.unwritten(unwritten);
            self.events -= unwritten;
        }
    }

    /// Its totals; `late` is the number of events that arrived too late for reordering.
    pub(super) fn totals(&self, late: u64) -> Totals {
        Totals { events: self.events, lost: self.losses.totals(), late, unevaluated: self.unevaluated }
    }

    /// The error that closed it, if any.
    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }
}
