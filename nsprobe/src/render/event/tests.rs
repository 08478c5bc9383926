use super::*;
use crate::model::{Caller, CloneChild, NsId, NsKind, NsSlot, PathText, ResolvedPath, SetnsTarget, Slots};
use std::time::Duration;

fn event(operation: Operation, outcome: Outcome, changed: &[(NsSlot, u64)]) -> Event {
    let before = Slots::from_fn(|slot| Some(NsId::new(slot.kind(), 4, 4_026_531_835 + slot.index() as u64)));
    let mut after = before;
    for &(slot, ino) in changed {
        *after.get_mut(slot) = Some(NsId::new(slot.kind(), 4, ino));
    }
    let process = Caller {
        pid: 4242,
        tid: 4242,
        ppid: Some(4000),
        pids: vec![4242],
        comm: "unshare".into(),
        uid: Some(0),
        gid: Some(0),
        euid: Some(0),
        cap_effective: Some(0),
        start_ticks: Some(1234),
        exe: None,
        arguments: None,
        cgroup: None,
    };
    Event {
        since_boot: Duration::from_secs(77),
        duration: Some(Duration::from_nanos(52_100)),
        process,
        operation,
        compat: Some(false),
        outcome,
        before,
        after,
        marks: None,
        seen: None,
        denied: false,
        root: None,
        cwd: None,
    }
}

fn resolved(path: &str, cut: bool) -> ResolvedPath {
    ResolvedPath { path: path.into(), cut, ..ResolvedPath::default() }
}

fn text(event: &Event, text_style: TextStyle) -> String {
    line(event, SystemTime::UNIX_EPOCH + Duration::new(1_795_000_000, 123_456_789), text_style)
}

#[test]
fn each_call_is_written_as_strace_writes_it() {
    let net = NsKind::Net;
    let lines = [
        event(
            Operation::Unshare { flags: net.clone_flag() | 0x2_0000 },
            Outcome::Success(0),
            &[(NsSlot::In(net), 4_026_532_208), (NsSlot::In(NsKind::Mnt), 4_026_532_300)],
        ),
        event(Operation::Unshare { flags: NsKind::User.clone_flag() }, Outcome::Failure(libc::EPERM), &[]),
        event(
            Operation::Setns {
                fd: 3,
                nstype: net.clone_flag(),
                target: Some(SetnsTarget::Namespace {
                    id: NsId::new(net, 4, 4_026_532_208),
                    kernel_id: Some(77),
                    path: Some("/run/netns/t".into()),
                }),
            },
            Outcome::Success(0),
            &[(NsSlot::In(net), 4_026_532_208)],
        ),
        event(
            Operation::Setns {
                fd: 3,
                nstype: net.clone_flag() | NsKind::Uts.clone_flag(),
                target: Some(SetnsTarget::Process {
                    pid: 77,
                    tid: 78,
                    comm: Some("sle\nep".into()),
                    namespaces: vec![],
                }),
            },
            Outcome::Success(0),
            &[],
        ),
        event(Operation::Setns { fd: -1, nstype: 0, target: None }, Outcome::Failure(libc::EBADF), &[]),
        event(
            Operation::Clone {
                flags: Some(NsKind::Pid.clone_flag()),
                child: Some(CloneChild {
                    pid: 4243,
                    tid: 4243,
                    pids: vec![4243, 1],
                    ppid: None,
                    cgroup: None,
                }),
            },
            Outcome::Success(4243),
            &[(NsSlot::In(NsKind::Pid), 4_026_532_301)],
        ),
        event(
            Operation::Chroot { path: PathText::Whole("/srv/ja\"il\u{1b}".into()) },
            Outcome::Success(0),
            &[],
        ),
        event(
            Operation::PivotRoot {
                new_root: PathText::Cut("/very/long".into()),
                put_old: PathText::Unreadable,
                new_root_at: Some(resolved("very/long", true)),
                put_old_at: None,
            },
            Outcome::Failure(libc::EFAULT),
            &[],
        ),
    ];
    let mut lines = lines;
    let moved = |before, after| Some(Directory { moved: true, before, after });
    let gone = ResolvedPath { detached: true, ..resolved("/a\n", false) };
    lines[6].root = moved(resolved("/", false), resolved("/srv/jail", false));
    lines[6].compat = Some(true);
    lines[6].cwd = moved(resolved("b/c", true), gone);
    let mut stopped = lines[1].clone();
    stopped.denied = true;
    let lines = [&lines[..], &[stopped]].concat();
    let text: Vec<_> = lines.iter().map(|event| text(event, TextStyle::PLAIN)).collect();
    insta::assert_snapshot!(format!("{}\n{}", header(TextStyle::PLAIN), text.join("\n")), @r#"
    TIME                     PID    UID  COMM             CALL
    11:06:40.123456         4242      0  unshare          unshare(CLONE_NEWNS|CLONE_NEWNET) = 0  mnt 4026531837→4026532300  net 4026531838→4026532208
    11:06:40.123456         4242      0  unshare          unshare(CLONE_NEWUSER) = -1 EPERM (Operation not permitted)
    11:06:40.123456         4242      0  unshare          setns(3<net:[4026532208] /run/netns/t>, CLONE_NEWNET) = 0  net 4026531838→4026532208
    11:06:40.123456         4242      0  unshare          setns(3<pid 77/78 "sle\nep">, CLONE_NEWUTS|CLONE_NEWNET) = 0
    11:06:40.123456         4242      0  unshare          setns(-1, 0) = -1 EBADF (Bad file descriptor)
    11:06:40.123456         4242      0  unshare          clone(CLONE_NEWPID) = 4243[1]  pid 4026531839→4026532301
    11:06:40.123456         4242      0  unshare          chroot("/srv/ja\"il\u{1b}") = 0  (32-bit)  root /→/srv/jail  cwd .../b/c→"/a\n" (detached)
    11:06:40.123456         4242      0  unshare          pivot_root("/very/long"...<.../very/long>, <unreadable>) = -1 EFAULT (Bad address)
    11:06:40.123456         4242      0  unshare          unshare(CLONE_NEWUSER) = -1 EPERM (stopped by seccomp)
    "#);
}

#[test]
fn arguments_that_do_not_match_the_result_are_marked_as_of_the_entry() {
    let marked = |path: &str, after: ResolvedPath| {
        let path = PathText::Whole(path.into());
        let mut event = event(Operation::Chroot { path }, Outcome::Success(0), &[]);
        let before = |path| resolved(path, false);
        event.root = Some(Directory { moved: true, before: before("/jail"), after });
        event.cwd =
            Some(Directory { moved: false, before: before("/jail/home"), after: before("/jail/home") });
        let without = text(&event, TextStyle::PLAIN).contains("as at entry");
        event.seen = Some(Seen::Entry);
        assert!(!without);
        text(&event, TextStyle::PLAIN).contains("  (path as at entry)")
    };
    assert!(
        !marked("/a/b", resolved("/jail/a/b", false)) && !marked("//a/./b/", resolved("/jail/a/b", false))
    );
    assert!(!marked(".", resolved("/jail/home", false)) && !marked("a", resolved("/jail/home/a", false)));
    assert!(marked("/a/b", resolved("/jail/a/c", false)) && marked("/a", resolved("/a", false)));
    assert!(marked("a", resolved("/jail/a", false)));
    // Cannot be decided.
    assert!(!marked("/a/..", resolved("/jail/b", false)) && !marked("/a", resolved("b/c", true)));
    // A process whose namespaces differ from those that were joined.
    let marked_if_joined = |ino| {
        let namespaces = vec![NsId::new(NsKind::Net, 4, ino)];
        let target = Some(SetnsTarget::Process { pid: 7, tid: 7, comm: None, namespaces });
        let nstype = NsKind::Net.clone_flag();
        let changed = [(NsSlot::In(NsKind::Net), 4_026_532_208)];
        text(
            &event(Operation::Setns { fd: 3, nstype, target }, Outcome::Success(0), &changed),
            TextStyle::PLAIN,
        )
    };
    assert!(
        !marked_if_joined(4_026_532_208).contains("as at entry")
            && marked_if_joined(5).contains("  (target as at entry)")
    );
}

#[test]
fn names_with_wide_or_combining_characters_are_aligned() {
    let column = |comm: &str| {
        let mut event = event(Operation::Unshare { flags: 0 }, Outcome::Success(0), &[]);
        event.process.comm = comm.into();
        let line = text(&event, TextStyle::PLAIN);
        line[..line.find("unshare(").expect("the call")].width()
    };
    assert_eq!([column("sh"), column("名前"), column("e\u{301}\u{301}e")], [column(""); 3]);
}

#[test]
fn unknown_fields_are_left_out() {
    let changed = [(NsSlot::In(NsKind::Net), 4_026_532_208)];
    let scans = Scans { within: Duration::from_secs(1), is_new: true };
    let child = CloneChild { pid: 4243, tid: 4243, pids: vec![], ppid: None, cgroup: None };
    let mut lines = [
        event(Operation::Change { scans: None }, Outcome::Unseen, &changed),
        event(Operation::Change { scans: Some(scans) }, Outcome::Unseen, &changed),
        event(Operation::Clone { flags: None, child: Some(child) }, Outcome::Success(4243), &changed),
    ];
    let mut unknown = lines[1].clone();
    *unknown.before.get_mut(NsSlot::In(NsKind::Net)) = None;
    (lines[0].process.uid, lines[0].compat, lines[0].process.comm) = (None, None, Text::new());
    let lines = lines.iter().chain([&unknown]);
    let text: Vec<_> = lines.map(|event| text(event, TextStyle::PLAIN)).collect();
    insta::assert_snapshot!(text.join("\n"), @"
    11:06:40.123456         4242      ?                   change  net 4026531838→4026532208
    11:06:40.123456         4242      0  unshare          change (new process)  net 4026531838→4026532208
    11:06:40.123456         4242      0  unshare          clone(?) = 4243  net 4026531838→4026532208
    11:06:40.123456         4242      0  unshare          change (new process)  net ?→4026532208
    ");
}

#[test]
fn nested_thread_shows_all_its_ids_and_ascii_is_ascii() {
    let mut nested =
        event(Operation::Unshare { flags: 0 }, Outcome::Success(0), &[(NsSlot::PidForChildren, 1)]);
    nested.process.tid = 4300;
    nested.process.pids = vec![4242, 17, 1];
    let text = text(&nested, TextStyle { unicode: false, ..TextStyle::PLAIN });
    assert!(text.is_ascii());
    insta::assert_snapshot!(text, @"11:06:40.123456  4242/4300[17 1]      0  unshare          unshare(0) = 0  pid_for_children 4026531843->1");
}
