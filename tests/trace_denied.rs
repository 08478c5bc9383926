//! `nsprobe trace --denied`: calls that a seccomp filter of the process stops before they are executed.

use crate::schema::{admitted, closed};
use crate::support::abuse::Abuse;
use crate::support::programs::{Arg, Program};
use crate::support::seccomp::{Rule, confine};
use crate::support::stage::wait;
use crate::support::trace::{Stream, each_plan, one_plan};
use crate::support::tracing::Tracing;
use crate::support::wire::before;
use libc::{
    CLONE_FS, CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS, O_RDONLY, SIGCHLD, SYS_chroot, SYS_clone,
    SYS_clone3, SYS_open, SYS_pivot_root, SYS_setns, SYS_unshare,
};
use nsprobe::document::schemas;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

fn flags(flags: i32) -> Arg {
    i64::from(flags).into()
}

/// `struct clone_args` with these flags.
fn clone_args(flags: i32) -> Arg {
    let words = [flags.cast_unsigned().into(), 0, 0, 0, SIGCHLD.unsigned_abs().into(), 0, 0, 0, 0, 0, 0_u64];
    Arg::Data(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// A program whose filter refuses most of its calls.
fn confined() -> Program {
    let mut program = Program::default();
    // A call that the kernel itself refuses, before there is a filter.
    program.call(SYS_setns, [(-1).into(), 0.into()]);
    let uts = program.call(SYS_open, ["/proc/self/ns/uts".into(), flags(O_RDONLY)]);
    let rule = |number, second, errno| Rule { number, second, errno };
    let rules = [
        rule(SYS_unshare, None, libc::EPERM),
        rule(SYS_setns, Some(CLONE_NEWUTS.unsigned_abs()), libc::EACCES),
        rule(SYS_chroot, None, libc::ENOSYS),
        rule(SYS_pivot_root, None, libc::EPERM),
        rule(SYS_clone3, None, libc::ENOSYS),
    ];
    confine(&mut program, &rules);
    program.call(SYS_unshare, [flags(CLONE_NEWUTS | CLONE_NEWNET)]);
    program.call(SYS_setns, [uts, flags(CLONE_NEWUTS)]);
    program.call(SYS_chroot, ["/srv".into()]);
    program.call(SYS_pivot_root, ["/new".into(), "/new/old".into()]);
    let new_uts = clone_args(CLONE_NEWUTS);
    program.call(SYS_clone3, [new_uts, 88.into()]);
    // A call that passes the filter, and the kernel refuses.
    program.call(SYS_setns, [(-2).into(), flags(CLONE_NEWNET)]);
    program.call(SYS_clone, [flags(CLONE_NEWUSER | CLONE_FS), 0.into(), 0.into(), 0.into(), 0.into()]);
    program
}

/// The calls that are reported for it.
fn record(plan: &str, args: &[&str], program: &Path) -> (Stream, Vec<Value>) {
    let program = program.to_str().expect("UTF-8");
    let stream = Stream::record(&[&["--source", plan], args, &["--", program]].concat());
    assert_eq!(stream.code, Some(0), "{}", stream.stderr);
    assert_eq!(stream.lines[0]["source"]["missing"], json!([]), "{}", stream.stderr);
    let reported =
        stream.events().map(|event| json!([event["event"], event["errno"], event["denied"]])).collect();
    (stream, reported)
}

#[test]
fn calls_stopped_by_seccomp_are_reported_once_as_denied() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let program = confined().install(dir.path(), "confined");
        let (stream, reported) = record(plan, &["--denied"], &program);
        let expected = [
            json!(["setns", "EBADF", null]),
            json!(["unshare", "EPERM", "seccomp"]),
            json!(["setns", "EACCES", "seccomp"]),
            json!(["chroot", "ENOSYS", "seccomp"]),
            json!(["pivot_root", "EPERM", "seccomp"]),
            json!(["clone", "ENOSYS", "seccomp"]),
            json!(["setns", "EBADF", null]),
            json!(["clone", "EINVAL", null]),
        ];
        assert_eq!(reported, expected, "{}", stream.stderr);
        let start = &stream.lines[0]["source"];
        assert!(start["cost"].as_str().is_some_and(|cost| cost.contains("system call")), "{start}");

        let events: Vec<&Value> = stream.events().collect();
        assert_eq!(events[1]["args"]["flags"], json!(["CLONE_NEWUTS", "CLONE_NEWNET"]));
        assert_eq!(events[2]["args"]["flags"], json!(["CLONE_NEWUTS"]));
        assert_eq!(events[2]["target"]["ino"], before(events[2], "uts"), "{}", events[2]);
        assert_eq!(events[3]["args"]["path"], "/srv");
        let roots = ["new_root", "put_old"].map(|root| &events[4]["args"][root]);
        assert_eq!(roots, ["/new", "/new/old"]);
        assert_eq!(events[5]["args"]["flags"], json!(["CLONE_NEWUTS"]));
        let schema = closed(schemas::TRACE);
        for line in &stream.lines {
            admitted(&schema, line, &line.to_string());
        }
        for event in &events[1..6] {
            assert_eq!(event["process"]["comm"], "confined");
            assert_eq!((&event["result"], &event["duration_ns"]), (&json!(-1), &Value::Null));
            assert_eq!((&event["changed"], event.get("unsure")), (&json!({}), None));
            assert!(before(event, "mnt").is_u64(), "{event}");
        }

        // By kind: setns(-1), whose kind is not known, and the user namespace do not match.
        let (_, reported) = record(plan, &["--denied", "--event", "setns,clone", "--kind", "uts"], &program);
        assert_eq!(reported, [expected[2].clone(), expected[5].clone()]);

        let (stream, reported) = record(plan, &[], &program);
        assert_eq!(reported, [expected[0].clone(), expected[6].clone(), expected[7].clone()]);
        let start = &stream.lines[0]["source"];
        assert!(start["unseen"].to_string().contains("--denied"), "{start}");
        assert_eq!(start["cost"].is_null(), plan != "tracepoints", "{start}");
    });
}

/// A program that calls chroot with a path whose page does not exist until its child, which waits for a byte of
/// input, has put it there: `userfaultfd(2)`. Then it makes a call that its filter stops.
fn blocked() -> Program {
    const PAGE: u64 = 0x1000_0000;
    const API: i64 = 0xc018_aa3f;
    const REGISTER: i64 = 0xc020_aa00;
    const ZEROPAGE: i64 = 0xc020_aa04;
    let words = |words: [u64; 4]| Arg::Data(words.iter().flat_map(|word| word.to_le_bytes()).collect());
    let mut program = Program::default();
    // MAP_PRIVATE, MAP_ANONYMOUS and MAP_FIXED; the sixth argument is 0, as it was at first.
    program.call(libc::SYS_mmap, [Arg::Number(PAGE), 4096.into(), 3.into(), 0x32.into(), (-1).into()]);
    let faults = program.call(libc::SYS_userfaultfd, [0.into()]);
    program.call(libc::SYS_ioctl, [faults.clone(), API.into(), words([0xaa, 0, 0, 0])]);
    program.call(libc::SYS_ioctl, [faults.clone(), REGISTER.into(), words([PAGE, 4096, 1, 0])]);
    confine(&mut program, &[Rule { number: SYS_unshare, second: None, errno: libc::EPERM }]);
    program.call(SYS_clone, [flags(SIGCHLD), 0.into(), 0.into(), 0.into(), 0.into()]);
    program.child(|child| {
        child.call(libc::SYS_read, [0.into(), " ".into(), 1.into()]);
        child.call(libc::SYS_ioctl, [faults, ZEROPAGE.into(), words([PAGE, 4096, 0, 0])]);
    });
    program.call(SYS_chroot, [Arg::Number(PAGE)]);
    program.call(SYS_unshare, [flags(CLONE_NEWUTS)]);
    program
}

#[test]
fn a_call_that_was_under_way_at_the_start_is_not_taken_for_one_that_was_stopped() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let program = blocked().install(dir.path(), "blocked");
        let mut running = Command::new(program).stdin(Stdio::piped()).spawn().expect("it starts");
        let call = format!("/proc/{}/syscall", running.id());
        let is_blocked = || std::fs::read_to_string(&call).is_ok_and(|text| text.starts_with("161 "));
        assert!(wait(|| is_blocked().then_some(())).is_some(), "it is not in chroot");
        let limits = ["--count", "1", "--duration", "60s"];
        let tracing =
            Tracing::start(&[&["--denied", "--comm", "blocked", "--source", plan][..], &limits].concat());
        assert!(is_blocked(), "it was under way at the start");
        running.stdin.take().expect("a pipe").write_all(b"x").expect("it reads");
        assert!(running.wait().expect("it ends").success());
        let stream = Stream::check(tracing.end());
        let reported: Vec<Value> =
            stream.events().map(|event| json!([event["event"], event["denied"]])).collect();
        // chroot has failed with ENOENT, after its entry was not seen.
        assert_eq!(reported, [json!(["unshare", "seccomp"])], "{}", stream.stderr);
    });
}

#[test]
fn calls_without_room_to_be_recorded_are_counted() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let program = confined().install(dir.path(), "crowded");
        let mut tracing = Tracing::start(&[
            "--denied", "--room", "4", "--comm", "crowded", "--source", plan, "--buffer", "16M",
        ]);
        let mut until = |word: &str| {
            let has_come = || {
                assert!(Command::new(&program).status().expect("it starts").success());
                std::iter::from_fn(|| tracing.line_now()).any(|line| line.contains(word)).then_some(())
            };
            assert!(wait(has_come).is_some(), "{word} does not appear");
        };
        let mut standing = Abuse::start("stand 20");
        assert_eq!(standing.report(), "standing");
        until(r#""stage":"denied_full""#);
        drop(standing);
        until(r#""denied":"seccomp""#);
        // Who executes a program has another number since, and leaves nothing under the one before.
        let mut leaving = Abuse::start("leave-exec 8");
        assert_eq!(leaving.report(), "done");
        leaving.end();
        until(r#""denied":"seccomp""#);
    });
}

#[test]
fn denied_is_refused_where_it_cannot_be_reported() {
    let _limit = crate::support::time_limit();
    if !crate::support::root() {
        return;
    }
    for plan in ["perf", "proc"] {
        let ran = crate::support::run(&["trace", "--denied", "--source", plan, "--duration", "1ms"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("--denied"), "{}", ran.stderr);
    }
}
