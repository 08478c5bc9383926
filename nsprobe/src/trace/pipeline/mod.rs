//! A trace as a pipeline. Each item of the source passes through these stages, in this order:
//!
//! | stage | file | |
//! |---|---|---|
//! | source, reorder | `intake.rs`, `reorder.rs` | reads items, and holds them back until they are in order |
//! | track | `tracker.rs`, `table.rs`, `survey.rs` | keeps the table of namespaces, with `--lifecycle` |
//! | enrich | `enrich.rs` | adds to an event what no source knows |
//! | filter | `filter.rs` | drops events that were not requested |
//! | number | `number.rs` | gives each line its time and number |
//! | sinks | `sinks.rs`, `output.rs` | writes it to those that want it, and counts what they lose in `losses.rs` |
//!
//! Beside it, `resync.rs` decides when the tracker and the source have to catch up after a loss; `recovery.rs` does it.

mod enrich;
mod filter;
mod intake;
mod losses;
mod number;
mod output;
mod recovery;
mod reorder;
mod resync;
mod sinks;
mod snapshots;
mod survey;
mod table;
mod tracker;

use super::options::Options;
use super::record::SourceItem;
use super::sink::{OutputEnd, Sink};
use super::source::Source;
use super::{SnapshotFn, TraceError, identity};
use crate::kernel::clock::BootClock;
use crate::model::{Body, Lost};
use enrich::Enrichment;
use filter::Filter;
use intake::{BATCH, Intake};
use number::Numbering;
use resync::Resync;
use sinks::Sinks;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use survey::Surveyor;
use tracker::NamespaceTracker;

/// The stages of a trace.
pub(super) struct Pipeline<'a> {
    intake: Intake<'a>,
    /// The tracker, if the lifecycle of namespaces is requested.
    tracker: Option<NamespaceTracker>,
    enrichment: Enrichment,
    filter: Filter,
    numbering: Numbering,
    sinks: Sinks<'a>,
    resync: Resync,
}

impl<'a> Pipeline<'a> {
    /// The stages for these `options`, without a line yet; `snapshot` is for the lifecycle of namespaces.
    pub(super) fn new(
        options: &Options,
        source: &'a mut dyn Source,
        snapshot: &SnapshotFn,
        sinks: &'a mut [&mut dyn Sink],
    ) -> Result<Self, TraceError> {
        let nsfs_dev = std::fs::metadata("/proc/self/ns/pid").map_err(TraceError::Proc)?.dev();
        let clock = BootClock::read()?;
        // Of one command or process, report only the namespaces that its descendants create or join.
        let whole_machine = options.command.is_empty() && !options.conditions.follow;
        let watches = source.take_watches();
        let surveyor = options.lifecycle.then(|| Surveyor::new(Arc::clone(snapshot), watches, clock));
        let tracker =
            surveyor.transpose()?.map(|surveyor| NamespaceTracker::new(surveyor, nsfs_dev, whole_machine));
        Ok(Self {
            intake: Intake::new(source, clock),
            tracker,
            enrichment: Enrichment::of_this_machine()?,
            filter: Filter::new(&options.calls, &options.conditions),
            numbering: Numbering::new(identity::stream()?, clock),
            sinks: Sinks::new(sinks, options.count.unwrap_or(u64::MAX), clock.now()?),
            resync: Resync::default(),
        })
    }

    /// The id of the stream.
    pub(super) fn stream(&self) -> &str {
        self.numbering.stream()
    }

    /// Reads a batch of items, passes on those that are due, reports losses, and catches up after them.
    pub(super) fn advance(&mut self) -> Result<(), TraceError> {
        self.drain(BATCH)?;
        self.report_losses()?;
        self.catch_up()?;
        self.sinks.resume(&mut self.numbering);
        self.sinks.flush(false);
        Ok(())
    }

    /// Reads up to `most` items from the source, passes on those that are due, and returns the number read.
    fn drain(&mut self, most: usize) -> io::Result<usize> {
        if self.hold_back() {
            return Ok(0);
        }
        let taken = self.intake.read(most)?;
        let now = self.intake.now()?;
        while !self.sinks.have_enough()
            && !self.hold_back()
            && let Some(item) = self.intake.due_item(now)
        {
            self.pass_on(item);
        }
        Ok(taken)
    }

    /// Reads and passes on everything until now, without ever keeping more in memory than usual.
    fn drain_all(&mut self) -> io::Result<()> {
        let mut left = self.intake.backlog();
        let drained = loop {
            let batch = left.min(BATCH);
            match self.drain(batch) {
                Ok(taken) if taken < batch || taken == left || self.sinks.have_enough() => break Ok(()),
                Ok(taken) => left -= taken,
                Err(error) => break Err(error),
            }
        };
        while !self.sinks.have_enough()
            && let Some(item) = self.intake.any_item()
        {
            self.pass_on(item);
        }
        drained
    }

    /// Stops reading the source while no sink has room. The namespace tracker needs all items.
    fn hold_back(&mut self) -> bool {
        let blocked = self.tracker.is_none() && !self.intake.is_closing() && self.sinks.are_blocked();
        self.intake.pause(blocked);
        blocked
    }

    /// Takes an item through the stages that follow the reordering.
    fn pass_on(&mut self, item: SourceItem) {
        match item {
            SourceItem::Event(mut event) => {
                // Whatever becomes of the event.
                let lines = self.tracker.as_mut().map(|tracker| tracker.take(&mut event)).unwrap_or_default();
                self.enrichment.enrich(&mut event);
                let time = self.numbering.time(event.since_boot);
                if self.filter.admits(&event) {
                    self.sinks.resume(&mut self.numbering);
                    self.numbering.write(time, Body::Event(event), |line| self.sinks.event(line));
                }
                self.put_lifecycle(time, lines);
            }
            SourceItem::Freed(end) => {
                let line = self.tracker.as_mut().and_then(|tracker| tracker.end(&end));
                self.put_lifecycle(self.numbering.time(end.since_boot), line);
            }
        }
    }

    /// Writes the lines of namespaces that were created or destroyed.
    fn put_lifecycle(&mut self, time: SystemTime, lines: impl IntoIterator<Item = Body>) {
        for line in lines {
            self.numbering.write(time, line, |line| self.sinks.lifecycle(line));
        }
    }

    /// Writes a line of the stream about itself.
    pub(super) fn put(&mut self, body: Body) {
        match self.numbering.now() {
            Ok(time) => self.numbering.write(time, body, |line| self.sinks.line(line)),
            Err(error) => self.sinks.fail(&error),
        }
    }

    /// Reports losses since the last time; while no sink has room, later.
    fn report_losses(&mut self) -> io::Result<()> {
        let counted = self.count_losses()?;
        if !self.intake.is_paused() {
            self.sinks.report(&mut self.numbering, &counted);
        }
        Ok(())
    }

    /// Counts what was lost before the sinks, and notes what has to be caught up with.
    fn count_losses(&mut self) -> io::Result<Vec<Lost>> {
        let mut counted = self.intake.losses()?;
        if let Some(tracker) = &self.tracker {
            tracker.count(&mut counted);
        }
        self.resync.count(&counted, Instant::now());
        Ok(counted)
    }

    /// The reason to write nothing more, if there is one.
    pub(super) fn is_over(&self) -> Option<&'static str> {
        self.sinks.are_over()
    }

    /// Passes on all lines to the readers, and waits a moment to find out if the outputs work at all.
    pub(super) fn settle_outputs(&mut self) {
        self.sinks.flush(true);
    }

    /// Reads and passes on everything until now, and reports losses. Continues after errors; returns the first.
    pub(super) fn close(&mut self) -> Result<(), TraceError> {
        let finished = self.intake.close();
        let drained = self.drain_all();
        // The stream's data about itself finds room even if the reader is stalled.
        self.sinks.close();
        let counted = self.report_losses();
        let resynced = self.catch_up_at_end();
        // The resync may have found no room in the probe's table, and its lines none in the outputs.
        if self.tracker.is_some() {
            self.sinks.close();
            let _ = self.report_losses();
        }
        finished.and(drained).and(counted).map_err(TraceError::System).and(resynced)
    }

    /// Writes the last lines, then detaches the source, so that the readers have time to take them. Does not wait.
    pub(super) fn end(&mut self, reason: &str) {
        self.sinks.end(&mut self.numbering, reason, self.intake.late());
        self.intake.stop();
    }

    /// Waits briefly until the readers have all lines, unless there is a `hurry`. Returns the end of each output.
    pub(super) fn finish(self, reason: &str, hurry: &mut dyn FnMut() -> bool) -> Vec<OutputEnd> {
        self.sinks.finish(&self.numbering, reason, self.intake.late(), hurry)
    }

    /// The outputs' descriptors, which show by `POLLERR` that the reader is gone.
    pub(super) fn outputs(&self) -> Vec<BorrowedFd<'_>> {
        self.sinks.descriptors()
    }

    /// Closes the outputs whose readers are gone, by their `positions` in [`Pipeline::outputs`].
    pub(super) fn readers_gone(&mut self, positions: &[usize]) {
        self.sinks.readers_gone(positions);
    }

    /// Descriptors that are readable when [`Pipeline::advance`] has something to do.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let snapshots = self.tracker.as_ref().map(|tracker| tracker.snapshots().news());
        self.intake.descriptors().into_iter().chain(snapshots).chain(self.sinks.news()).collect()
    }

    /// The time when it has something to do, whether a descriptor is readable or not.
    pub(super) fn due(&self) -> Option<Instant> {
        self.intake.due().into_iter().chain(self.resync_due()).min()
    }

    /// Clears the outputs' news. Whatever it is: [`Pipeline::advance`] handles it.
    pub(super) fn clear_news(&self) {
        self.sinks.clear_news();
    }
}

#[cfg(test)]
mod tests;
