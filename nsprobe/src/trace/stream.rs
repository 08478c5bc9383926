//! From what a source tells to numbered lines.

use super::filter::Filter;
use super::lives::Lives;
use super::losses::Losses;
use super::session::{Options, Sink};
use super::source::{Source, Told};
use crate::kernel::clock::BootClock;
use crate::model::{Body, Event, Line, Lost, StreamEnd, Totals};
use std::io;
use std::time::SystemTime;

/// The lines on their way to the output.
pub(super) struct Stream<'a> {
    sink: &'a mut dyn Sink,
    clock: BootClock,
    filter: Filter,
    /// The namespaces told of, when their lives are asked for.
    lives: Option<Lives>,
    /// Events after which it is over.
    limit: u64,
    seq: u64,
    events: u64,
    losses: Losses,
    /// Why there is no output any more.
    failure: Option<io::Error>,
}

impl<'a> Stream<'a> {
    /// A stream without a line yet.
    pub(super) fn new(options: &Options, sink: &'a mut dyn Sink) -> io::Result<Self> {
        Ok(Self {
            sink,
            clock: BootClock::read()?,
            filter: Filter::new(&options.calls),
            lives: options.lives.then(Lives::default),
            limit: options.count.unwrap_or(u64::MAX),
            seq: 0,
            events: 0,
            losses: Losses::default(),
            failure: None,
        })
    }

    /// Where its lines go.
    pub(super) fn sink(&self) -> &dyn Sink {
        self.sink
    }

    /// Takes up to `most` things from the source, unless the stream is over before.
    pub(super) fn drain(&mut self, source: &mut dyn Source, most: usize) -> io::Result<()> {
        for _ in 0..most {
            if self.is_over().is_some() {
                break;
            }
            match source.next()? {
                None => break,
                Some(Told::Event(event)) => self.event(*event),
                Some(Told::Freed(ino, since_boot)) => {
                    if let Some(destroyed) = self.lives.as_mut().and_then(|lives| lives.end(ino, since_boot))
                    {
                        self.put(self.clock.wall(since_boot), Body::Destroyed(destroyed));
                    }
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        if !self.filter.admits(&event) {
            return;
        }
        match self.sink.wants(&event) {
            Ok(true) => {
                let time = self.clock.wall(event.since_boot);
                let created = self.lives.as_mut().map(|lives| lives.take(&event)).unwrap_or_default();
                self.put(time, Body::Event(Box::new(event)));
                self.events += u64::from(self.failure.is_none());
                for created in created {
                    self.put(time, Body::Created(created));
                }
            }
            Ok(false) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Why nothing more is to be written, if so.
    pub(super) fn is_over(&self) -> Option<&'static str> {
        if self.failure.is_some() {
            Some("output closed")
        } else {
            (self.events >= self.limit).then_some("count")
        }
    }

    /// Says what was lost since the last time, as `counted` by the source.
    pub(super) fn tell_losses(&mut self, counted: Vec<Lost>) {
        for lost in self.losses.news(counted) {
            self.put_now(Body::Lost(lost));
        }
    }

    /// Writes the last line.
    pub(super) fn end(&mut self, reason: &'static str) -> StreamEnd {
        let totals = Totals { events: self.events, lost: self.losses.totals() };
        let end = StreamEnd { reason, totals };
        self.put_now(Body::End(end.clone()));
        end
    }

    /// Writes a line of this moment.
    pub(super) fn put_now(&mut self, body: Body) {
        match self.clock.now() {
            Ok(time) => self.put(time, body),
            Err(error) => self.fail(error),
        }
    }

    fn put(&mut self, time: SystemTime, body: Body) {
        if self.failure.is_none() {
            let line = Line { seq: self.seq, time, body };
            self.seq += 1;
            if let Err(error) = self.sink.line(&line) {
                self.fail(error);
            }
        }
    }

    /// Brings all to the reader.
    pub(super) fn flush(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.sink.flush()
        {
            self.fail(error);
        }
    }

    /// There is no output any more. The first reason counts.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    /// Why there is no output any more; `None` when there is.
    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }
}
