use super::*;
use crate::kernel::clock::BootClock;
use crate::model::{Destroyed, Event, Mark, NsId, NsKey, NsKind, Operation, Stage};
use crate::trace::record::tests::event;
use crate::trace::sink::tests::ScriptedSink;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Some sinks, and the numbers of their lines.
struct Stream<'a> {
    sinks: Sinks<'a>,
    numbering: Numbering,
}

impl<'a> Stream<'a> {
    fn new(sinks: &'a mut [&mut dyn Sink], limit: u64) -> Self {
        let numbering = Numbering::new("id".to_owned(), BootClock::read().unwrap());
        Self { sinks: Sinks::new(sinks, limit, numbering.time(Duration::ZERO)), numbering }
    }

    fn event(&mut self, pid: u32) {
        let body = Body::Event(Box::new(event(pid, Operation::Unshare { flags: 0 })));
        self.sinks.resume(&mut self.numbering);
        self.numbering.write(self.numbering.time(Duration::ZERO), body, |line| self.sinks.event(line));
    }

    fn lifecycle(&mut self, ino: u64) {
        let namespace = NsKey { id: NsId::new(NsKind::Net, 4, ino), mark: Mark::Unknown };
        let body = Body::Destroyed(Destroyed { namespace, age: None, seen: true });
        self.numbering.write(self.numbering.time(Duration::ZERO), body, |line| self.sinks.lifecycle(line));
    }

    fn report(&mut self, count: u64) {
        self.sinks.report(&mut self.numbering, &[Lost::at(Stage::RingFull, count)]);
    }

    fn end(mut self) -> Vec<OutputEnd> {
        self.sinks.end(&mut self.numbering, "end", 0);
        self.sinks.finish(&self.numbering, "end", 0, &mut || false)
    }
}

fn room(lines: usize) -> Rc<Cell<usize>> {
    Rc::new(Cell::new(lines))
}

/// The lines of a sink: the number, and the pid of an event, a namespace that ended, or what was lost.
fn lines(sink: &ScriptedSink) -> Vec<String> {
    let text = |line: &Line| match &line.body {
        Body::Event(event) => format!("{}: {}", line.seq, event.process.pid),
        Body::Destroyed(destroyed) => format!("{}: {}", line.seq, destroyed.namespace),
        Body::Lost(loss) => format!("{}: {} {}", line.seq, loss.lost.stage, loss.lost.count),
        Body::End(_) => format!("{}: end", line.seq),
        other => format!("{other:?}"),
    };
    sink.lines.iter().map(text).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "a filter may also be undecided")]
const fn is_odd(event: &Event) -> Option<bool> {
    Some(event.process.pid % 2 == 1)
}

#[test]
fn line_has_one_number_in_all_sinks() {
    let mut all = ScriptedSink::default();
    let mut odd = ScriptedSink { wants: Box::new(is_odd), ..ScriptedSink::default() };
    let mut unknown = ScriptedSink { wants: Box::new(|_| None), ..ScriptedSink::default() };
    let mut sinks: [&mut dyn Sink; 3] = [&mut odd, &mut all, &mut unknown];
    let mut stream = Stream::new(&mut sinks, u64::MAX);
    stream.event(1);
    stream.event(2);
    stream.report(5);
    stream.event(3);
    let ends = stream.end();
    assert_eq!(lines(&all), ["0: 1", "1: 2", "2: ring_full 5", "3: 3", "5: end"]);
    assert_eq!(lines(&odd), ["0: 1", "2: ring_full 5", "3: 3", "4: end"]);
    assert_eq!(lines(&unknown), ["2: ring_full 5", "6: end"]);
    let totals = ends.iter().map(|output| (output.end.totals.events, output.end.totals.unevaluated));
    assert!(totals.eq([(2, 0), (3, 0), (0, 3)]));
}

#[test]
fn number_is_used_up_only_by_lines_that_a_sink_takes() {
    let mut odd = ScriptedSink { wants: Box::new(is_odd), ..ScriptedSink::default() };
    let mut sinks: [&mut dyn Sink; 1] = [&mut odd];
    let mut stream = Stream::new(&mut sinks, 3);
    (0..6).for_each(|pid| stream.event(pid));
    assert_eq!(stream.sinks.are_over(), Some("count"));
    assert_eq!(lines(&odd), ["0: 1", "1: 3", "2: 5"]);
}

#[test]
fn stalled_sink_reports_its_own_losses_once_it_has_room() {
    let mut sink = ScriptedSink::default();
    let mut stalled = ScriptedSink { room: room(1), ..ScriptedSink::default() };
    {
        let mut sinks: [&mut dyn Sink; 2] = [&mut stalled, &mut sink];
        let mut stream = Stream::new(&mut sinks, u64::MAX);
        (1..=3).for_each(|pid| stream.event(pid));
        stream.report(5);
        assert!(!stream.sinks.are_blocked() && stream.sinks.any_keeps_up());
        stream.sinks.close();
        stream.report(6);
        let ends = stream.end();
        let lost: Vec<Lost> = ends.into_iter().flat_map(|output| output.end.totals.lost).collect();
        let source = Lost::at(Stage::RingFull, 6);
        assert_eq!(lost, [source.clone(), Lost::at(Stage::OutputFull, 2), source]);
    }
    // The stalled one has no report of the first five, so the line that the other one gets is not its line.
    assert_eq!(lines(&sink), ["0: 1", "1: 2", "2: 3", "3: ring_full 5", "5: ring_full 1", "8: end"]);
    assert_eq!(lines(&stalled), ["0: 1", "4: ring_full 6", "6: output_full 2", "7: end"]);
}

#[test]
fn source_is_held_back_only_while_no_sink_has_room() {
    let full = || ScriptedSink { room: room(0), ..ScriptedSink::default() };
    let blocked = |sinks: &mut [&mut dyn Sink]| Stream::new(sinks, u64::MAX).sinks.are_blocked();
    assert!(blocked(&mut [&mut full(), &mut full()]));
    assert!(!blocked(&mut [&mut full(), &mut ScriptedSink::default()]));
    // One that is not full yet is not held back for the other, even if it would not go on now.
    let (mut stalled, mut filling) =
        (full(), ScriptedSink { room: room(2), held: 1, ..ScriptedSink::default() });
    assert!(!blocked(&mut [&mut stalled, &mut filling]));
    filling.held = 2;
    let space = Rc::clone(&filling.room);
    let mut sinks: [&mut dyn Sink; 2] = [&mut stalled, &mut filling];
    let mut stream = Stream::new(&mut sinks, u64::MAX);
    assert!(stream.sinks.are_blocked());
    space.set(4);
    assert!(stream.sinks.are_blocked());
    space.set(5);
    assert!(!stream.sinks.are_blocked());
    // Those that have failed do not count.
    let (mut failed, mut other) = (ScriptedSink::default(), full());
    let mut sinks: [&mut dyn Sink; 2] = [&mut failed, &mut other];
    let mut stream = Stream::new(&mut sinks, u64::MAX);
    assert!(!stream.sinks.are_blocked() && stream.sinks.any_keeps_up());
    stream.sinks.readers_gone(&[0]);
    assert!(stream.sinks.are_blocked());
    assert_eq!((stream.sinks.descriptors().len(), stream.sinks.are_over()), (1, None));
    stream.sinks.readers_gone(&[0]);
    assert!(!stream.sinks.are_blocked());
    assert_eq!(stream.sinks.are_over(), Some("output closed"));
}

#[test]
fn lines_of_namespaces_are_counted_apart() {
    let mut sink = ScriptedSink::default();
    let mut stalled = ScriptedSink { room: room(1), ..ScriptedSink::default() };
    let mut failed = ScriptedSink { fails_after: 0, ..ScriptedSink::default() };
    let mut sinks: [&mut dyn Sink; 3] = [&mut failed, &mut stalled, &mut sink];
    let mut stream = Stream::new(&mut sinks, u64::MAX);
    (5..=7).for_each(|ino| stream.lifecycle(ino));
    stream.event(1);
    let ends = stream.end();
    assert_eq!(lines(&sink), ["0: net:5", "1: net:6", "2: net:7", "3: 1", "5: end"]);
    assert_eq!(lines(&stalled), ["0: net:5", "4: end"]);
    assert!(lines(&failed).is_empty() && ends[0].error.is_some());
    // Only events count as lost by one that has failed.
    assert_eq!(ends[0].end.totals.lost, [Lost::at(Stage::Sink, 1)]);
}

#[test]
fn sink_that_has_room_again_gets_its_losses_before_the_next_line() {
    let room = room(1);
    let mut sink = ScriptedSink::default();
    let mut slow = ScriptedSink { room: Rc::clone(&room), ..ScriptedSink::default() };
    let mut sinks: [&mut dyn Sink; 2] = [&mut slow, &mut sink];
    let mut stream = Stream::new(&mut sinks, u64::MAX);
    (1..=3).for_each(|pid| stream.event(pid));
    stream.lifecycle(5);
    room.set(9);
    stream.event(4);
    assert_eq!(lines(&slow), ["0: 1", "4: output_full 2", "5: output_full_lifecycle 1", "6: 4"]);
    assert_eq!(lines(&sink), ["0: 1", "1: 2", "2: 3", "3: net:5", "6: 4"]);
}
