use super::*;
use crate::model::{
    Caller, Event, EventSource, Line, Lost, Operation, Outcome, Rebuilt, Slots, Snapshot, Stage,
};
use crate::trace::record::SourceItem;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
        let description = EventSource {
            name: "none",
            reason: String::new(),
            attached: vec![],
            missing: vec![],
            unseen: vec![],
            cost: None,
        };
        Self {
            description,
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
                Ok(Some(SourceItem::Event(Box::new(event(pid)))))
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

/// The lines of a stream.
struct Lines(Vec<Body>, File);

impl Sink for Lines {
    fn wants(&mut self, _: &Event) -> Option<bool> {
        Some(true)
    }

    fn line(&mut self, line: &Line) -> io::Result<bool> {
        self.0.push(line.body.clone());
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn FnMut() -> bool) -> io::Result<()> {
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn unwritten(&self) -> u64 {
        0
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }
}

fn event(pid: u32) -> Event {
    Event {
        since_boot: Duration::ZERO,
        duration: None,
        process: Caller::new(pid, pid),
        operation: Operation::Unshare { flags: 0 },
        compat: None,
        outcome: Outcome::Success(0),
        before: Slots::default(),
        after: Slots::default(),
        marks: None,
        seen: None,
        denied: false,
        root: None,
        cwd: None,
    }
}

/// Runs a trace with this source; returns its result and the lines: the pid of an event, and the reason of the end.
fn traced(options: &Options, source: &mut Scripted, snapshot: &SnapshotFn) -> (Ended, Vec<String>) {
    let mut lines = Lines(Vec::new(), File::open("/dev/null").unwrap());
    let ended = trace(options, source, &Signals::block().unwrap(), snapshot, &mut lines).unwrap();
    let texts = lines.0.iter().map(|body| match body {
        Body::Start(_) => "start".to_owned(),
        Body::Event(event) => event.process.pid.to_string(),
        Body::Lost(loss) => format!("lost {}", loss.lost.count),
        Body::Rebuilt(Rebuilt { namespaces, followed, failed }) => {
            format!("rebuilt {:?} {followed:?} {}", namespaces.is_some(), failed.as_deref().unwrap_or("-"))
        }
        Body::End(end) => format!("end: {}", end.reason),
        other => format!("{other:?}"),
    });
    let texts = texts.collect();
    (ended, texts)
}

fn nothing() -> SnapshotFn {
    Arc::new(|| Ok(Snapshot::default()))
}

#[test]
fn failing_source_ends_the_stream_after_its_events() {
    let answers = [Answer::Event(1), Answer::Nothing, Answer::Event(2), Answer::Error, Answer::Event(3)];
    let (ended, lines) = traced(&Options::default(), &mut Scripted::new(answers), &nothing());
    assert_eq!(lines, ["start", "1", "2", "3", "end: error: it broke"]);
    assert_eq!(ended.end.totals.events, 3);
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

/// A sink that records how many events were taken from the source but not passed on.
struct Watchful {
    given: Rc<Cell<usize>>,
    seen: usize,
    most: usize,
    output: File,
}

impl Sink for Watchful {
    fn wants(&mut self, _: &Event) -> Option<bool> {
        self.seen += 1;
        self.most = self.most.max(self.given.get() - self.seen);
        Some(true)
    }

    fn line(&mut self, _: &Line) -> io::Result<bool> {
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn FnMut() -> bool) -> io::Result<()> {
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn unwritten(&self) -> u64 {
        0
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

#[test]
fn backlog_at_the_end_is_not_kept_in_memory() {
    const MANY: usize = 30_000;
    let mut source = Scripted::new((0..MANY).map(|_| Answer::Event(1)));
    let given = Rc::clone(&source.given);
    let mut sink = Watchful { given, seen: 0, most: 0, output: File::open("/dev/null").unwrap() };
    let options = Options { duration: Some(Duration::ZERO), ..Options::default() };
    let ended = trace(&options, &mut source, &Signals::block().unwrap(), &nothing(), &mut sink).unwrap();
    assert_eq!((ended.end.totals.events, sink.seen), (MANY as u64, MANY));
    assert!(sink.most <= 5000, "{} were in memory at once", sink.most);
}
