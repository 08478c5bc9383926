//! The lines of a trace on their way to stdout or a file, and what the stream says of itself on stderr.

use super::feed::Feed;
use super::{filters, output};
use crate::filter::EventRow;
use crate::kernel::advice::remedy;
use crate::kernel::capabilities::Capability;
use crate::model::{Body, Event, Line, Loss, StreamEnd, StreamStart};
use crate::render::style::{self, Look};
use crate::render::wrap::wrapped;
use crate::render::{event, event_json, losses};
use crate::trace::hooks::Plan;
use crate::trace::session::Sink;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

/// Bytes of lines that wait for the reader: of events, and so many more of namespaces that come and go.
const ROOM: usize = 8 << 20;
const MORE_FOR_LIVES: usize = 4 << 20;

/// For so long the first line waits for somebody to read it.
const FIRST: Duration = Duration::from_millis(200);

pub(super) enum Format {
    Json,
    Human(Look),
}

/// What is said on stderr at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    All,
    /// What cannot be seen of what is requested, and that a way was taken that sees less.
    Warnings,
    /// What cannot be seen of what is requested: the way was chosen.
    Missing,
}

impl Talk {
    pub(super) const fn of(quiet: bool, auto: bool) -> Self {
        match (quiet, auto) {
            (false, _) => Self::All,
            (true, true) => Self::Warnings,
            (true, false) => Self::Missing,
        }
    }
}

/// Lines to the output; what the stream says of itself to stderr too.
pub(super) struct Lines {
    feed: Feed,
    format: Format,
    filter: Option<filters::Counting>,
    talk: Talk,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn new(
        file: File,
        format: Format,
        filter: Option<filters::Counting>,
        talk: Talk,
    ) -> io::Result<Self> {
        Ok(Self { feed: Feed::new(file, ROOM)?, format, filter, talk, line: Vec::new() })
    }
}

impl Sink for Lines {
    fn wants(&mut self, event: &Event) -> Option<bool> {
        let Some(filter) = &mut self.filter else { return Some(true) };
        let before = filter.unevaluated();
        let wanted = filter.admits(&EventRow(event));
        if filter.unevaluated() == before {
            return Some(wanted);
        }
        filter.report_first();
        None
    }

    fn line(&mut self, line: &Line) -> io::Result<bool> {
        if let Body::Start(start) = &line.body {
            let looks_only = start.hooks.plan == Plan::Poll.name();
            let sees_less = sees_less(start);
            let warns = !start.hooks.missing.is_empty() || sees_less && self.talk == Talk::Warnings;
            if self.talk == Talk::All || warns {
                output::complain(&beginning(start));
            }
            if looks_only && self.talk == Talk::All {
                output::complain(&only_looks());
            }
        }
        self.line.clear();
        match self.format {
            Format::Json => event_json::write(line, &mut self.line)?,
            Format::Human(look) => human(line, look, &mut self.line)?,
        }
        let (counts, more) = match line.body {
            Body::Event(_) => (true, 0),
            Body::Created(_) | Body::Destroyed(_) => (false, MORE_FOR_LIVES),
            // Few, and never more than one of a kind between two moments at which there is room.
            Body::Start(_) | Body::Lost(_) | Body::Rebuilt(_) | Body::End(_) => (false, usize::MAX >> 1),
        };
        Ok(self.feed.push(&self.line, counts, more))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.feed.flush()
    }

    fn settle(&mut self) -> io::Result<()> {
        self.feed.wait(FIRST, FIRST, &mut || false).map(drop)
    }

    fn finish(&mut self, hurry: &mut dyn FnMut() -> bool) -> io::Result<()> {
        self.feed.finish(hurry)
    }

    fn has_room(&self) -> bool {
        self.feed.has_room()
    }

    fn unwritten(&self) -> u64 {
        self.feed.unwritten()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.feed.as_fd()
    }

    fn news(&self) -> Option<BorrowedFd<'_>> {
        Some(self.feed.news())
    }

    fn heed(&self) {
        self.feed.heed();
    }
}

fn human(line: &Line, look: Look, out: &mut impl Write) -> io::Result<()> {
    let text = match &line.body {
        Body::Start(_) => event::header(look),
        Body::Event(event) => event::line(event, line.time, look),
        Body::Created(created) => event::created(created, line.time, look),
        Body::Destroyed(destroyed) => event::destroyed(destroyed, line.time, look),
        Body::Rebuilt(rebuilt) => look.paint(style::WARNING, event::rebuilt(rebuilt)),
        Body::Lost(Loss { lost, .. }) => {
            let text = format!("-- events: {}", losses::told(lost));
            look.paint(style::WARNING, text)
        }
        Body::End(_) => return Ok(()),
    };
    writeln!(out, "{}", wrapped(&text, event::CONTINUED, look))
}

/// What is missed where `/proc` is looked at, and what would help.
fn only_looks() -> String {
    let more = match remedy(&[Capability::Bpf, Capability::Perfmon]) {
        Some(remedy) => {
            format!(": every change is seen with CAP_PERFMON, every call with CAP_BPF too: {remedy}")
        }
        None => String::new(),
    };
    format!("warning: this only looks at /proc from time to time, and misses what is shorter{more}")
}

/// Whether the source does not see calls, but only what comes of them.
fn sees_less(start: &StreamStart) -> bool {
    [Plan::Perf.name(), Plan::Poll.name()].contains(&start.hooks.plan)
}

/// One line: how the trace sees calls. Where messages are requested (`-v`) or it does not see calls at all, also why so, what
/// it does not show, and what it costs, which are in the JSON of the stream's start too.
fn beginning(start: &StreamStart) -> String {
    let hooks = &start.hooks;
    let mut text = format!("tracing by {}", hooks.plan);
    let missing = if hooks.missing.is_empty() {
        String::new()
    } else {
        format!("; missing: {}", hooks.missing.join("; "))
    };
    if !log::log_enabled!(log::Level::Info) && !sees_less(start) {
        let more = if hooks.unseen.is_empty() { "" } else { "; not all is shown: -v says what, and why" };
        return format!("{text}{missing}{more}");
    }
    text = format!("{text} ({}){missing}", hooks.reason);
    if !hooks.unseen.is_empty() {
        text = format!("{text}; not shown by this plan: {}", hooks.unseen.join("; "));
    }
    if let Some(cost) = hooks.cost {
        text = format!("{text}; cost: {cost}");
    }
    text
}

pub(super) fn totals(end: &StreamEnd) -> String {
    let events = end.totals.events;
    let reason = if end.reason.starts_with("error: ") { "ended" } else { &end.reason };
    let mut text = format!("{reason}: {events} event{}", if events == 1 { "" } else { "s" });
    for lost in &end.totals.lost {
        text = format!("{text}, {}", losses::told(lost));
    }
    if end.totals.unevaluated > 0 {
        text = format!("{text}, {} on which --filter could not be evaluated", end.totals.unevaluated);
    }
    if end.totals.lost.iter().any(|lost| matches!(lost.stage, "ring_full" | "share" | "perf_ring_full")) {
        text.push_str("; a larger --buffer loses fewer");
    }
    text
}
