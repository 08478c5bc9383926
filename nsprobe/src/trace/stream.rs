//! From what a source tells to numbered lines.

mod heal;
mod healing;

use super::tracker::NamespaceTracker;
use super::filter::Filter;
use super::identity;
use super::losses::{Losses, heals};
use super::options::Options;
use super::reorder::{ReorderBuffer, WINDOW};
use super::record::SourceItem;
use super::sink::Sink;
use super::source::Source;
use super::{Look, TraceError};
use crate::kernel::clock::BootClock;
use crate::model::{Body, Event, Line, Lost, StreamEnd, Totals};
use healing::Healing;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Records taken at once before signals and limits are looked at again.
pub(super) const BATCH: usize = 512;

/// What the output had no room for.
#[derive(Default)]
struct Choked {
    /// It has none now, and that is not said yet.
    now: bool,
    events: u64,
    /// Lines of namespaces that came and went.
    lives: u64,
}

impl Choked {
    fn counted(&self) -> impl Iterator<Item = Lost> + use<> {
        let all = [("output_full", self.events), ("output_full_lives", self.lives)];
        all.into_iter().filter(|(_, count)| *count > 0).map(|(stage, count)| Lost {
            stage,
            count,
            owners: Vec::new(),
        })
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
    /// The namespaces told of, when their lives are asked for.
    account: Option<NamespaceTracker>,
    /// Events after which it is over.
    limit: u64,
    seq: u64,
    events: u64,
    /// Events of which nobody can say whether they are wanted.
    unevaluated: u64,
    losses: Losses,
    /// What the output had no room for.
    choked: Choked,
    /// When the last loss was told, and the first since the last rebuilding.
    lost: Option<(Instant, Instant)>,
    /// When that was.
    healed: Option<Instant>,
    /// What is being made good.
    healing: Option<Healing>,
    /// The source is left alone until the output has room again.
    holding_back: bool,
    /// Nothing is left to the source any more.
    closing: bool,
    /// Whether the source has tasks to know that it follows.
    follows: bool,
    /// Why there is no output any more.
    failure: Option<io::Error>,
}

impl<'a> Stream<'a> {
    /// A stream without a line yet; `look` is for the lives of namespaces.
    pub(super) fn new(
        options: &Options,
        source: &mut dyn Source,
        look: &Look,
        nsfs_dev: u64,
        sink: &'a mut dyn Sink,
    ) -> io::Result<Self> {
        let clock = BootClock::read()?;
        // Of one command or process only what its descendants come across is told.
        let whole_machine = options.command.is_empty() && !options.conditions.follow;
        let watches = source.take_watches();
        let account =
            options.lives.then(|| NamespaceTracker::new(Arc::clone(look), watches, clock, nsfs_dev, whole_machine));
        let account = account.transpose()?;
        Ok(Self {
            id: identity::stream()?,
            sink,
            clock,
            filter: Filter::new(&options.calls, &options.conditions),
            order: ReorderBuffer::default(),
            account,
            limit: options.count.unwrap_or(u64::MAX),
            seq: 0,
            events: 0,
            unevaluated: 0,
            choked: Choked::default(),
            losses: Losses::new(clock.now()?),
            lost: None,
            healed: None,
            healing: None,
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

    /// Where its lines go.
    pub(super) fn sink(&self) -> &dyn Sink {
        self.sink
    }

    /// Takes up to `most` things from the source, passes on what is due, and gives how many it took.
    pub(super) fn drain(&mut self, source: &mut dyn Source, most: usize) -> io::Result<usize> {
        self.hold_back();
        if self.holding_back {
            return Ok(0);
        }
        let taken = self.take(source, most)?;
        let now = self.clock.since_boot()?;
        while !self.has_enough()
            && !self.hold_back()
            && let Some(told) = self.order.pop(now)
        {
            self.pass_on(told);
        }
        Ok(taken)
    }

    /// Leaves to the source what the output has no room for, until it has: the source knows whose events are to be lost, if
    /// some are. The account of namespaces needs them all.
    fn hold_back(&mut self) -> bool {
        if self.holding_back {
            self.holding_back = !self.closing && self.failure.is_none() && !self.sink.has_room();
        } else if self.account.is_none() && !self.closing && self.sink.is_full() {
            // Asking for room has its coming announced.
            self.holding_back = !self.sink.has_room();
        }
        self.holding_back
    }

    /// Whether the source is left alone now.
    pub(super) const fn holds_back(&self) -> bool {
        self.holding_back
    }

    /// The same, and passes on all. At no time is more kept in memory than when it goes on.
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
            && let Some(told) = self.order.pop_any()
        {
            self.pass_on(told);
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

    fn pass_on(&mut self, told: SourceItem) {
        match told {
            SourceItem::Event(event) => self.event(event),
            SourceItem::Freed(end) => {
                if let Some(destroyed) = self.account.as_mut().and_then(|account| account.end(&end)) {
                    self.put_life(self.clock.wall(end.since_boot), destroyed);
                }
            }
        }
    }

    fn event(&mut self, mut event: Box<Event>) {
        // Whatever becomes of the event.
        let lives = self.account.as_mut().map(|account| account.take(&mut event)).unwrap_or_default();
        let time = self.clock.wall(event.since_boot);
        let wanted = if self.filter.admits(&event) { self.sink.wants(&event) } else { Some(false) };
        match wanted {
            Some(true) if self.failure.is_some() => self.losses.unwritten(1),
            Some(true) => {
                self.resume();
                if !self.choked.now && self.put(time, Body::Event(event)) {
                    self.events += 1;
                } else if self.failure.is_some() {
                    self.losses.unwritten(1);
                } else {
                    self.choked.events += 1;
                }
            }
            Some(false) => {}
            None => self.unevaluated += 1,
        }
        for life in lives {
            self.put_life(time, life);
        }
    }

    /// A namespace that came or went. Its line finds room after those of events no longer do.
    fn put_life(&mut self, time: SystemTime, life: Body) {
        if !self.put(time, life) && self.failure.is_none() {
            self.choked.lives += 1;
        }
    }

    /// Says what the output had no room for, once it has.
    pub(super) fn resume(&mut self) {
        if self.choked.now && self.sink.has_room() {
            self.choked.now = false;
            self.tell(Vec::new());
        }
    }

    fn has_enough(&self) -> bool {
        self.events >= self.limit
    }

    /// Why nothing more is to be written, if so.
    pub(super) fn is_over(&self) -> Option<&'static str> {
        if self.failure.is_some() { Some("output closed") } else { self.has_enough().then_some("count") }
    }

    /// Whether something is kept back to be put in order.
    pub(super) fn is_holding(&self) -> bool {
        !self.order.is_empty()
    }

    /// When it has something to do, whether there is news or not.
    pub(super) fn due(&self) -> Option<Instant> {
        // All that is kept back by now is due then.
        let is_due = self.is_holding() && !self.holding_back;
        let order = is_due.then(|| Instant::now() + WINDOW);
        order.into_iter().chain(self.heal_due()).min()
    }

    /// Says what was lost since the last time, as `counted` by the source; where the output has no room, another time.
    pub(super) fn tell_losses(&mut self, mut counted: Vec<Lost>) {
        if !self.choked.now && !self.holding_back {
            if let Some(account) = &self.account {
                account.count(&mut counted);
            }
            self.tell(counted);
        }
    }

    fn tell(&mut self, mut counted: Vec<Lost>) {
        counted.extend(self.choked.counted());
        let now = match self.clock.now() {
            Ok(now) => now,
            Err(error) => return self.fail(error),
        };
        for loss in self.losses.news(counted, now, self.seq.saturating_sub(1)) {
            let heals = heals(loss.lost.stage);
            self.put(now, Body::Lost(loss));
            if !heals {
                continue;
            }
            let first = self.lost.map_or_else(Instant::now, |(_, first)| first);
            self.lost = Some((Instant::now(), first));
        }
    }

    /// Takes and passes on what there is until now, and tells what was lost. As much of that as can be done; the error is
    /// the first.
    pub(super) fn close(&mut self, source: &mut dyn Source) -> Result<(), TraceError> {
        self.closing = true;
        self.holding_back = false;
        let finished = source.finish();
        let most = *finished.as_ref().unwrap_or(&0);
        let drained = self.drain_all(source, most);
        // What is to be said of that finds room whether the reader reads or not.
        self.choked.now = false;
        let counted = source.losses().map(|counted| self.tell_losses(counted));
        let healed = self.heal_at_end(source, most);
        // Putting it right may have found no room.
        if self.account.is_some()
            && let Ok(counted) = source.losses()
        {
            self.tell_losses(counted);
        }
        finished.map(|_| ()).and(drained).and(counted).map_err(TraceError::System).and(healed)
    }

    /// Hands on the last line to the reader, and gives what it says. Does not wait.
    pub(super) fn end(&mut self, reason: Cow<'static, str>) -> StreamEnd {
        let end = StreamEnd { stream: self.id.clone(), reason, totals: self.totals() };
        self.put_now(Body::End(end.clone()));
        self.flush();
        end
    }

    /// Waits until the reader has it, but not for long, and not when there is a `hurry`. Gives the `end` with the totals
    /// of then.
    pub(super) fn finish(&mut self, end: StreamEnd, hurry: &mut dyn FnMut() -> bool) -> StreamEnd {
        // The line itself may not have reached anybody, nor what was before it.
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

    /// Writes a line of this moment.
    pub(super) fn put_now(&mut self, body: Body) {
        match self.clock.now() {
            Ok(time) => drop(self.put(time, body)),
            Err(error) => self.fail(error),
        }
    }

    /// Whether the output takes it.
    fn put(&mut self, time: SystemTime, body: Body) -> bool {
        if self.failure.is_some() {
            return false;
        }
        match self.sink.line(&Line { seq: self.seq, time, body }) {
            Ok(taken) => {
                self.seq += u64::from(taken);
                self.choked.now |= !taken;
                taken
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Hands on all to the reader.
    pub(super) fn flush(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.sink.flush()
        {
            self.fail(error);
        }
    }

    /// The same, and waits a moment, so that it is known whether the output takes anything at all.
    pub(super) fn settle_output(&mut self) {
        self.flush();
        if self.failure.is_none()
            && let Err(error) = self.sink.settle()
        {
            self.fail(error);
        }
    }

    /// There is no output any more. The first reason counts.
    pub(super) fn fail(&mut self, error: io::Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
            // Nobody can get these any more.
            let unwritten = self.sink.unwritten();
            self.losses.unwritten(unwritten);
            self.events -= unwritten;
        }
    }

    /// Why there is no output any more; `None` when there is.
    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }
}
