use super::*;
use crate::model::{Event, EventSource, Line, Lost, Operation, Rebuilt, Snapshot, Stage};
use crate::trace::record::SourceItem;
use crate::trace::record::tests::event;
use crate::trace::sink::tests::ScriptedSink;
use crate::trace::source::tests::description;
use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The scripted results of a source, in order.
#[derive(Debug)]
enum Answer {
    Event(u32),
    Nothing,
    Error,
}

/// A source with scripted results, which has lost a record.
#[derive(Debug)]
struct Scripted {
    description: EventSource,
    answers: VecDeque<Answer>,
    follows: bool,
    /// The result of `follow_present`; after that there is one more event.
    present: Result<u64, &'static str>,
    lost: u64,
    /// The number of events returned.
    given: Rc<Cell<usize>>,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            description: description(),
            answers: answers.into_iter().collect(),
            follows: false,
            present: Ok(0),
            lost: 0,
            given: Rc::default(),
        }
    }
}

impl Source for Scripted {
    fn description(&self) -> &EventSource {
        &self.description
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn due(&self) -> Option<Instant> {
        (!self.answers.is_empty()).then(Instant::now)
    }

    fn follows(&self) -> bool {
        self.follows
    }

    fn follow_present(&mut self) -> io::Result<u64> {
        self.answers.push_back(Answer::Event(99));
        self.present.map_err(io::Error::other)
    }

    fn next(&mut self) -> io::Result<Option<SourceItem>> {
        match self.answers.pop_front() {
            Some(Answer::Event(pid)) => {
                self.given.set(self.given.get() + 1);
                Ok(Some(SourceItem::Event(Box::new(event(pid, Operation::Unshare { flags: 0 })))))
            }
            Some(Answer::Error) => Err(io::Error::other("it broke")),
            Some(Answer::Nothing) | None => Ok(None),
        }
    }

    fn losses(&mut self) -> io::Result<Vec<Lost>> {
        Ok(vec![Lost::at(Stage::RingFull, self.lost)])
    }

    fn finish(&mut self) -> io::Result<usize> {
        Ok(self.answers.len())
    }
}

/// Runs a trace with this source; returns its result and the lines.
fn traced(options: &Options, source: &mut Scripted, snapshot: &SnapshotFn) -> (Ended, Vec<String>) {
    let mut sink = ScriptedSink::default();
    let ended = trace(options, source, &Signals::block().unwrap(), snapshot, &mut [&mut sink]).unwrap();
    (ended, texts(&sink))
}

/// The lines that a sink has: the pid of an event, and the reason of the end.
fn texts(sink: &ScriptedSink) -> Vec<String> {
    let text = |line: &Line| match &line.body {
        Body::Start(_) => "start".to_owned(),
        Body::Event(event) => event.process.pid.to_string(),
        Body::Lost(loss) => format!("lost {}", loss.lost.count),
        Body::Rebuilt(Rebuilt { namespaces, followed, failed }) => {
            format!("rebuilt {:?} {followed:?} {}", namespaces.is_some(), failed.as_deref().unwrap_or("-"))
        }
        Body::End(end) => format!("end: {}", end.reason),
        other => format!("{other:?}"),
    };
    sink.lines.iter().map(text).collect()
}

fn nothing() -> SnapshotFn {
    Arc::new(|| Ok(Snapshot::default()))
}

#[test]
fn failing_source_ends_the_stream_after_its_events() {
    let answers = [Answer::Event(1), Answer::Nothing, Answer::Event(2), Answer::Error, Answer::Event(3)];
    let (ended, lines) = traced(&Options::default(), &mut Scripted::new(answers), &nothing());
    assert_eq!(lines, ["start", "1", "2", "3", "end: error: it broke"]);
    assert_eq!(ended.outputs[0].end.totals.events, 3);
    assert_eq!(ended.error.unwrap().to_string(), "it broke");
}

#[test]
fn failed_start_still_ends_the_stream() {
    let snapshot: SnapshotFn = Arc::new(|| Err("no /proc".to_owned()));
    let options = Options { lifecycle: true, ..Options::default() };
    let (ended, lines) = traced(&options, &mut Scripted::new([]), &snapshot);
    assert_eq!(lines, ["start", "end: error: no snapshot: no /proc"]);
    assert!(matches!(ended.error, Some(TraceError::Snapshot(_))));
    let options = Options { command: vec!["/no/such/command".into()], ..Options::default() };
    let (ended, lines) = traced(&options, &mut Scripted::new([]), &nothing());
    assert_eq!(lines, ["start", "end: command not started"]);
    assert!(matches!(ended.error, Some(TraceError::Command { .. })));
}

#[test]
fn failed_resync_is_reported_and_the_trace_continues() {
    let options = Options { count: Some(1), ..Options::default() };
    let source = || Scripted { follows: true, lost: 4, ..Scripted::new([]) };
    let mut broken = Scripted { present: Err("no room"), ..source() };
    let (ended, lines) = traced(&options, &mut broken, &nothing());
    assert_eq!(lines, ["start", "lost 4", "rebuilt false None descendants: no room", "99", "end: count"]);
    assert!(ended.error.is_none());
    let (_, lines) = traced(&options, &mut source(), &nothing());
    assert_eq!(lines, ["start", "lost 4", "rebuilt false Some(0) -", "99", "end: count"]);
    // The tracker was opened, but cannot be resynchronized.
    let options = Options { lifecycle: true, ..options };
    let attempt = || {
        let snapshots = AtomicU32::new(0);
        let snapshot: SnapshotFn = Arc::new(move || match snapshots.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Snapshot::default()),
            _ => Err("no /proc".to_owned()),
        });
        let (ended, mut lines) = traced(&options, &mut source(), &snapshot);
        assert!(ended.error.is_none());
        // Retried once at the end.
        lines.dedup();
        lines
    };
    let failed = "rebuilt false Some(0) namespaces: no snapshot: no /proc";
    // The event of the newly followed task is seen while the snapshot is taken.
    let expected = ["start", "lost 4", "99", failed, "end: count"];
    // On a busy machine even a snapshot that fails may take longer than the time at the end.
    let end = Instant::now() + Duration::from_mins(1);
    let mut lines = attempt();
    while lines != expected && Instant::now() < end {
        lines = attempt();
    }
    assert_eq!(lines, expected);
}

/// A snapshot that never returns.
fn never() -> Result<Snapshot, String> {
    loop {
        std::thread::park();
    }
}

#[test]
fn hanging_snapshot_delays_neither_events_nor_end() {
    let duration = Some(Duration::from_millis(300));
    let options = Options { lifecycle: true, duration, ..Options::default() };
    let failed = "namespaces: no snapshot: it took too long";
    // The tracker cannot be opened.
    let mut source = Scripted { lost: 4, ..Scripted::new([1, 2].map(Answer::Event)) };
    let began = Instant::now();
    let (ended, lines) = traced(&options, &mut source, &(Arc::new(never) as SnapshotFn));
    let opening = format!("rebuilt false None {failed}");
    assert_eq!(lines, ["start", "1", "2", "lost 4", &opening, "end: duration"]);
    // The limit at the end is shorter than that of a snapshot.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert!(ended.error.is_none());
    // The tracker was opened, but cannot be resynchronized: events of the newly followed task arrive meanwhile.
    let snapshots = AtomicU32::new(0);
    let snapshot: SnapshotFn = Arc::new(move || match snapshots.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(Snapshot::default()),
        _ => never(),
    });
    let mut source = Scripted { follows: true, lost: 4, ..Scripted::new([]) };
    let (ended, lines) = traced(&options, &mut source, &snapshot);
    let rebuilding = format!("rebuilt false Some(0) {failed}");
    assert_eq!(lines, ["start", "lost 4", "99", &rebuilding, "end: duration"]);
    assert!(ended.error.is_none());
    // Before the tracker is open no command is started, and a signal or the duration ends the trace.
    let options = Options { command: vec!["/no/such/command".into()], ..options };
    let (ended, lines) = traced(&options, &mut Scripted::new([]), &(Arc::new(never) as SnapshotFn));
    assert_eq!(lines, ["start", &opening, "end: duration"]);
    assert!(matches!(ended.command, CommandEnd::None));
}

#[test]
fn backlog_at_the_end_is_not_kept_in_memory() {
    const MANY: usize = 30_000;
    let mut source = Scripted::new((0..MANY).map(|_| Answer::Event(1)));
    let given = Rc::clone(&source.given);
    // The number of events passed on, and the most taken from the source and not yet passed on.
    let (seen, most) = <(Rc<Cell<usize>>, Rc<Cell<usize>>)>::default();
    let (passed_on, in_memory) = (Rc::clone(&seen), Rc::clone(&most));
    let wants = move |_: &Event| {
        passed_on.set(passed_on.get() + 1);
        in_memory.set(in_memory.get().max(given.get() - passed_on.get()));
        Some(true)
    };
    let mut sink = ScriptedSink { wants: Box::new(wants), ..ScriptedSink::default() };
    let options = Options { duration: Some(Duration::ZERO), ..Options::default() };
    let ended =
        trace(&options, &mut source, &Signals::block().unwrap(), &nothing(), &mut [&mut sink]).unwrap();
    assert_eq!((ended.outputs[0].end.totals.events, seen.get()), (MANY as u64, MANY));
    assert!(most.get() <= 5000, "{} were in memory at once", most.get());
}

#[test]
fn sink_that_stalls_or_fails_takes_nothing_from_the_others() {
    let events = || Scripted { lost: 4, ..Scripted::new((1..=6).map(Answer::Event)) };
    let options = Options { duration: Some(Duration::from_millis(200)), ..Options::default() };
    let (_, alone) = traced(&options, &mut events(), &nothing());
    assert_eq!(alone.len(), 9, "{alone:?}");
    let mut sink = ScriptedSink::default();
    let mut stalled = ScriptedSink { room: Rc::new(Cell::new(2)), ..ScriptedSink::default() };
    // The start and two events.
    let mut failed = ScriptedSink { fails_after: 3, ..ScriptedSink::default() };
    let mut sinks: [&mut dyn Sink; 3] = [&mut failed, &mut stalled, &mut sink];
    let signals = Signals::block().unwrap();
    let ended = trace(&options, &mut events(), &signals, &nothing(), &mut sinks).unwrap();
    assert_eq!(texts(&sink), alone);
    let errors: Vec<_> =
        ended.outputs.iter().map(|output| output.error.as_ref().map(ToString::to_string)).collect();
    assert_eq!(errors, [Some("it broke".to_owned()), None, None]);
    let totals = |output: usize| {
        let totals = &ended.outputs[output].end.totals;
        (totals.events, totals.lost.clone())
    };
    let lost = Lost::at;
    assert_eq!(totals(0), (0, vec![lost(Stage::RingFull, 4), lost(Stage::Sink, 6)]));
    assert_eq!(totals(1), (2, vec![lost(Stage::RingFull, 4), lost(Stage::OutputFull, 4)]));
    assert_eq!(totals(2), (6, vec![lost(Stage::RingFull, 4)]));
    // An event has the same number in all.
    let numbers = |sink: &ScriptedSink| {
        let events = sink.lines.iter().filter(|line| matches!(line.body, Body::Event(_)));
        events.map(|line| line.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&stalled), numbers(&sink)[..2]);
    assert_eq!(numbers(&failed), numbers(&sink)[..2]);
    // Every line has one of its own, but for those that all have.
    let lines = [&failed, &stalled, &sink].into_iter().flat_map(|sink| &sink.lines);
    let mut all: Vec<&Line> = lines.collect();
    all.sort_by_key(|line| line.seq);
    all.dedup();
    assert!(all.iter().map(|line| line.seq).eq(0..all.len() as u64), "{all:#?}");
}

#[test]
fn trace_ends_when_no_sink_is_left() {
    let mut source = Scripted::new((1..=6).map(Answer::Event));
    let broken = |fails_after| ScriptedSink { fails_after, ..ScriptedSink::default() };
    let (mut first, mut second) = (broken(2), broken(4));
    let mut sinks: [&mut dyn Sink; 2] = [&mut first, &mut second];
    let signals = Signals::block().unwrap();
    let ended = trace(&Options::default(), &mut source, &signals, &nothing(), &mut sinks).unwrap();
    for output in ended.outputs {
        assert_eq!((output.end.reason.as_ref(), output.end.totals.events), ("output closed", 0));
        assert_eq!(output.end.totals.lost, [Lost::at(Stage::Sink, 6)]);
    }
    assert_eq!((first.lines.len(), second.lines.len()), (2, 4));
}
