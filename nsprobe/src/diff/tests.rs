use super::*;
use crate::model::{
    Arguments, Gap, GapKind, HeldBy, Holder, Initial, Origin, Slots, Snapshot, Source, Taken, TcpState,
};
use crate::render::json::{self, Selection};
use std::time::{Duration, SystemTime};

/// Seconds after the epoch.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A snapshot to be put together: taken at 1,000 s, or later.
fn side(seconds: u64, namespaces: Vec<Namespace>, processes: Vec<Process>) -> Side {
    let origin = Origin {
        taken_at: at(seconds),
        own_pid: None,
        version: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
        hostname: "host".to_owned(),
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

/// `net:[7]` in both snapshots, with these properties, and nothing else.
fn verdict(old: impl FnOnce(&mut Namespace), new: impl FnOnce(&mut Namespace)) -> &'static str {
    judge(NsKind::Net, 7, side(1_000, vec![namespace(NsKind::Net, 7, old)], vec![]), {
        side(2_000, vec![namespace(NsKind::Net, 7, new)], vec![])
    })
}

/// What becomes of the namespace that is in both.
#[expect(
    clippy::needless_pass_by_value,
    reason = "two fresh snapshots read better than two references to them"
)]
fn judge(kind: NsKind, ino: u64, old: Side, new: Side) -> &'static str {
    let difference = compare(&old, &new);
    let among = |namespaces: &[&Namespace]| namespaces.iter().any(|ns| key(ns.id) == (kind, ino));
    let unsure = difference.unsure.iter().any(|(ns, _)| key(ns.id) == (kind, ino));
    match (among(&difference.went), among(&difference.came), unsure) {
        (true, true, false) => "other",
        (false, false, true) => "unsure",
        (false, false, false) => "same",
        mixed => panic!("{mixed:?}"),
    }
}

#[test]
fn the_kernels_id_decides() {
    let with = |kernel_id| move |ns: &mut Namespace| ns.kernel_id = Some(kernel_id);
    assert_eq!(verdict(with(1), with(1)), "same");
    assert_eq!(verdict(with(1), with(2)), "other");
    assert_eq!(verdict(with(1), |_| {}), "unsure");
}

#[test]
fn what_never_changes_decides() {
    let initial = |initial| move |ns: &mut Namespace| ns.initial = initial;
    assert_eq!(verdict(initial(Initial::Yes), initial(Initial::Yes)), "same");
    assert_eq!(verdict(initial(Initial::Unknown), initial(Initial::Yes)), "unsure");
    let owner = |ino| move |ns: &mut Namespace| ns.owner = Some(id(NsKind::User, ino));
    assert_eq!(verdict(owner(1), owner(2)), "other");
    assert_eq!(verdict(owner(1), owner(1)), "unsure");
    assert_eq!(verdict(owner(1), |_| {}), "unsure", "it was not readable");
    let uid = |uid| move |ns: &mut Namespace| ns.owner_uid = Some(uid);
    assert_eq!(verdict(uid(0), uid(1_000)), "other");
}

#[test]
fn an_inode_that_stayed_in_memory_decides_and_a_mount_at_the_same_place_does_not() {
    let since = |seconds| move |ns: &mut Namespace| ns.file_since = Some(at(seconds));
    assert_eq!(verdict(since(900), since(900)), "same");
    assert_eq!(verdict(since(1_001), since(1_001)), "unsure", "the first look itself may have made it");
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
fn a_process_that_stayed_shows_that_its_namespace_did() {
    let net = || vec![namespace(NsKind::Net, 7, |_| {})];
    let of = |pids: &[Pid]| pids.iter().map(|&pid| process(pid, NsKind::Net, 7)).collect::<Vec<_>>();
    let judge = |old, new| judge(NsKind::Net, 7, side(1_000, net(), old), side(2_000, net(), new));
    assert_eq!(judge(of(&[10, 11]), of(&[11, 12])), "same");
    assert_eq!(judge(of(&[10]), of(&[12])), "unsure");
    let mut reused = of(&[10]);
    reused[0].start_ticks = 5_000;
    assert_eq!(judge(of(&[10]), reused), "unsure", "the pid is another process's");
}

#[test]
fn a_pid_namespace_is_as_old_as_its_init() {
    let pid = || vec![namespace(NsKind::Pid, 8, |_| {})];
    let of = |pid| {
        let mut init = process(pid, NsKind::Pid, 8);
        init.pids.push(1);
        vec![init]
    };
    let judge = |old, new| judge(NsKind::Pid, 8, side(1_000, pid(), old), side(2_000, pid(), new));
    assert_eq!(judge(of(10), of(10)), "same");
    assert_eq!(judge(of(10), of(20)), "other");
    assert_eq!(judge(of(10), vec![]), "unsure", "the init is not visible");
}

#[test]
fn above_a_namespace_that_stayed_everything_stayed() {
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
    // Not comparable: unreadable at the one time; nobody's business: the kernel's own.
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
fn a_process_that_moved_to_a_namespace_of_the_same_number_is_seen_to() {
    let net = |kernel_id| vec![namespace(NsKind::Net, 7, |ns| ns.kernel_id = Some(kernel_id))];
    let processes = || vec![process(10, NsKind::Net, 7)];
    let (old, new) = (side(1_000, net(1), processes()), side(2_000, net(2), processes()));
    assert_eq!(compare(&old, &new).processes_changed.len(), 1);
}

#[test]
fn who_looked_is_no_difference() {
    let mut old = side(1_000, vec![], vec![process(50, NsKind::Net, 7), process(60, NsKind::Net, 7)]);
    let mut new = side(2_000, vec![], vec![process(60, NsKind::Net, 7), process(70, NsKind::Net, 7)]);
    // `nsprobe list | nsprobe diff`: the second runs while the first looks.
    old.taken.origin.own_pid = Some(50);
    new.taken.origin.own_pid = Some(70);
    let difference = compare(&old, &new);
    assert!(difference.is_empty(), "{difference:?}");
    new.taken.origin.own_pid = Some(60);
    old.taken.snapshot.processes.pop();
    assert_eq!(compare(&old, &new).processes_came.len(), 1);
}

#[test]
fn nothing_lives_through_a_boot() {
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

/// A snapshot with something of everything.
fn rich() -> Taken {
    let mut inside = process(10, NsKind::Net, 7);
    inside.pids = vec![10, 3, 1];
    inside.root = Root::Chrooted(b"/jail\xff"[..].into());
    let mut closed = process(11, NsKind::Net, 7);
    (closed.namespaces, closed.root, closed.comm) = (None, Root::Unknown, b"a\"b\n\xfe"[..].into());
    let net = namespace(NsKind::Net, 7, |ns| {
        ns.kernel_id = Some(u64::MAX);
        ns.file_since = Some(at(900) + Duration::from_nanos(123));
        ns.owner = Some(id(NsKind::User, 1));
        ns.netnsid = Some(model::NetnsId::Unassigned);
        ns.processes = 1;
        ns.leader = Some(10);
        ns.sources = vec![Source::Processes, Source::BindMounts];
        ns.holders = vec![
            Holder::Thread { pid: 10, tid: 11 },
            Holder::ForChildren { pid: 10, tid: None },
            Holder::ForChildren { pid: 10, tid: Some(12) },
            Holder::Descriptor { pid: 10, tid: None, fd: 3 },
            Holder::Socket { pid: 10, tid: Some(12), fd: 4 },
            Holder::BindMount {
                mount_namespace: id(NsKind::Mnt, 5),
                path: b"/run/netns/\xff".as_slice().into(),
                here: true,
            },
            Holder::Ancestor { of: id(NsKind::User, 6) },
        ];
        let mount = |path| Holder::Mount {
            fs_type: "proc".into(),
            mount_namespace: id(NsKind::Mnt, 5),
            path,
            here: false,
        };
        ns.holders.extend([mount(Some(b"/p\xff".as_slice().into())), mount(None)]);
        ns.holders.push(Holder::DetachedMount { fs_type: "proc".into(), dev: (0, 45) });
        ns.holders.push(Holder::Connection {
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "[::1]:81".parse().unwrap(),
            state: TcpState::LastAck,
        });
        let file = |by| Holder::File { by, pid: 10, tid: Some(12), fd: 5 };
        ns.holders.extend(HeldBy::ALL.map(file));
    });
    let user = namespace(NsKind::User, 1, |ns| {
        (ns.initial, ns.owner_uid, ns.parent) = (Initial::Unknown, Some(0), Some(id(NsKind::User, 9)));
    });
    let gap = Gap { kind: GapKind::Mounts, count: 2, reason: "no".to_owned(), remedy: None };
    let mut side = side(1_000, vec![net, user], vec![inside, closed]);
    side.taken.snapshot.gaps = vec![gap];
    side.taken.origin.own_pid = Some(10);
    side.taken
}

fn document(taken: &Taken) -> String {
    let mut out = Vec::new();
    json::list(&taken.origin, &taken.snapshot, Selection::All, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_document_says_all_that_the_snapshot_held() {
    let taken = rich();
    let mut expected = Side::now(taken.clone()).unwrap();
    expected.taken.snapshot.gaps.clear();
    assert_eq!(Side::read(document(&taken).as_bytes()).unwrap(), expected);
}

#[test]
fn roots_that_differ_in_a_byte_that_is_no_text_are_two() {
    let moved = |byte: u8| {
        let mut taken = rich();
        taken.origin.own_pid = None;
        taken.snapshot.processes[0].root = Root::Chrooted([b"/jail".as_slice(), &[byte]].concat().into());
        Side::read(document(&taken).as_bytes()).unwrap()
    };
    assert!(compare(&moved(0xff), &moved(0xff)).processes_changed.is_empty());
    let (old, new) = (moved(0xff), moved(0xfe));
    let difference = compare(&old, &new);
    assert_eq!(difference.processes_changed.len(), 1, "{difference:?}");
}

#[test]
fn the_document_that_is_read_is_the_one_that_list_writes() {
    let wanted = crate::render::schemas::LIST;
    assert_eq!((document::NAME, Some(document::MAJOR)), (wanted.name, wanted.version.split('.').next()));
}

#[test]
fn a_document_of_a_later_minor_version_is_read() {
    let text = document(&rich())
        .replace("\"version\":\"1.0\"", "\"version\":\"1.7\",\"more\":[1]")
        .replace("{\"type\":\"socket\",\"pid\":10,\"tid\":12,\"fd\":4}", "{\"type\":\"gravity\",\"mass\":1}");
    let side = Side::read(text.as_bytes()).unwrap();
    assert_eq!(side.taken.snapshot.namespaces[0].holders.len(), 10 + HeldBy::ALL.len());
}

#[test]
fn what_is_no_such_document_is_refused_with_the_reason() {
    let whole = document(&rich());
    let refused = |text: &str| Side::read(text.as_bytes()).map(|_| ()).unwrap_err().to_string();
    for end in [0, 1, 20, whole.len() / 2, whole.len() - 3] {
        let text = refused(&whole[..end]);
        assert!(text.contains("or not all of it: EOF while parsing"), "{end}: {text}");
    }
    insta::assert_snapshot!(
        [
            refused("net 4026531833"),
            refused("{}"),
            refused(&whole.replace("nsprobe.list", "nsprobe.tree")),
            refused(&whole.replace("\"version\":\"1.0\"", "\"version\":\"2.0\"")),
            refused(&whole.replace("\"filtered\":false", "\"filtered\":true")),
            refused(&whole.replace("\"boot_id\":\"b1\"", "\"boot_id\":null")),
            refused(&whole.replace("\"kind\":\"net\"", "\"kind\":\"mount\"")),
            refused(&whole.replace("18446744073709551615", "many")),
            refused(&whole.replace("1970-01-01T00:16:40", "yesterday")),
            refused(&whole.replace("\"ppid\":1", "\"ppid\":-1")),
            refused(&whole.replace("\"filtered\":false", "\"filtered\":false} {")),
        ]
        .join("\n"),
        @"
    not a document of `nsprobe list --json`, or not all of it: expected ident at line 1 column 2
    not a document of `nsprobe list --json`, or not all of it: missing field `schema` at line 1 column 2
    this is nsprobe.tree 1.0, and nsprobe.list 1.x is wanted: what `nsprobe list --json` writes
    this is nsprobe.list 2.0, and nsprobe.list 1.x is wanted: what `nsprobe list --json` writes
    it holds only what was asked for: take it with `nsprobe list --json` and no other option
    it does not name the boot it was taken in, so nothing in it can be compared
    not a document of `nsprobe list --json`, or not all of it: unknown namespace kind mount: one of cgroup, ipc, mnt, net, pid, time, user, uts at line 3 column 49
    not a document of `nsprobe list --json`, or not all of it: invalid digit found in string at line 3 column 66
    not a document of `nsprobe list --json`, or not all of it: failed to parse four digit integer as year: invalid digit, expected 0-9 but got y at line 1 column 152
    not a document of `nsprobe list --json`, or not all of it: invalid value: integer `-1`, expected u32 at line 6 column 36
    not a document of `nsprobe list --json`, or not all of it: missing field `processes_from` at line 1 column 192
    "
    );
    let again = |item: &str| {
        let line =
            whole.lines().find(|line| line.contains(item)).expect("a line of it").trim_end_matches(',');
        refused(&whole.replacen(line, &format!("{line},{line}"), 1))
    };
    assert_eq!(again("\"start_ticks\":10"), "it has process 10 twice, so it is no snapshot");
    assert!(again("\"key\":\"net").contains("twice, so it is no snapshot"));
    assert!(
        refused(&whole.replace("\"type\":\"ancestor\"", "\"type\":\"socket\"")).contains("a holder `socket`")
    );
    assert!(
        refused(&whole.replace("\"pids\":[", &format!("\"pids\":[{}", "1,".repeat(100))))
            .contains("more than 64")
    );
    assert!(Side::read(&b"\xff\xfe{"[..]).is_err());
}

#[test]
fn what_only_one_of_the_two_could_see_is_said() {
    let gap = |count| SideGap { kind: "mounts".to_owned(), reason: "no".to_owned(), count };
    let (mut old, mut new) = (side(1_000, vec![], vec![]), side(2_000, vec![], vec![]));
    (old.gaps, new.gaps) = (vec![gap(1)], vec![gap(1)]);
    assert_eq!(compare(&old, &new).sight, []);
    new.gaps = vec![];
    let change = SightChange { kind: "mounts".to_owned(), reason: "no".to_owned(), old: 1, new: 0 };
    assert_eq!(compare(&old, &new).sight, [change]);
}

/// The second snapshot, with a gap.
fn with_gap(mut side: Side, kind: GapKind) -> Side {
    side.gaps.push(SideGap { kind: kind.name().to_owned(), reason: "no".to_owned(), count: 1 });
    side
}

#[test]
fn what_one_look_could_not_see_has_neither_come_nor_gone() {
    let mounted = |ns: &mut Namespace| {
        ns.holders = vec![Holder::BindMount {
            mount_namespace: id(NsKind::Mnt, 8),
            path: "/run/netns/a".into(),
            here: false,
        }];
    };
    let full = || {
        let namespaces = vec![
            namespace(NsKind::Mnt, 8, |ns| ns.sources = vec![Source::Processes]),
            namespace(NsKind::Net, 9, mounted),
            namespace(NsKind::Net, 10, |ns| ns.sources = vec![Source::Processes]),
        ];
        side(1_000, namespaces, vec![process(30, NsKind::Mnt, 8), process(31, NsKind::Net, 10)])
    };
    let closed = |pid| Process { namespaces: None, ..process(pid, NsKind::Mnt, 8) };
    let summary = |difference: &Difference<'_>| {
        let ids = |namespaces: &[&Namespace]| namespaces.iter().map(|ns| ns.id.ino).collect::<Vec<_>>();
        let unseen: Vec<_> = difference.unseen.iter().map(|it| (it.what.id.ino, it.by)).collect();
        let gone = difference.processes_went.len();
        (ids(&difference.came), ids(&difference.went), unseen, gone, difference.processes_unseen.len())
    };
    let (old, new) = (model::Side::Old, model::Side::New);
    // A process that is there and not readable may still be in its namespace, in which something is mounted; one that has
    // ended is not.
    let less = side(2_000, vec![], vec![closed(30)]);
    let (whole, empty) = (full(), side(2_000, vec![], vec![]));
    assert_eq!(summary(&compare(&whole, &less)), (vec![], vec![10], vec![(8, new), (9, new)], 1, 0));
    assert_eq!(summary(&compare(&less, &whole)), (vec![10], vec![], vec![(8, old), (9, old)], 0, 0));
    assert_eq!(summary(&compare(&whole, &empty)), (vec![], vec![8, 9, 10], vec![], 2, 0));
    // Where processes are hidden, none of them is known to have ended.
    let hidden = with_gap(side(2_000, vec![], vec![]), GapKind::HiddenProcesses);
    let all = vec![(8, new), (9, new), (10, new)];
    assert_eq!(summary(&compare(&whole, &hidden)), (vec![], vec![], all, 0, 2));
    // Where mounts are not readable, what was mounted may be.
    for kind in [GapKind::Mounts, GapKind::Chroot] {
        let mounts = with_gap(side(2_000, vec![], vec![]), kind);
        assert_eq!(summary(&compare(&whole, &mounts)), (vec![], vec![8, 10], vec![(9, new)], 2, 0));
    }
    assert!(!compare(&whole, &hidden).is_empty());
}

#[test]
fn what_only_the_kernels_lists_lead_to_is_unseen_where_they_are_not_read() {
    let mount = Holder::Mount {
        fs_type: "proc".into(),
        mount_namespace: id(NsKind::Mnt, 8),
        path: None,
        here: false,
    };
    let file = |by| Holder::File { by, pid: 30, tid: None, fd: 3 };
    let hidden = HeldBy::ALL.map(file).into_iter().chain([
        mount,
        Holder::DetachedMount { fs_type: "proc".into(), dev: (0, 45) },
        Holder::Connection {
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "127.0.0.1:81".parse().unwrap(),
            state: TcpState::FinWait1,
        },
    ]);
    let held = |holders: Vec<Holder>| {
        namespace(NsKind::Net, 9, |ns| {
            (ns.holders, ns.sources) = (holders, vec![Source::Relations, Source::KernelLists]);
        })
    };
    let unseen = |old: &Side, new: &Side| {
        let difference = compare(old, new);
        let reasons: Vec<_> = difference.unseen.iter().map(|it| it.reason.clone()).collect();
        (difference.came.len() + difference.went.len(), reasons)
    };
    let empty = || side(2_000, vec![], vec![process(30, NsKind::Mnt, 8)]);
    let without_lists = with_gap(empty(), GapKind::Source);
    let said = || (0, vec!["the kernel's lists are not read there".to_owned()]);
    for holders in hidden.map(|holder| vec![holder]).chain([vec![]]) {
        let whole = side(1_000, vec![held(holders.clone())], vec![process(30, NsKind::Mnt, 8)]);
        assert_eq!(unseen(&whole, &without_lists), said(), "{holders:?}");
        assert_eq!(unseen(&without_lists, &whole), said(), "{holders:?}");
        // Both had them, or neither.
        assert_eq!(unseen(&whole, &empty()), (1, vec![]), "{holders:?}");
        let neither = with_gap(whole, GapKind::Source);
        assert_eq!(unseen(&neither, &without_lists), (1, vec![]), "{holders:?}");
    }
    // What /proc leads to would have been found.
    let open = vec![Holder::Descriptor { pid: 30, tid: None, fd: 4 }, file(HeldBy::Tun)];
    let whole = side(1_000, vec![held(open)], vec![process(30, NsKind::Mnt, 8)]);
    assert_eq!(unseen(&whole, &without_lists), (1, vec![]));
}

#[test]
fn what_is_not_readable_of_a_process_that_stayed_is_unseen() {
    let kernel = |namespaces: bool| {
        let mut kernel = process(25, NsKind::Mnt, 8);
        kernel.kernel_thread = true;
        kernel.namespaces = kernel.namespaces.filter(|_| namespaces);
        kernel
    };
    let mounts = || vec![namespace(NsKind::Mnt, 8, |ns| ns.sources = vec![Source::Processes])];
    let (old, new) = (side(1_000, mounts(), vec![kernel(true)]), side(2_000, vec![], vec![kernel(false)]));
    let reasons = |old: &Side, new: &Side| {
        let difference = compare(old, new);
        assert!(difference.came.is_empty() && difference.went.is_empty(), "{difference:?}");
        difference.unseen.iter().map(|it| it.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&old, &new), ["process 25 is not readable there"]);
    assert_eq!(reasons(&new, &old), ["process 25 is not readable there"]);

    // Older kernels show the pid namespace for a process's children only when the first is there.
    let parent = |ino: Option<u64>| {
        let mut parent = process(40, NsKind::Mnt, 8);
        let slots = parent.namespaces.as_mut().unwrap();
        *slots.get_mut(NsSlot::PidForChildren) = ino.map(|ino| id(NsKind::Pid, ino));
        parent
    };
    let children = namespace(NsKind::Pid, 9, |ns| {
        (ns.holders, ns.sources) =
            (vec![Holder::ForChildren { pid: 40, tid: None }], vec![Source::ForChildren]);
    });
    let (old, new) =
        (side(1_000, vec![children], vec![parent(Some(9))]), side(2_000, vec![], vec![parent(None)]));
    assert_eq!(reasons(&old, &new), ["pid_for_children of process 40 is not readable there"]);
}
