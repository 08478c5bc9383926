use super::*;
use crate::model::{Caller, Slots};

const NET: NsSlot = NsSlot::In(NsKind::Net);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An unshare of the net namespace, `at` seconds after boot, with the new namespace `ino`; with ids if there is one.
fn unshare(at: u64, ino: u64, kernel_id: Option<u64>) -> Event {
    let before = Slots::from_fn(|slot| Some(NsId::new(slot.kind(), 4, 1)));
    let mut after = before;
    *after.get_mut(NET) = Some(NsId::new(NsKind::Net, 4, ino));
    let marks = kernel_id.map(|id| {
        let before = Slots::from_fn(|_| Mark::Id(1));
        let mut after = before;
        *after.get_mut(NET) = Mark::Id(id);
        Box::new(SlotMarks { before, after })
    });
    Event {
        since_boot: seconds(at),
        duration: None,
        process: Caller::new(7, 7),
        operation: Operation::Unshare { flags: NsKind::Net.clone_flag() },
        compat: Some(false),
        outcome: Outcome::Success(0),
        before,
        after,
        marks,
        seen: None,
        denied: false,
        root: None,
        cwd: None,
    }
}

fn setns(at: u64, ino: u64, kernel_id: Option<u64>) -> Event {
    Event { operation: Operation::Setns { fd: 3, nstype: 0, target: None }, ..unshare(at, ino, kernel_id) }
}

/// Renders lines by key.
fn lines(news: Vec<Body>) -> Vec<String> {
    let line = |body| match body {
        Body::Created(Created { namespace, owner, by }) => {
            let owner = owner.map_or_else(|| "-".to_owned(), |owner| owner.to_string());
            format!("{namespace} {} {owner}", by.name())
        }
        Body::Destroyed(Destroyed { namespace, age, seen }) => format!("{namespace} ended {age:?} {seen}"),
        other => panic!("{other:?}"),
    };
    news.into_iter().map(line).collect()
}

fn ended(table: &mut NamespaceTable, ino: u64, kernel_id: u64, at: u64) -> Vec<String> {
    let end = End { ino, mark: Mark::of_id(kernel_id), since_boot: seconds(at) };
    lines(table.end(&end).into_iter().collect())
}

#[test]
fn reused_inode_is_a_new_namespace_without_ids() {
    let mut table = NamespaceTable::default();
    let mut first = unshare(10, 50, None);
    assert_eq!(lines(table.take(&mut first)), ["net:50@10.000000000 unshare user:1"]);
    let marks = first.marks.unwrap();
    assert_eq!((*marks.before.get(NET), *marks.after.get(NET)), (Mark::Unknown, Mark::Made(seconds(10))));
    assert_eq!(ended(&mut table, 50, 0, 13), ["net:50@10.000000000 ended Some(3s) true"]);
    assert_eq!(ended(&mut table, 50, 0, 14), [""; 0]);
    assert_eq!(lines(table.take(&mut unshare(20, 50, None))), ["net:50@20.000000000 unshare user:1"]);
    // A namespace with the same inode, after an end that was not reported.
    let news = lines(table.take(&mut unshare(30, 50, None)));
    assert_eq!(news, ["net:50@20.000000000 ended None false", "net:50@30.000000000 unshare user:1"]);
    // An end older than the entry is of another namespace.
    assert_eq!(ended(&mut table, 50, 0, 29), [""; 0]);
    assert_eq!(lines(table.take(&mut setns(31, 50, None))), [""; 0]);
}

#[test]
fn reused_inode_is_a_new_namespace_with_ids() {
    let mut table = NamespaceTable::default();
    assert_eq!(lines(table.take(&mut unshare(10, 50, Some(5)))), ["net#5 unshare user#1"]);
    assert_eq!(ended(&mut table, 50, 4, 13), [""; 0]);
    let news = lines(table.take(&mut setns(14, 50, Some(6))));
    assert_eq!(news, ["net#5 ended None false", "net#6 first seen -"]);
    assert_eq!(ended(&mut table, 50, 6, 15), ["net#6 ended None true"]);
}

#[test]
fn joined_namespace_is_reported_once_and_failed_call_creates_none() {
    let mut table = NamespaceTable::default();
    assert_eq!(lines(table.take(&mut setns(10, 51, None))), ["net:51 first seen -"]);
    assert_eq!(lines(table.take(&mut setns(11, 51, None))), [""; 0]);
    let mut failed = unshare(12, 52, None);
    failed.outcome = Outcome::Failure(1);
    failed.after = failed.before;
    assert_eq!(lines(table.take(&mut failed)), [""; 0]);
    assert_eq!(ended(&mut table, 51, 0, 13), ["net:51 ended None true"]);
}

#[test]
fn namespace_from_a_snapshot_is_not_reported_again_by_its_event() {
    let seen = |reported| Entry {
        key: NsKey { id: NsId::new(NsKind::Net, 4, 50), mark: Mark::Unknown },
        owner: None,
        made: None,
        alive: seconds(10),
        reported,
    };
    let mut table = NamespaceTable::default();
    let mut news = Vec::new();
    table.begin(seen(true), Origination::FirstSeen, &mut news);
    assert_eq!(lines(news), ["net:50 first seen -"]);
    assert_eq!(lines(table.take(&mut unshare(9, 50, None))), [""; 0]);
    // Its key stays as reported.
    assert_eq!(ended(&mut table, 50, 0, 12), ["net:50 ended Some(3s) true"]);
    // An entry that was not reported ends without a line; it is reported when joined.
    table.begin(seen(false), Origination::FirstSeen, &mut Vec::new());
    assert_eq!(ended(&mut table, 50, 0, 13), [""; 0]);
    table.begin(seen(false), Origination::FirstSeen, &mut Vec::new());
    assert_eq!(lines(table.take(&mut setns(14, 50, None))), ["net:50 first seen -"]);
    assert_eq!(lines(table.remove_unseen(50).into_iter().collect()), ["net:50 ended None false"]);
}
