//! New tasks in `nsprobe trace`: those in other namespaces than their parent, those that could not be created, and
//! the parent and control group of each child.

use crate::support::cgroup::Cgroup;
use crate::support::programs::{Arg, Program};
use crate::support::stage::Staged;
use crate::support::trace::{Stream, each_plan, one_plan};
use crate::support::wire::{after, changed};
use crate::support::{proc, skipped};
use libc::{
    CLONE_NEWPID, CLONE_NEWUTS, CLONE_PARENT, O_RDONLY, SIGCHLD, SYS_clone, SYS_clone3, SYS_fork, SYS_open,
    SYS_unshare, SYS_vfork, SYS_wait4,
};
use serde_json::{Value, json};

/// `CLONE_INTO_CGROUP` of linux/sched.h, which libc has as an int, for which it is too large.
const INTO_CGROUP: u64 = 1 << 33;

/// `struct clone_args` with flags and the signal at the end; a control group's descriptor follows.
fn clone_args(flags: u64, signal: i32) -> Vec<u8> {
    let mut words = [0_u64; 8];
    (words[0], words[4]) = (flags, signal.unsigned_abs().into());
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn wait(program: &mut Program) {
    program.call(SYS_wait4, [(-1).into(), 0.into(), 0.into(), 0.into()]);
}

#[test]
fn tasks_that_begin_in_another_pid_or_time_namespace_are_reported() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let changes = |stream: &Stream| -> Vec<Value> {
            stream.of("clone").iter().map(|event| changed(event)).collect()
        };
        let script = "unshare --pid --fork true; unshare --time --fork true; true";
        let all = Stream::record(&["--source", plan, "--", "sh", "-c", script]);
        let mut expected = vec![json!(["pid"])];
        // A kernel may have no time namespaces.
        if all.events().any(|event| changed(event) == json!(["time_for_children"])) {
            expected.push(json!(["time"]));
        }
        assert_eq!(changes(&all), expected);
        let [entering, ..] = all.of("clone")[..] else { panic!("a clone") };
        assert_eq!(
            (&entering["args"]["flags"].to_string().contains("CLONE_NEW"), &entering["child"]["pids"][1]),
            (&false, &json!(1))
        );
        let [unshare, ..] = all.of("unshare")[..] else { panic!("an unshare") };
        assert_eq!(after(entering, "pid"), after(unshare, "pid_for_children"));
        let pid = Stream::record(&["--source", plan, "--kind", "pid", "--", "sh", "-c", script]);
        assert_eq!(changes(&pid), [json!(["pid"])]);
        // And by the namespace, which the caller is in neither before nor after.
        let mut staged = Staged::sh("exec unshare --pid --fork --mount-proc sleep 1000");
        let init = staged.wait_for("sleep");
        let namespace = proc::namespace(init, "pid").expect("a namespace");
        let script = format!("nsenter --target {init} --pid true; unshare --pid --fork true; true");
        let args = [
            "--source",
            plan,
            "--event",
            "clone",
            "--ns",
            &format!("pid:{namespace}"),
            "--",
            "sh",
            "-c",
            &script,
        ];
        let stream = Stream::record(&args);
        let [entering] = stream.of("clone")[..] else { panic!("one clone: {}", stream.stderr) };
        assert_eq!((after(entering, "pid"), changed(entering)), (json!(namespace), json!(["pid"])));
    });
}

#[test]
fn tasks_that_cannot_be_created_are_reported_by_every_call() {
    let _limit = crate::support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let mut program = Program::default();
    program.call(SYS_unshare, [i64::from(CLONE_NEWPID).into()]);
    // The first is the init of the namespace, without which there can be no other.
    program.call(SYS_fork, []);
    program.end_child();
    wait(&mut program);
    program.call(SYS_fork, []);
    program.end_child();
    program.call(SYS_vfork, []);
    program.end_child();
    program.call(SYS_clone, [i64::from(SIGCHLD).into(), 0.into(), 0.into(), 0.into(), 0.into()]);
    program.end_child();
    program.call(SYS_clone3, [Arg::Data(clone_args(0, SIGCHLD)), 64.into()]);
    program.end_child();
    let program = program.install(dir.path(), "forks").display().to_string();
    each_plan(|plan| {
        let reported = |filter: &[&str]| -> Vec<Value> {
            let args = [&["--source", plan, "--event", "clone"], filter, &["--", &program]].concat();
            let stream = Stream::record(&args);
            let event = |event: &&Value| json!([event["errno"], event["args"]["flags"]]);
            stream.events().map(|it| event(&it)).collect()
        };
        let failed = |flags: &[&str]| json!(["ENOMEM", flags]);
        let expected = [failed(&[]), failed(&["CLONE_VM", "CLONE_VFORK"]), failed(&[]), failed(&[])];
        assert_eq!(reported(&["--failed"]), expected);
        assert_eq!(reported(&["--ok"]), [json!([null, []])]);
        assert_eq!(reported(&["--failed", "--kind", "pid"]), expected);
        assert_eq!(reported(&["--kind", "net"]), [Value::Null; 0]);
    });
}

#[test]
fn children_are_reported_with_parent_and_control_group() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let Some(group) = Cgroup::make("of the child") else {
            return skipped("no hierarchy of control groups of version 2 is mounted");
        };
        let dir = tempfile::tempdir().expect("a directory");
        let mut program = Program::default();
        let flags = u64::from(CLONE_NEWUTS.unsigned_abs());
        let fd =
            program.call(SYS_open, [group.0.to_str().expect("UTF-8").into(), i64::from(O_RDONLY).into()]);
        drop(fd);
        // The lowest free descriptor of a program: its only file.
        let into = |flags: u64, signal: i32| {
            let args =
                [clone_args(flags | INTO_CGROUP, signal), vec![0; 16], 3_u64.to_le_bytes().to_vec()].concat();
            [Arg::Data(args), 88.into()]
        };
        program.call(SYS_clone3, into(flags, SIGCHLD));
        program.end_child();
        wait(&mut program);
        program.call(SYS_clone3, into(flags | u64::from(CLONE_PARENT.unsigned_abs()), 0));
        program.end_child();
        program.call(SYS_clone3, [Arg::Data(clone_args(flags, SIGCHLD)), 64.into()]);
        program.end_child();
        wait(&mut program);
        let program = program.install(dir.path(), "clones").display().to_string();
        let script = format!("exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; {program}; true");
        let stream = Stream::record(&["--source", plan, "--event", "clone", "--", "sh", "-c", &script]);
        let [own, parents, plain] = stream.of("clone")[..] else {
            panic!("three clones: {:?}", stream.lines)
        };
        for (event, parent) in [(own, "pid"), (parents, "ppid"), (plain, "pid")] {
            assert_eq!(event["child"]["ppid"], event["process"][parent], "{event}");
        }
        for event in [own, parents] {
            let path = event["child"]["cgroup"].as_str().expect("a path");
            assert!(path.ends_with("/of the child"), "{path}");
            assert_ne!(event["child"]["cgroup"], event["process"]["cgroup"]);
        }
        assert_eq!(plain["child"]["cgroup"], plain["process"]["cgroup"]);
    });
}

#[test]
fn threads_that_the_kernel_creates_for_io_uring_are_no_clones() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let mut program = Program::default();
        // struct io_uring_params: the flags are its third word; IORING_SETUP_SQPOLL asks for a thread.
        let mut params = vec![0_u8; 120];
        params[8] = 2;
        program.call(libc::SYS_io_uring_setup, [4.into(), Arg::Data(params)]);
        program.call(SYS_clone, [i64::from(SIGCHLD).into(), 0.into(), 0.into(), 0.into(), 0.into()]);
        program.child(|_| {});
        wait(&mut program);
        // That thread would outlive the one that calls exit(2).
        program.call(libc::SYS_exit_group, [0.into()]);
        let program = program.install(dir.path(), "rings");
        let program = program.to_str().expect("UTF-8");
        let stream = Stream::record(&["--source", plan, "--clone", "all", "--", program]);
        let clones = stream.events().filter(|event| event["process"]["comm"] == "rings");
        let flags: Vec<&Value> = clones.map(|event| &event["args"]["flags"]).collect();
        assert_eq!(flags, [&json!([])]);
    });
}
