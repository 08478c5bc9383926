use super::*;
use crate::kernel::clock::BootClock;
use crate::model::NsKind;
use std::sync::{Arc, Mutex};

/// A namespace with this inode and kernel id.
fn namespace(ino: u64, kernel_id: u64) -> Namespace {
    Namespace { kernel_id: Some(kernel_id), ..Namespace::new(NsId::new(NsKind::Net, 4, ino)) }
}

/// A tracker whose snapshots show these namespaces, one after another; without a probe's table.
fn tracker(snapshots: Vec<Vec<Namespace>>, report_all: bool) -> NamespaceTracker {
    let snapshots = Mutex::new(snapshots.into_iter());
    let next = move || {
        let namespaces = snapshots.lock().unwrap().next().ok_or("no more")?;
        Ok(Snapshot { namespaces, ..Snapshot::default() })
    };
    let surveyor = Surveyor::new(Arc::new(next), None, BootClock::read().unwrap()).unwrap();
    NamespaceTracker::new(surveyor, 4, report_all)
}

/// Makes a survey, and brings the tracker up to date; returns the number of namespaces found, and the lines.
fn resynced(tracker: &mut NamespaceTracker) -> (u64, Vec<String>) {
    tracker.begin().unwrap();
    tracker.snapshots().wait();
    let survey = tracker.go_on().unwrap().unwrap();
    let mut news = Vec::new();
    let changes = tracker.resync(&survey, true, &mut news).unwrap();
    let line = |body: &Body| match body {
        Body::Created(created) => format!("{} {}", created.namespace, created.by.name()),
        Body::Destroyed(destroyed) => format!("{} ended {}", destroyed.namespace, destroyed.seen),
        other => panic!("{other:?}"),
    };
    (changes.found, news.iter().map(line).collect())
}

#[test]
fn snapshots_show_namespaces_that_were_not_reported() {
    // Meanwhile one inode was reused, and one namespace was created.
    let before = vec![namespace(1, 11), namespace(2, 12)];
    let after = vec![namespace(1, 11), namespace(2, 22), namespace(3, 13)];
    let mut all = tracker(vec![before.clone(), after.clone(), after.clone()], true);
    assert_eq!(resynced(&mut all), (2, vec!["net#11 first seen".to_owned(), "net#12 first seen".to_owned()]));
    let changed = ["net#12 ended false", "net#22 first seen", "net#13 first seen"];
    assert_eq!(resynced(&mut all), (2, changed.map(str::to_owned).to_vec()));
    assert_eq!(resynced(&mut all), (0, vec![]));
    // Of a command, only those that its descendants join are reported.
    let mut of_command = tracker(vec![before, after], false);
    assert_eq!(resynced(&mut of_command), (0, vec![]));
    assert_eq!(resynced(&mut of_command), (0, vec![]));
}

#[test]
fn unwatched_namespaces_count_at_the_probes_stage() {
    let empty = tracker(vec![], true);
    let tracker = NamespaceTracker { surveyor: empty.surveyor.with_unwatched(2), ..empty };
    let lost = Lost::at;
    let counted = |mut counted| {
        tracker.count(&mut counted);
        counted
    };
    let both = counted(vec![lost(Stage::RingFull, 1), lost(Stage::NamespacesFull, 3)]);
    assert_eq!(both, [lost(Stage::RingFull, 1), lost(Stage::NamespacesFull, 5)]);
    assert_eq!(counted(vec![]), [lost(Stage::NamespacesFull, 2)]);
}
