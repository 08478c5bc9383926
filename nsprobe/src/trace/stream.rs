//! From the items of a source to numbered lines.

mod resync;
mod resync_state;

use super::filter::Filter;
use super::identity;
use super::losses::{Losses, invalidates};
use super::options::Options;
use super::record::SourceItem;
use super::reorder::{ReorderBuffer, WINDOW};
use super::sink::Sink;
use super::source::Source;
use super::tracker::NamespaceTracker;
use super::{SnapshotFn, TraceError};
use crate::kernel::clock::BootClock;
use crate::model::{Body, Event, Line, Lost, Stage, StreamEnd, Totals};
use resync_state::ResyncState;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The number of records read at once, before signals and limits are checked again.
pub(super) const BATCH: usize = 512;

/// Lines that the output had no room for.
#[derive(Default)]
struct Overflow {
    /// True if it has no room now, and that has not been reported.
    active: bool,
    events: u64,
    /// Lines of namespaces created or destroyed.
    lifecycle: u64,
}

impl Overflow {
    fn counted(&self) -> impl Iterator<Item = Lost> + use<> {
        let all = [(Stage::OutputFull, self.events), (Stage::OutputFullLifecycle, self.lifecycle)];
        all.into_iter().filter(|(_, count)| *count > 0).map(|(stage, count)| Lost::at(stage, count))
    }
}

/// The lines on their way to the output.
pub(super) struct Stream<'a> {
    /// Its id.
    id: String,
    sink: &'a mut dyn Sink,
    clock: BootClock,
    filter: Filter,
    order: ReorderBuffer<SourceItem>,
    /// The tracker, if the lifecycle of namespaces is requested.
    tracker: Option<NamespaceTracker>,
    /// The number of events after which it ends.
    limit: u64,
    seq: u64,
    events: u64,
    /// Events for which the filter could not be evaluated.
    unevaluated: u64,
    losses: Losses,
    /// Lines that the output had no room for.
    overflow: Overflow,
    /// The times of the last reported loss, and of the first since the last resync.
    lost: Option<(Instant, Instant)>,
    /// The time of the last resync.
    resynced: Option<Instant>,
    /// The resync under way.
    resync: Option<ResyncState>,
    /// True if the source is not read until the output has room again.
    holding_back: bool,
    /// True if nothing is to be left in the source.
    closing: bool,
    /// True if the source has to know the tasks that it follows.
    follows: bool,
    /// The error that ended the output.
    failure: Option<io::Error>,
}

impl<'a> Stream<'a> {
    /// A stream without a line yet; `snapshot` is for the lifecycle of namespaces.
    pub(super) fn new(
        options: &Options,
        source: &mut dyn Source,
        snapshot: &SnapshotFn,
        nsfs_dev: u64,
        sink: &'a mut dyn Sink,
    ) -> io::Result<Self> {
        let clock = BootClock::read()?;
        // Of one command or process, report only the namespaces that its descendants create or join.
        let whole_machine = options.command.is_empty() && !options.conditions.follow;
        let watches = source.take_watches();
        let tracker = options
            .lifecycle
            .then(|| NamespaceTracker::new(Arc::clone(snapshot), watches, clock, nsfs_dev, whole_machine));
        let tracker = tracker.transpose()?;
        Ok(Self {
            id: identity::stream()?,
            sink,
            clock,
            filter: Filter::new(&options.calls, &options.conditions),
            order: ReorderBuffer::default(),
            tracker,
            limit: options.count.unwrap_or(u64::MAX),
            seq: 0,
            events: 0,
            unevaluated: 0,
            overflow: Overflow::default(),
            losses: Losses::new(clock.now()?),
            lost: None,
            resynced: None,
            resync: None,
            holding_back: false,
            closing: false,
            follows: source.follows(),
            failure: None,
        })
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The destination of its lines.
    pub(super) fn sink(&self) -> &dyn Sink {
        self.sink
    }

    /// Reads up to `most` items from the source, passes on those that are due, and returns the number read.
    pub(super) fn drain(&mut self, source: &mut dyn Source, most: usize) -> io::Result<usize> {
        self.hold_back();
        if self.holding_back {
            return Ok(0);
        }
        let taken = self.take(source, most)?;
        let now = self.clock.since_boot()?;
        while !self.has_enough()
            && !self.hold_back()
            && let Some(item) = self.order.pop(now)
        {
            self.pass_on(item);
        }
        Ok(taken)
    }

    /// Stops reading the source while the output has no room: the source knows whose events to drop, if it has to. The
    /// namespace tracker needs them all.
    fn hold_back(&mut self) -> bool {
        if self.holding_back {
            self.holding_back = !self.closing && self.failure.is_none() && !self.sink.has_room();
        } else if self.tracker.is_none() && !self.closing && self.sink.is_full() {
            // `has_room` also requests a notification.
            self.holding_back = !self.sink.has_room();
        }
        self.holding_back
    }

    /// True if the source is not being read.
    pub(super) const fn holds_back(&self) -> bool {
        self.holding_back
    }

    /// Reads up to `most` items and passes on all of them, without ever keeping more in memory than usual.
    pub(super) fn drain_all(&mut self, source: &mut dyn Source, most: usize) -> io::Result<()> {
        let mut left = most;
        let drained = loop {
            let batch = left.min(BATCH);
            match self.drain(source, batch) {
                Ok(taken) if taken < batch || taken == left || self.has_enough() => break Ok(()),
                Ok(taken) => left -= taken,
                Err(error) => break Err(error),
            }
        };
        while !self.has_enough()
            && let Some(item) = self.order.pop_any()
        {
            self.pass_on(item);
        }
        drained
    }

    fn take(&mut self, source: &mut dyn Source, most: usize) -> io::Result<usize> {
        for taken in 0..most {
            match source.next()? {
                None => return Ok(taken),
                Some(SourceItem::Event(event)) => {
                    self.order.push(event.since_boot, Some(event.process.tid), SourceItem::Event(event));
                }
                Some(SourceItem::Freed(end)) => self.order.push(end.since_boot, None, SourceItem::Freed(end)),
            }
        }
        Ok(most)
    }

    fn pass_on(&mut self, item: SourceItem) {
        match item {
            SourceItem::Event(event) => self.event(event),
            SourceItem::Freed(end) => {
                if let Some(destroyed) = self.tracker.as_mut().and_then(|tracker| tracker.end(&end)) {
                    self.put_lifecycle(self.clock.wall(end.since_boot), destroyed);
                }
            }
        }
    }

    fn event(&mut self, mut event: Box<Event>) {
        // Whatever becomes of the event.
        let lines = self.tracker.as_mut().map(|tracker| tracker.take(&mut event)).unwrap_or_default();
        let time = self.clock.wall(event.since_boot);
        let wanted = if self.filter.admits(&event) { self.sink.wants(&event) } else { Some(false) };
        match wanted {
            Some(true) if self.failure.is_some() => self.losses.unwritten(1),
            Some(true) => {
                self.resume();
                if !self.overflow.active && self.put(time, Body::Event(event)) {
                    self.events += 1;
                } else if self.failure.is_some() {
                    self.losses.unwritten(1);
                } else {
                    self.overflow.events += 1;
                }
            }
            Some(false) => {}
            None => self.unevaluated += 1,
        }
        for line in lines {
            self.put_lifecycle(time, line);
        }
    }

    /// A namespace that was created or destroyed. Its line finds room when those of events no longer do.
    fn put_lifecycle(&mut self, time: SystemTime, line: Body) {
        if !self.put(time, line) && self.failure.is_none() {
            self.overflow.lifecycle += 1;
        }
    }

    /// Reports what the output had no room for, once it has.
    pub(super) fn resume(&mut self) {
        if self.overflow.active && self.sink.has_room() {
            self.overflow.active = false;
            self.report(Vec::new());
        }
    }

    fn has_enough(&self) -> bool {
        self.events >= self.limit
    }

    /// The reason to write nothing more, if there is one.
    pub(super) fn is_over(&self) -> Option<&'static str> {
        if self.failure.is_some() { Some("output closed") } else { self.has_enough().then_some("count") }
    }

    /// True if records are held back for reordering.
    pub(super) fn is_holding(&self) -> bool {
        !self.order.is_empty()
    }

    /// The time when it has something to do, with or without news.
    pub(super) fn due(&self) -> Option<Instant> {
        // All records held back by now are due then.
        let is_due = self.is_holding() && !self.holding_back;
        let order = is_due.then(|| Instant::now() + WINDOW);
        order.into_iter().chain(self.resync_due()).min()
    }

    /// Reports losses since the last time, as `counted` by the source; if the output has no room, at a later time.
    pub(super) fn report_losses(&mut self, mut counted: Vec<Lost>) {
        if !self.overflow.active && !self.holding_back {
            if let Some(tracker) = &self.tracker {
                tracker.count(&mut counted);
            }
            self.report(counted);
        }
    }

    fn report(&mut self, mut counted: Vec<Lost>) {
        counted.extend(self.overflow.counted());
        let now = match self.clock.now() {
            Ok(now) => now,
            Err(error) => return self.fail(error),
        };
        for loss in self.losses.news(counted, now, self.seq.saturating_sub(1)) {
            let invalidates = invalidates(loss.lost.stage);
            self.put(now, Body::Lost(loss));
            if !invalidates {
                continue;
            }
            let first = self.lost.map_or_else(Instant::now, |(_, first)| first);
            self.lost = Some((Instant::now(), first));
        }
    }

    /// Reads and passes on everything until now, and reports losses. Continues after errors; returns the first.
    pub(super) fn close(&mut self, source: &mut dyn Source) -> Result<(), TraceError> {
        self.closing = true;
        self.holding_back = false;
        let finished = source.finish();
        let most = *finished.as_ref().unwrap_or(&0);
        let drained = self.drain_all(source, most);
        // The stream's data about itself finds room even if the reader is stalled.
        self.overflow.active = false;
        let counted = source.losses().map(|counted| self.report_losses(counted));
        let resynced = self.resync_at_end(source, most);
        // The resync may have found no room in the probe's table.
        if self.tracker.is_some()
            && let Ok(counted) = source.losses()
        {
            self.report_losses(counted);
        }
        finished.map(|_| ()).and(drained).and(counted).map_err(TraceError::System).and(resynced)
    }

    /// Writes the last line, and returns its content. Does not wait.
    pub(super) fn end(&mut self, reason: Cow<'static, str>) -> StreamEnd {
        let end = StreamEnd { stream: self.id.clone(), reason, totals: self.totals() };
        self.put_now(Body::End(end.clone()));
        self.flush();
        end
    }

    /// Waits briefly until the reader has it, unless there is a `hurry`. Returns the `end` with the totals of that
    /// time.
    pub(super) fn finish(&mut self, end: StreamEnd, hurry: &mut dyn FnMut() -> bool) -> StreamEnd {
        // The line itself may not have reached the reader, nor the ones before it.
        if self.failure.is_none()
            && let Err(error) = self.sink.finish(hurry)
        {
            self.fail(error);
        }
        StreamEnd { totals: self.totals(), ..end }
    }

    fn totals(&self) -> Totals {
        Totals {
            events: self.events,
            lost: self.losses.totals(),
            late: self.order.late(),
            unevaluated: self.unevaluated,
        }
    }

    /// Writes a line with the current time.
    pub(super) fn put_now(&mut self, body: Body) {
        match self.clock.now() {
            Ok(time) => drop(self.put(time, body)),
            Err(error) => self.fail(error),
        }
    }

    /// Writes a line; returns true if the output takes it.
    fn put(&mut self, time: SystemTime, body: Body) -> bool {
        if self.failure.is_some() {
            return false;
        }
        match self.sink.line(&Line { seq: self.seq, time, body }) {
            Ok(taken) => {
                self.seq += u64::from(taken);
                self.overflow.active |= !taken;
                taken
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Passes on everything to the reader.
    pub(super) fn flush(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.sink.flush()
        {
            self.fail(error);
        }
    }

    /// The same, and waits a moment to find out if the output works at all.
    pub(super) fn settle_output(&mut self) {
        self.flush();
        if self.failure.is_none()
            && let Err(error) = self.sink.settle()
        {
            self.fail(error);
        }
    }

    /// Records that the output has failed. The first error counts.
    pub(super) fn fail(&mut self, error: io::Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
            // Nobody can get these any more.
            let unwritten = self.sink.unwritten();
            self.losses.unwritten(unwritten);
            self.events -= unwritten;
        }
    }

    /// The error that ended the output, if any.
    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }
}
