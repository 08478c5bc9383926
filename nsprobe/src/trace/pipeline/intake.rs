//! The first two stages: takes items from the source, and puts them in order.

use super::reorder::{ReorderBuffer, WINDOW};
use crate::kernel::clock::BootClock;
use crate::model::Lost;
use crate::trace::record::SourceItem;
use crate::trace::source::Source;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The number of items read at once, before signals and limits are checked again.
pub(super) const BATCH: usize = 512;

/// The source, and the items that are held back for reordering.
pub(super) struct Intake<'a> {
    source: &'a mut dyn Source,
    clock: BootClock,
    order: ReorderBuffer<SourceItem>,
    /// The maximum number of items to read for everything until now.
    backlog: usize,
    /// The number of items that the last read returned.
    taken: usize,
    /// True while the source is not read, because no output has room.
    paused: bool,
    /// True if nothing is to be left in the source.
    closing: bool,
}

impl<'a> Intake<'a> {
    pub(super) fn new(source: &'a mut dyn Source, clock: BootClock) -> Self {
        // The current backlog and as much again, for what arrives while it is read.
        let backlog = 2 * source.room().max(BATCH);
        let order = ReorderBuffer::default();
        Self { source, clock, order, backlog, taken: 0, paused: false, closing: false }
    }

    /// The time since boot.
    pub(super) fn now(&self) -> io::Result<Duration> {
        self.clock.since_boot()
    }

    /// Reads up to `most` items, and returns their number.
    pub(super) fn read(&mut self, most: usize) -> io::Result<usize> {
        self.taken = 0;
        while self.taken < most
            && let Some(item) = self.source.next()?
        {
            self.taken += 1;
            let (time, task) = match &item {
                SourceItem::Event(event) => (event.since_boot, Some(event.process.tid)),
                SourceItem::Freed(end) => (end.since_boot, None),
            };
            self.order.push(time, task, item);
        }
        Ok(self.taken)
    }

    /// Removes the next item that has been held back long enough at `now`.
    pub(super) fn due_item(&mut self, now: Duration) -> Option<SourceItem> {
        self.order.pop(now)
    }

    /// Removes the next item, however new.
    pub(super) fn any_item(&mut self) -> Option<SourceItem> {
        self.order.pop_any()
    }

    /// The number of items that arrived too late for reordering.
    pub(super) const fn late(&self) -> u64 {
        self.order.late()
    }

    /// The maximum number of items to read for everything until now.
    pub(super) const fn backlog(&self) -> usize {
        self.backlog
    }

    /// Stops or resumes reading the source: it knows whose events to drop, if it has to.
    pub(super) const fn pause(&mut self, paused: bool) {
        self.paused = paused && !self.closing;
    }

    /// True while the source is not read.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// True if nothing is to be left in the source.
    pub(super) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Makes everything that happened until now available; reading never pauses again.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.closing = true;
        self.paused = false;
        self.backlog = 0;
        self.backlog = self.source.finish()?;
        Ok(())
    }

    /// Detaches the source: nothing more is to be read.
    pub(super) fn stop(&mut self) {
        self.source.stop();
    }

    /// The losses of the source since it began, by stage.
    pub(super) fn losses(&mut self) -> io::Result<Vec<Lost>> {
        self.source.losses()
    }

    /// True if the source has to know the tasks that it follows.
    pub(super) fn follows(&self) -> bool {
        self.source.follows()
    }

    /// Searches for tasks that the source should follow, and returns their number; `None` if it follows none.
    pub(super) fn follow_present(&mut self) -> Option<io::Result<u64>> {
        self.source.follows().then(|| self.source.follow_present())
    }

    /// Descriptors that are readable when there is something to read. While items are held back, new ones are read
    /// together with them: one wake-up for many, as long as the source has room for many more.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let is_awaited = self.order.is_empty() || self.taken * 8 > self.source.room();
        if is_awaited && !self.paused { self.source.descriptors() } else { Vec::new() }
    }

    /// The time when there is something to read or to pass on, whether a descriptor is readable or not.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.paused {
            return None;
        }
        // All items held back by now are due then.
        let held = (!self.order.is_empty()).then(|| Instant::now() + WINDOW);
        held.into_iter().chain(self.source.due()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Operation};
    use crate::trace::record::tests::event;
    use crate::trace::source::tests::ScriptedSource;

    /// A source of events at these times, in milliseconds, which are also their pids.
    fn source<const N: usize>(times: [u32; N]) -> ScriptedSource {
        ScriptedSource::new(times.map(|ms| {
            let event = event(ms, Operation::Unshare { flags: 0 });
            SourceItem::Event(Box::new(Event { since_boot: Duration::from_millis(ms.into()), ..event }))
        }))
    }

    const fn pid(item: &SourceItem) -> u32 {
        match item {
            SourceItem::Event(event) => event.process.pid,
            SourceItem::Freed(_) => 0,
        }
    }

    #[test]
    fn items_are_in_order_and_awaited_only_if_none_is_held_back() {
        let mut source = source([12, 11, 14, 13]);
        let mut intake = Intake::new(&mut source, BootClock::read().unwrap());
        assert_eq!(intake.descriptors().len(), 1);
        assert_eq!(intake.read(3).unwrap(), 3);
        // More than an eighth of the source's room: it may be filling up.
        assert_eq!(intake.descriptors().len(), 1);
        assert_eq!((intake.read(3).unwrap(), intake.read(3).unwrap()), (1, 0));
        assert_eq!(intake.descriptors().len(), 0);
        assert!(intake.due().is_some_and(|due| due > Instant::now()));
        let due: Vec<u32> = std::iter::from_fn(|| intake.due_item(Duration::from_millis(17)))
            .map(|item| pid(&item))
            .collect();
        assert_eq!(due, [11, 12]);
        let rest: Vec<u32> = std::iter::from_fn(|| intake.any_item()).map(|item| pid(&item)).collect();
        assert_eq!(rest, [13, 14]);
        assert!(intake.due().is_none());
    }

    #[test]
    fn source_pauses_until_the_end() {
        let mut source = source([11, 12]);
        let mut intake = Intake::new(&mut source, BootClock::read().unwrap());
        assert_eq!(intake.read(1).unwrap(), 1);
        intake.pause(true);
        assert!(intake.is_paused() && intake.descriptors().is_empty() && intake.due().is_none());
        intake.close().unwrap();
        intake.pause(true);
        assert!(intake.is_closing() && !intake.is_paused());
        assert_eq!(intake.backlog(), 1);
    }
}
