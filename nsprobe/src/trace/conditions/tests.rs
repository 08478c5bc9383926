use super::*;
use crate::model::{Caller, Cgroup, NsSlot, Slots, Text};
use std::time::Duration;

const DEV: u64 = 4;

fn id(kind: NsKind, ino: u64) -> NsId {
    NsId::new(kind, DEV, ino)
}

/// A call of process 7 of user 1000; the inode of every namespace is 100 plus its slot's index.
fn event(operation: Operation) -> Event {
    let slots = Slots::from_fn(|slot: NsSlot| Some(id(slot.kind(), 100 + slot.index() as u64)));
    let cgroup = Cgroup { id: 9, path: "/a/b".into(), cut: false, is_requested: true };
    let process =
        Caller { comm: "fifteen-bytes-l".into(), uid: Some(1000), cgroup: Some(cgroup), ..Caller::new(7, 8) };
    Event {
        since_boot: Duration::ZERO,
        duration: None,
        process,
        operation,
        compat: Some(false),
        outcome: Outcome::Success(0),
        before: slots,
        after: slots,
        root: None,
        cwd: None,
        marks: None,
        seen: None,
        denied: false,
    }
}

fn unshare(flags: u64) -> Event {
    event(Operation::Unshare { flags })
}

#[test]
fn kinds_are_those_that_are_named_or_change() {
    let of = |kind| Conditions { kinds: vec![kind], ..Conditions::default() };
    let both = unshare(NsKind::Uts.clone_flag() | NsKind::Net.clone_flag());
    let admitted = |event: &Event| -> Vec<NsKind> {
        NsKind::ALL.into_iter().filter(|&kind| of(kind).admit(event)).collect()
    };
    assert_eq!(admitted(&both), [NsKind::Net, NsKind::Uts]);
    assert_eq!(admitted(&unshare(0)), []);
    let chroot = Operation::Chroot { path: crate::model::PathText::Unreadable };
    assert_eq!(admitted(&event(chroot)), [NsKind::Mnt]);
    let target = SetnsTarget::Namespace { id: id(NsKind::User, 1), kernel_id: None, path: None };
    assert_eq!(admitted(&event(Operation::Setns { fd: 3, nstype: 0, target: Some(target) })), [NsKind::User]);
    let nstype = NsKind::Ipc.clone_flag();
    assert_eq!(admitted(&event(Operation::Setns { fd: 3, nstype, target: None })), [NsKind::Ipc]);
    let mut fork = event(Operation::Clone { flags: Some(0), child: None });
    assert_eq!(admitted(&fork), [NsKind::Pid, NsKind::Time], "its child would have been in others");
    for (own, next) in [(NsKind::Pid, NsSlot::PidForChildren), (NsKind::Time, NsSlot::TimeForChildren)] {
        *fork.before.get_mut(next) = *fork.before.of(own);
    }
    fork.after = fork.before;
    assert_eq!(admitted(&fork), []);
    *fork.after.get_mut(NsSlot::In(NsKind::Time)) = Some(id(NsKind::Time, 1));
    assert_eq!(admitted(&fork), [NsKind::Time]);
    let one_of = Conditions { kinds: vec![NsKind::Pid, NsKind::Net], ..Conditions::default() };
    assert!(one_of.admit(&both));
}

#[test]
fn callers_are_one_of_those_listed() {
    let admits = |change: &dyn Fn(&mut Conditions)| {
        let mut conditions = Conditions::default();
        change(&mut conditions);
        conditions.admit(&unshare(0))
    };
    assert!(admits(&|_| ()));
    assert!(admits(&|all| all.pids = vec![6, 7]) && !admits(&|all| all.pids = vec![8]));
    assert!(admits(&|all| (all.pids, all.follow) = (vec![8], true)));
    assert!(admits(&|all| all.uids = vec![0, 1000]) && !admits(&|all| all.uids = vec![0]));
    let comm = |name: &str| admits(&|all: &mut Conditions| all.comms = vec![name.into()]);
    assert!(comm("fifteen-bytes-l") && comm("fifteen-bytes-long") && !comm("fifteen-bytes") && !comm("x"));
    let grouped = Conditions { cgroups: vec![5], ..Conditions::default() };
    let mut elsewhere = unshare(0);
    assert!(grouped.admit(&elsewhere));
    // Even if its path looks like that of a requested group.
    let group = Cgroup { id: 5, path: "a/b".into(), cut: true, is_requested: false };
    elsewhere.process.cgroup = Some(group);
    assert!(!grouped.admit(&elsewhere));
    elsewhere.process.cgroup = None;
    assert!(!grouped.admit(&elsewhere) && Conditions::default().admit(&elsewhere));
}

#[test]
fn namespaces_are_those_before_and_after_and_the_target() {
    let of = |kind, ino| Conditions { namespaces: vec![id(kind, ino)], ..Conditions::default() };
    let mut left = unshare(0);
    *left.after.get_mut(NsSlot::In(NsKind::Net)) = Some(id(NsKind::Net, 1));
    assert!(of(NsKind::Net, 103).admit(&left) && of(NsKind::Net, 1).admit(&left));
    assert!(of(NsKind::Pid, 108).admit(&left), "for its children");
    assert!(!of(NsKind::Net, 2).admit(&left) && !of(NsKind::Uts, 1).admit(&left));
    let setns = |target| event(Operation::Setns { fd: 3, nstype: 0, target: Some(target) });
    let file = SetnsTarget::Namespace { id: id(NsKind::Net, 2), kernel_id: None, path: None };
    assert!(of(NsKind::Net, 2).admit(&setns(file)));
    let namespaces = vec![id(NsKind::Ipc, 3)];
    let process = SetnsTarget::Process { pid: 1, tid: 1, comm: None, namespaces };
    assert!(of(NsKind::Ipc, 3).admit(&setns(process)));
}

#[test]
fn results_are_failures_or_the_rest() {
    let of = |outcome| Conditions { outcome: Some(outcome), ..Conditions::default() };
    let mut event = unshare(0);
    let admitted =
        |event: &Event| (of(OutcomeFilter::Failed).admit(event), of(OutcomeFilter::Succeeded).admit(event));
    assert_eq!(admitted(&event), (false, true));
    event.outcome = Outcome::Failure(1);
    assert_eq!(admitted(&event), (true, false));
    event.outcome = Outcome::Restarted(513);
    assert_eq!(admitted(&event), (false, false));
    event.outcome = Outcome::Unseen;
    assert_eq!(admitted(&event), (false, true));
}

#[test]
fn unknown_data_rejects_nothing() {
    let whole = unshare(0);
    let mut partial = event(Operation::Change { scans: None });
    (partial.compat, partial.process.uid, partial.process.comm) = (None, None, Text::new());
    *partial.before.get_mut(NsSlot::In(NsKind::Net)) = None;
    let admits = |change: &dyn Fn(&mut Conditions)| {
        let mut conditions = Conditions::default();
        change(&mut conditions);
        (conditions.admit(&partial), conditions.admit(&whole))
    };
    assert_eq!(admits(&|all| all.uids = vec![1]), (true, false));
    assert_eq!(admits(&|all| all.comms = vec!["x".into()]), (true, false));
    assert_eq!(admits(&|all| all.kinds = vec![NsKind::Net]), (true, false));
    assert_eq!(admits(&|all| all.kinds = vec![NsKind::Uts]), (false, false));
    assert_eq!(admits(&|all| all.namespaces = vec![id(NsKind::Net, 1)]), (true, false));
    assert_eq!(admits(&|all| all.namespaces = vec![id(NsKind::Uts, 1)]), (false, false));
    assert_eq!(admits(&|all| all.pids = vec![1]), (false, false));
}
