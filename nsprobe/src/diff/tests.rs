mod documents;
mod visibility;

use super::*;
use crate::model::{Arguments, Holder, Initial, NsId, NsKind, Origin, Pid, Root, Slots, Snapshot, Taken};
use std::time::{Duration, SystemTime};

/// Seconds after the epoch.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A snapshot under construction: taken at 1,000 s, or later.
fn side(seconds: u64, namespaces: Vec<Namespace>, processes: Vec<Process>) -> Side {
    let origin = Origin {
        taken_at: at(seconds),
        own_pid: None,
        version: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
        hostname: "host".into(),
        boot_id: Some("b1".to_owned()),
    };
    Side::now(Taken { origin, snapshot: Snapshot { namespaces, processes, ..Snapshot::default() } }).unwrap()
}

fn id(kind: NsKind, ino: u64) -> NsId {
    NsId::new(kind, 4, ino)
}

fn namespace(kind: NsKind, ino: u64, change: impl FnOnce(&mut Namespace)) -> Namespace {
    let mut namespace = Namespace { initial: Initial::No, ..Namespace::new(id(kind, ino)) };
    change(&mut namespace);
    namespace
}

/// A process started at the tick of its pid, in one namespace.
fn process(pid: Pid, kind: NsKind, ino: u64) -> Process {
    let mut slots = Slots::default();
    *slots.get_mut(NsSlot::In(kind)) = Some(id(kind, ino));
    Process {
        pid,
        ppid: 1,
        pids: vec![pid],
        start_ticks: u64::from(pid),
        threads: 1,
        kernel_thread: false,
        uid: 0,
        comm: "sleep".into(),
        arguments: Arguments::of(["sleep", &pid.to_string()]),
        namespaces: Some(slots),
        root: Root::Whole,
    }
}

/// The verdict on `net:[7]` in both snapshots, with these properties, and nothing else.
fn verdict(old: impl FnOnce(&mut Namespace), new: impl FnOnce(&mut Namespace)) -> &'static str {
    judge(NsKind::Net, 7, side(1_000, vec![namespace(NsKind::Net, 7, old)], vec![]), {
        side(2_000, vec![namespace(NsKind::Net, 7, new)], vec![])
    })
}

/// The verdict on the namespace that is in both.
#[expect(
    clippy::needless_pass_by_value,
    reason = "two fresh snapshots read better than two references to them"
)]
fn judge(kind: NsKind, ino: u64, old: Side, new: Side) -> &'static str {
    let difference = compare(&old, &new);
    let among = |namespaces: &[&Namespace]| namespaces.iter().any(|ns| key(ns.id) == (kind, ino));
    let unsure = difference.unsure.iter().any(|(ns, _)| key(ns.id) == (kind, ino));
    match (among(&difference.went), among(&difference.came), unsure) {
        (true, true, false) => "different",
        (false, false, true) => "unsure",
        (false, false, false) => "same",
        mixed => panic!("{mixed:?}"),
    }
}

#[test]
fn kernel_id_decides() {
    let with = |kernel_id| move |ns: &mut Namespace| ns.kernel_id = Some(kernel_id);
    assert_eq!(verdict(with(1), with(1)), "same");
    assert_eq!(verdict(with(1), with(2)), "different");
    assert_eq!(verdict(with(1), |_| {}), "unsure");
}

#[test]
fn unchanging_properties_decide() {
    let initial = |initial| move |ns: &mut Namespace| ns.initial = initial;
    assert_eq!(verdict(initial(Initial::Yes), initial(Initial::Yes)), "same");
    assert_eq!(verdict(initial(Initial::Unknown), initial(Initial::Yes)), "unsure");
    let owner = |ino| move |ns: &mut Namespace| ns.owner = Some(id(NsKind::User, ino));
    assert_eq!(verdict(owner(1), owner(2)), "different");
    assert_eq!(verdict(owner(1), owner(1)), "unsure");
    assert_eq!(verdict(owner(1), |_| {}), "unsure", "it was not readable");
    let uid = |uid| move |ns: &mut Namespace| ns.owner_uid = Some(uid);
    assert_eq!(verdict(uid(0), uid(1_000)), "different");
}

#[test]
fn inode_that_stayed_in_memory_decides_and_mount_at_the_same_path_does_not() {
    let since = |seconds| move |ns: &mut Namespace| ns.file_since = Some(at(seconds));
    assert_eq!(verdict(since(900), since(900)), "same");
    assert_eq!(
        verdict(since(1_001), since(1_001)),
        "unsure",
        "the first snapshot itself may have created it"
    );
    assert_eq!(verdict(since(900), since(1_900)), "unsure");
    let mounted = |ns: &mut Namespace| {
        ns.holders = vec![Holder::BindMount {
            mount_namespace: id(NsKind::Mnt, 1),
            path: "/run/netns/t".into(),
            here: true,
        }];
    };
    assert_eq!(verdict(mounted, mounted), "unsure");
}

#[test]
fn process_that_stayed_shows_that_its_namespace_did() {
    let net = || vec![namespace(NsKind::Net, 7, |_| {})];
    let of = |pids: &[Pid]| pids.iter().map(|&pid| process(pid, NsKind::Net, 7)).collect::<Vec<_>>();
    let judge = |old, new| judge(NsKind::Net, 7, side(1_000, net(), old), side(2_000, net(), new));
    assert_eq!(judge(of(&[10, 11]), of(&[11, 12])), "same");
    assert_eq!(judge(of(&[10]), of(&[12])), "unsure");
    let mut reused = of(&[10]);
    reused[0].start_ticks = 5_000;
    assert_eq!(judge(of(&[10]), reused), "unsure", "the pid was reused");
}

#[test]
fn pid_namespace_is_as_old_as_its_init() {
    let pid = || vec![namespace(NsKind::Pid, 8, |_| {})];
    let of = |pid| {
        let mut init = process(pid, NsKind::Pid, 8);
        init.pids.push(1);
        vec![init]
    };
    let judge = |old, new| judge(NsKind::Pid, 8, side(1_000, pid(), old), side(2_000, pid(), new));
    assert_eq!(judge(of(10), of(10)), "same");
    assert_eq!(judge(of(10), of(20)), "different");
    assert_eq!(judge(of(10), vec![]), "unsure", "the init is not visible");
}

#[test]
fn parents_and_owners_of_a_namespace_that_stayed_have_stayed() {
    let namespaces = || {
        let mut user = namespace(NsKind::User, 2, |ns| ns.parent = Some(id(NsKind::User, 1)));
        user.owner = user.parent;
        vec![
            namespace(NsKind::Net, 7, |ns| ns.owner = Some(id(NsKind::User, 2))),
            namespace(NsKind::User, 1, |_| {}),
            user,
        ]
    };
    let processes = || vec![process(10, NsKind::Net, 7)];
    let (old, new) = (side(1_000, namespaces(), processes()), side(2_000, namespaces(), processes()));
    assert!(compare(&old, &new).is_empty());
    let (old, new) = (side(1_000, namespaces(), vec![]), side(2_000, namespaces(), vec![]));
    assert_eq!(compare(&old, &new).unsure.len(), 3);
}

#[test]
fn processes_come_go_and_move() {
    let mut old = vec![process(10, NsKind::Net, 7), process(11, NsKind::Net, 7), process(12, NsKind::Net, 7)];
    let mut new = vec![process(10, NsKind::Net, 9), process(12, NsKind::Net, 7), process(13, NsKind::Net, 7)];
    old[2].namespaces = None;
    new[0].root = Root::Chrooted("/jail".into());
    // Left out: a process unreadable at one of the times, and a kernel thread.
    let mut kernel = process(2, NsKind::Net, 7);
    kernel.kernel_thread = true;
    new.push(kernel);
    let nets = || vec![namespace(NsKind::Net, 7, |_| {}), namespace(NsKind::Net, 9, |_| {})];
    let (old, new) = (side(1_000, nets(), old), side(2_000, nets(), new));
    let difference = compare(&old, &new);
    let pids = |processes: &[&Process]| processes.iter().map(|process| process.pid).collect::<Vec<_>>();
    assert_eq!(pids(&difference.processes_went), [11]);
    assert_eq!(pids(&difference.processes_came), [13]);
    let [moved] = difference.processes_changed.as_slice() else { panic!("{difference:?}") };
    assert_eq!(
        (moved.new.pid, moved.namespaces.as_slice(), moved.root),
        (
            10,
            &[(NsSlot::In(NsKind::Net), id(NsKind::Net, 7), id(NsKind::Net, 9))][..],
            Some((&Root::Whole, &Root::Chrooted("/jail".into())))
        )
    );
}

#[test]
fn process_that_moved_to_a_namespace_with_the_same_inode_has_changed() {
    let net = |kernel_id| vec![namespace(NsKind::Net, 7, |ns| ns.kernel_id = Some(kernel_id))];
    let processes = || vec![process(10, NsKind::Net, 7)];
    let (old, new) = (side(1_000, net(1), processes()), side(2_000, net(2), processes()));
    assert_eq!(compare(&old, &new).processes_changed.len(), 1);
}

#[test]
fn observers_are_left_out() {
    let mut old = side(1_000, vec![], vec![process(50, NsKind::Net, 7), process(60, NsKind::Net, 7)]);
    let mut new = side(2_000, vec![], vec![process(60, NsKind::Net, 7), process(70, NsKind::Net, 7)]);
    // `nsprobe list | nsprobe diff`: the second runs while the first takes its snapshot.
    old.taken.origin.own_pid = Some(50);
    new.taken.origin.own_pid = Some(70);
    let difference = compare(&old, &new);
    assert!(difference.is_empty(), "{difference:?}");
    new.taken.origin.own_pid = Some(60);
    old.taken.snapshot.processes.pop();
    assert_eq!(compare(&old, &new).processes_came.len(), 1);
}

#[test]
fn nothing_survives_a_boot() {
    let net = || vec![namespace(NsKind::Net, 7, |ns| ns.initial = Initial::Yes)];
    let processes = || vec![process(10, NsKind::Net, 7)];
    let (old, mut new) = (side(1_000, net(), processes()), side(2_000, net(), processes()));
    assert!(compare(&old, &new).is_empty());
    new.taken.origin.boot_id = Some("b2".to_owned());
    let difference = compare(&old, &new);
    assert!(!difference.same_boot);
    let counts = [&difference.came, &difference.went].map(Vec::len);
    let of_processes = [&difference.processes_came, &difference.processes_went].map(Vec::len);
    assert_eq!((counts, of_processes), ([1, 1], [1, 1]));
    assert!(difference.unsure.is_empty() && difference.processes_changed.is_empty());
}
