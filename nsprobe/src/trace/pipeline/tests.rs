use super::*;
use crate::model::{
    Caller, Cgroup, Event, Line, Mark, Namespace, NsId, NsKind, NsSlot, Operation, Slots, Snapshot, Stage,
};
use crate::trace::conditions::Conditions;
use crate::trace::record::End;
use crate::trace::record::tests::event;
use crate::trace::sink::tests::ScriptedSink;
use crate::trace::source::tests::ScriptedSource;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// An unshare of the net namespace, which is 1 before and 5 after it, in a requested control group.
fn unshare() -> Event {
    let before = Slots::from_fn(|slot| Some(NsId::new(slot.kind(), 4, 1)));
    let mut after = before;
    *after.get_mut(NsSlot::In(NsKind::Net)) = Some(NsId::new(NsKind::Net, 4, 5));
    let cgroup = Cgroup { id: 1, path: b"/".to_vec().into(), cut: false, is_requested: true };
    Event {
        since_boot: SECOND,
        process: Caller { cgroup: Some(cgroup), ..Caller::new(7, 7) },
        before,
        after,
        ..event(7, Operation::Unshare { flags: NsKind::Net.clone_flag() })
    }
}

/// Passes the unshare and the end of its namespace on; returns the lines.
fn passed_on(has_cgroups: bool, cgroups: Vec<u64>) -> Vec<Line> {
    let conditions = Conditions { cgroups, ..Conditions::default() };
    let options = Options { lifecycle: true, conditions, ..Options::default() };
    let snapshot: SnapshotFn = Arc::new(|| Ok(Snapshot::default()));
    let mut source = ScriptedSource::new([]);
    let mut sink = ScriptedSink::default();
    let mut sinks: [&mut dyn Sink; 1] = [&mut sink];
    let mut pipeline = Pipeline::new(&options, &mut source, &snapshot, &mut sinks).unwrap();
    pipeline.enrichment = Enrichment::new(has_cgroups);
    pipeline.pass_on(SourceItem::Event(Box::new(unshare())));
    pipeline.pass_on(SourceItem::Freed(End { ino: 5, mark: Mark::Unknown, since_boot: SECOND * 3 }));
    sink.lines
}

#[test]
fn items_are_tracked_enriched_filtered_numbered_and_written() {
    let lines = passed_on(false, vec![]);
    let [Body::Event(event), Body::Created(created), Body::Destroyed(destroyed)] =
        [0, 1, 2].map(|line: usize| &lines[line].body)
    else {
        panic!("{lines:#?}")
    };
    // Tracked: the tracker knows the new namespace by the time of its creation.
    let made = Mark::Made(SECOND);
    assert_eq!(event.marks.as_ref().map(|marks| *marks.after.of(NsKind::Net)), Some(made));
    assert_eq!((created.namespace.mark, destroyed.namespace.mark), (made, made));
    assert_eq!(destroyed.age, Some(SECOND * 2));
    // Enriched.
    assert_eq!(event.process.cgroup, None);
    // Numbered, with the time of each.
    assert!(lines.iter().map(|line| line.seq).eq(0..3));
    let after = |line: usize| lines[line].time.duration_since(lines[0].time).unwrap();
    assert_eq!((after(1), after(2)), (Duration::ZERO, SECOND * 2));
}

#[test]
fn filter_sees_what_enrichment_made_of_an_event_and_the_tracker_sees_all() {
    let has_event = |lines: &[Line]| lines.iter().any(|line| matches!(line.body, Body::Event(_)));
    let selected = passed_on(true, vec![1]);
    assert!(has_event(&selected) && selected.len() == 3, "{selected:#?}");
    let rejected = passed_on(false, vec![1]);
    assert!(!has_event(&rejected) && rejected.len() == 2, "{rejected:#?}");
}

#[test]
fn lines_of_the_last_survey_that_find_no_room_are_counted() {
    let options = Options { lifecycle: true, ..Options::default() };
    let found = Namespace::new(NsId::new(NsKind::Net, 4, 5));
    let snapshot: SnapshotFn =
        Arc::new(move || Ok(Snapshot { namespaces: vec![found.clone()], ..Snapshot::default() }));
    let mut source = ScriptedSource::new([]);
    let mut sink = ScriptedSink::default();
    sink.room.set(0);
    let mut sinks: [&mut dyn Sink; 1] = [&mut sink];
    let mut pipeline = Pipeline::new(&options, &mut source, &snapshot, &mut sinks).unwrap();
    pipeline.open().unwrap();
    // The survey ends only now.
    pipeline.close().unwrap();
    let outputs = pipeline.finish("over", &mut || true);
    assert_eq!(outputs[0].end.totals.lost, [Lost::at(Stage::OutputFullLifecycle, 1)]);
    assert!(matches!(&sink.lines[..], [Line { body: Body::Lost(_), .. }]), "{:?}", sink.lines);
}
