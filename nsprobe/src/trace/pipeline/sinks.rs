//! The last stage: hands lines to the sinks. A sink that stalls or fails loses lines, and the others do not.
//!
//! A line has the same number in all sinks. So with several of them, numbers may be missing in one: lines that only
//! others want, or had room for. A loss that the source reports is one line for all; what a sink lost itself, and its
//! totals, are lines of its own.

use super::number::Numbering;
use super::output::Output;
use crate::model::{Body, Line, Loss, Lost, StreamEnd};
use crate::trace::sink::{OutputEnd, Sink};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::SystemTime;

/// The sinks of a stream.
pub(super) struct Sinks<'a> {
    outputs: Vec<Output<'a>>,
    /// The number of events after which the stream ends, in any of them.
    limit: u64,
    /// True if all were full, and none has room yet.
    blocked: bool,
}

impl<'a> Sinks<'a> {
    /// Sinks without a line yet, of a stream that begins at `now`.
    pub(super) fn new(sinks: &'a mut [&mut dyn Sink], limit: u64, now: SystemTime) -> Self {
        let outputs = sinks.iter_mut().map(|sink| Output::new(&mut **sink, now)).collect();
        Self { outputs, limit, blocked: false }
    }

    fn open(&self) -> impl Iterator<Item = &Output<'a>> {
        self.outputs.iter().filter(|output| output.is_open())
    }

    /// Writes the line of an event to those that want the event; returns true if any takes it.
    pub(super) fn event(&mut self, line: &Line) -> bool {
        self.each(|output| output.event(line))
    }

    /// Writes the line of a namespace that was created or destroyed; returns true if any takes it.
    pub(super) fn lifecycle(&mut self, line: &Line) -> bool {
        self.each(|output| output.lifecycle(line))
    }

    /// Writes a line of the stream about itself; returns true if any takes it.
    pub(super) fn line(&mut self, line: &Line) -> bool {
        self.each(|output| output.line(line))
    }

    fn each(&mut self, mut write: impl FnMut(&mut Output<'a>) -> bool) -> bool {
        let mut taken = false;
        for output in &mut self.outputs {
            taken |= write(output);
        }
        taken
    }

    /// Reports new losses to those that keep up: the ones `counted` by the source, and their own.
    pub(super) fn report(&mut self, numbering: &mut Numbering, counted: &[Lost]) {
        let now = match numbering.now() {
            Ok(now) => now,
            Err(error) => return self.fail(&error),
        };
        let seq = numbering.last();
        let news: Vec<Vec<Loss>> = self
            .outputs
            .iter_mut()
            .map(|output| if output.keeps_up() { output.news(counted, now, seq) } else { Vec::new() })
            .collect();
        let mut written: Vec<&Loss> = Vec::new();
        for loss in news.iter().flatten() {
            if !written.contains(&loss) {
                written.push(loss);
                numbering.write(now, Body::Lost(loss.clone()), |line| {
                    let mut news = news.iter();
                    self.each(|output| {
                        news.next().is_some_and(|news| news.contains(loss)) && output.line(line)
                    })
                });
            }
        }
        for output in self.outputs.iter_mut().filter(|output| output.keeps_up()) {
            for loss in output.own_news(now, seq) {
                numbering.write(now, Body::Lost(loss), |line| output.line(line));
            }
        }
    }

    /// Reports to those that had no room what they have lost, once they have room.
    pub(super) fn resume(&mut self, numbering: &mut Numbering) {
        for output in &mut self.outputs {
            if !output.resumes() {
                continue;
            }
            match numbering.now() {
                Err(error) => output.fail(error),
                Ok(now) => {
                    for loss in output.own_news(now, numbering.last()) {
                        numbering.write(now, Body::Lost(loss), |line| output.line(line));
                    }
                }
            }
        }
    }

    /// True if no sink has room: from when all are full until one has room again.
    pub(super) fn are_blocked(&mut self) -> bool {
        let is_open = self.open().next().is_some();
        let is_full = self.blocked || self.open().all(|output| output.sink().is_full());
        // Asking for room also requests a notification.
        self.blocked = is_open && is_full && !self.open().any(|output| output.sink().has_room());
        self.blocked
    }

    /// True if an open one has had room for every line.
    pub(super) fn any_keeps_up(&self) -> bool {
        self.open().any(Output::keeps_up)
    }

    /// True if one has taken as many events as requested.
    pub(super) fn have_enough(&self) -> bool {
        self.outputs.iter().any(|output| output.events() >= self.limit)
    }

    /// The reason to write nothing more, if there is one.
    pub(super) fn are_over(&self) -> Option<&'static str> {
        if self.open().next().is_none() {
            Some("output closed")
        } else {
            self.have_enough().then_some("count")
        }
    }

    /// Has losses reported even to those without room.
    pub(super) fn close(&mut self) {
        self.blocked = false;
        self.outputs.iter_mut().for_each(Output::close);
    }

    /// Passes on all lines to the readers; if `settle`, waits a moment to find out if the outputs work at all.
    pub(super) fn flush(&mut self, settle: bool) {
        self.outputs.iter_mut().for_each(|output| output.flush(settle));
    }

    /// Closes all because of an error.
    pub(super) fn fail(&mut self, error: &io::Error) {
        for output in &mut self.outputs {
            output.fail(io::Error::new(error.kind(), error.to_string()));
        }
    }

    /// The open ones' descriptors, which show by `POLLERR` that the reader is gone.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.open().map(|output| output.sink().descriptor()).collect()
    }

    /// Closes those whose readers are gone, by their `positions` among the descriptors.
    pub(super) fn readers_gone(&mut self, positions: &[usize]) {
        let open = self.outputs.iter_mut().filter(|output| output.is_open());
        for (_, output) in open.enumerate().filter(|(position, _)| positions.contains(position)) {
            output.fail(io::ErrorKind::BrokenPipe.into());
        }
    }

    /// Readable when one has room again, or has failed.
    pub(super) fn news(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open().filter_map(|output| output.sink().news())
    }

    /// Clears the news.
    pub(super) fn clear_news(&self) {
        self.outputs.iter().for_each(|output| output.sink().clear_news());
    }

    /// Writes the last line of each, with its totals. Does not wait.
    pub(super) fn end(&mut self, numbering: &mut Numbering, reason: &str, late: u64) {
        let now = match numbering.now() {
            Ok(now) => now,
            Err(error) => return self.fail(&error),
        };
        for output in &mut self.outputs {
            let end = stream_end(numbering.stream(), reason, output, late);
            numbering.write(now, Body::End(end), |line| output.line(line));
            output.flush(false);
        }
    }

    /// Waits briefly until the readers have all lines, unless there is a `hurry`. Returns the totals of that time: the
    /// last lines themselves may not have reached the readers, nor the ones before them.
    pub(super) fn finish(
        mut self,
        numbering: &Numbering,
        reason: &str,
        late: u64,
        hurry: &mut dyn FnMut() -> bool,
    ) -> Vec<OutputEnd> {
        self.outputs.iter_mut().for_each(|output| output.finish(hurry));
        let ends = self.outputs.into_iter().map(|output| OutputEnd {
            end: stream_end(numbering.stream(), reason, &output, late),
            error: output.into_failure(),
        });
        ends.collect()
    }
}

fn stream_end(stream: &str, reason: &str, output: &Output<'_>, late: u64) -> StreamEnd {
    StreamEnd { stream: stream.to_owned(), reason: reason.to_owned().into(), totals: output.totals(late) }
}

#[cfg(test)]
mod tests;
