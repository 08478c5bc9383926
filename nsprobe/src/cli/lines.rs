//! The lines of a trace to stdout or a file, and the messages about the stream on stderr.

use super::feed::Feed;
use super::{filters, output};
use crate::filter::EventRow;
use crate::kernel::advice::remedy_to_trace;
use crate::kernel::destination::Destination;
use crate::model::{Body, Event, Line, Loss, Stage, StreamEnd, StreamStart};
use crate::render::style::{self, TextStyle};
use crate::render::wrap::wrapped;
use crate::render::{event, event_json, losses};
use crate::trace::hooks::Plan;
use crate::trace::sink::Sink;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

/// Bytes of lines that wait for the reader: of events, and in addition of created and destroyed namespaces.
const ROOM: usize = 8 << 20;
const MORE_FOR_LIFECYCLE: usize = 4 << 20;

/// The maximum length of an event's line: its texts are 2 KiB, of which each byte takes up to six.
const MAX_LINE: usize = 64 << 10;

/// The time that the first line waits for a reader.
const FIRST_LINE_WAIT: Duration = Duration::from_millis(200);

pub(super) enum Format {
    Json(Box<event_json::Writer>),
    Human(TextStyle),
}

/// Lines to the output; messages about the stream also go to stderr.
pub(super) struct Lines {
    feed: Feed,
    format: Format,
    filter: Option<filters::Counting>,
    /// Set if the start is reported only when something cannot be seen.
    quiet: bool,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn new(
        destination: Destination,
        format: Format,
        filter: Option<filters::Counting>,
        quiet: bool,
    ) -> io::Result<Self> {
        Ok(Self { feed: Feed::new(destination, ROOM)?, format, filter, quiet, line: Vec::new() })
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
        if let Body::Start(start) = &line.body
            && (!self.quiet || blind(start).is_some() || !start.source.missing.is_empty())
        {
            output::complain(&beginning(start));
        }
        self.line.clear();
        match &mut self.format {
            Format::Json(writer) => writer.write(line, &mut self.line)?,
            Format::Human(text_style) => human(line, *text_style, &mut self.line)?,
        }
        let (counts, more) = match line.body {
            Body::Event(_) => (true, 0),
            Body::Created(_) | Body::Destroyed(_) => (false, MORE_FOR_LIFECYCLE),
            // Few, and never more than one of each between two moments at which there is room.
            Body::Start(_) | Body::Lost(_) | Body::Rebuilt(_) | Body::End(_) => (false, usize::MAX >> 1),
        };
        Ok(self.feed.push(&self.line, counts, more))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.feed.flush()
    }

    fn settle(&mut self) -> io::Result<()> {
        self.feed.wait(FIRST_LINE_WAIT, FIRST_LINE_WAIT, &mut || false).map(drop)
    }

    fn finish(&mut self, hurry: &mut dyn FnMut() -> bool) -> io::Result<()> {
        self.feed.finish(hurry)
    }

    fn has_room(&self) -> bool {
        self.feed.has_room()
    }

    fn is_full(&self) -> bool {
        self.feed.held() + MAX_LINE > ROOM
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

    fn clear_news(&self) {
        self.feed.clear_news();
    }
}

fn human(line: &Line, text_style: TextStyle, out: &mut impl Write) -> io::Result<()> {
    let text = match &line.body {
        Body::Start(_) => event::header(text_style),
        Body::Event(event) => event::line(event, line.time, text_style),
        Body::Created(created) => event::created(created, line.time, text_style),
        Body::Destroyed(destroyed) => event::destroyed(destroyed, line.time, text_style),
        Body::Rebuilt(rebuilt) => text_style.paint(style::WARNING, event::rebuilt(rebuilt)),
        Body::Lost(Loss { lost, .. }) => {
            let text = format!("-- events: {}", losses::described(lost));
            text_style.paint(style::WARNING, text)
        }
        Body::End(_) => return Ok(()),
    };
    writeln!(out, "{}", wrapped(&text, event::CONTINUED, text_style))
}

/// Says what the sources without BPF cannot see of calls, failures and roots, because they see only results.
fn blind(start: &StreamStart) -> Option<&'static str> {
    let source = start.source.name;
    if source == Plan::Perf.name() {
        return Some("calls that fail, chroot and pivot_root, roots and arguments are not seen");
    }
    let scans = source == Plan::Proc.name();
    scans.then_some(
        "/proc is scanned every --interval: single calls, those that fail, arguments, and changes undone before the next scan are not seen",
    )
}

/// One line: the source of the trace, and what it cannot see. With `-v` also the reason for it, what else it does
/// not show, and its cost, which are in the JSON of the stream's start too.
fn beginning(start: &StreamStart) -> String {
    let source = &start.source;
    let all = log::log_enabled!(log::Level::Info);
    let mut parts = vec![format!("tracing by {}", source.name)];
    if all {
        parts[0] = format!("{} ({})", parts[0], source.reason);
    }
    if let Some(blind) = blind(start) {
        parts.push(blind.to_owned());
        // A user who requested this source has no use for another.
        if source.reason.contains("no BPF: ") {
            parts.extend(remedy_to_trace().map(|remedy| format!("to see more: {remedy}")));
        }
    }
    if !source.missing.is_empty() {
        parts.push(format!("missing: {}", source.missing.join("; ")));
    }
    if !all {
        if !source.unseen.is_empty() {
            parts.push("-v lists what this source does not show".to_owned());
        }
        return parts.join("; ");
    }
    if !source.unseen.is_empty() {
        parts.push(format!("not shown by this source: {}", source.unseen.join("; ")));
    }
    if let Some(cost) = source.cost {
        parts.push(format!("cost: {cost}"));
    }
    parts.join("; ")
}

pub(super) fn totals(end: &StreamEnd) -> String {
    let events = end.totals.events;
    let reason = if end.reason.starts_with("error: ") { "ended" } else { &end.reason };
    let mut text = format!("{reason}: {}", output::counted(events, "event", "events"));
    for lost in &end.totals.lost {
        text = format!("{text}, {}", losses::described(lost));
    }
    if end.totals.unevaluated > 0 {
        text = format!("{text}, {} on which --filter could not be evaluated", end.totals.unevaluated);
    }
    if end
        .totals
        .lost
        .iter()
        .any(|lost| matches!(lost.stage, Stage::RingFull | Stage::Share | Stage::PerfRingFull))
    {
        text.push_str("; a larger --buffer loses fewer");
    }
    text
}
