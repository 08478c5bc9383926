//! The outcome of a call, as its caller sees it: results, errors by name and text, and restarted calls.

use crate::support::trace::{Stream, one_plan};
use crate::support::wire::changed;
use crate::support::{nsprobe, skipped};
use serde_json::{Value, json};
use std::process::Command;

fn has_perl() -> bool {
    let found = Command::new("perl").arg("-v").output().is_ok();
    if !found {
        skipped("no perl(1)");
    }
    found
}

#[test]
fn every_error_has_the_text_of_the_c_library() {
    let _limit = crate::support::time_limit();
    if !has_perl() {
        return;
    }
    let script = r#"for (1..140) { $! = $_; print "$_ $!\n" }"#;
    let ran = Command::new("perl").args(["-e", script]).env("LC_ALL", "C").output().expect("perl starts");
    let mut known = 0;
    for line in String::from_utf8(ran.stdout).expect("text").lines() {
        let (errno, text) = line.split_once(' ').expect("a number and a text");
        let errno = errno.parse().expect("a number");
        match nsprobe::model::errno_text(errno) {
            Some(ours) => {
                assert_eq!(ours, text, "{errno}");
                known += 1;
            }
            None => assert!(text.starts_with("Unknown error"), "{errno}: {text}"),
        }
    }
    assert!(known > 120, "{known}");
}

/// Perl that repeats clone(2) while its child sends it signals, whose handler restarts interrupted calls; and writes
/// the number of failed calls.
const INTERRUPTED: &str = r#"
    use POSIX; my $me = $$; my ($made, $failed) = (0, 0);
    sigaction(SIGUSR1, POSIX::SigAction->new(sub {}, POSIX::SigSet->new, SA_RESTART)) or die;
    my @storm = map { my $storm = fork(); if (!$storm) { kill("USR1", $me) while getppid() == $me; exit } $storm } 1 .. 2;
    while ($made < 200) {
        my $pid = syscall(56, 0x04000000 | 17, 0, 0, 0, 0);
        if (!$pid) { POSIX::_exit(0) }
        if ($pid < 0) { $failed++ } else { $made++; waitpid($pid, 0) }
    }
    kill("KILL", @storm); waitpid($_, 0) for @storm; print STDERR "failed=$failed\n";
"#;

/// Compares the calls of [`INTERRUPTED`] with its own count, and returns whether some were restarted.
fn check_restarts(stream: &Stream) -> bool {
    let failed = stream.stderr.lines().find_map(|line| line.strip_prefix("failed="));
    let (mut restarted, mut made, mut refused) = (0, 0, 0);
    for event in stream.events() {
        match event["restarted"].as_str() {
            Some(why) => {
                restarted += 1;
                assert_eq!(
                    (why, &event["result"], event.get("errno")),
                    ("ERESTARTNOINTR", &Value::Null, None)
                );
            }
            None if event["errno"].is_null() => made += 1,
            None => refused += 1,
        }
    }
    assert_eq!((Some(refused.to_string().as_str()), made), (failed, 200), "as the program counted them");
    restarted > 0
}

#[test]
fn a_call_that_the_kernel_makes_again_has_not_failed() {
    let _limit = crate::support::time_limit();
    if !has_perl() {
        return;
    }
    one_plan(|plan| {
        let record = |filter: &[&str]| {
            let command = ["--", "perl", "-e", INTERRUPTED];
            Stream::record(&[&["--source", plan, "--event", "clone"], filter, &command].concat())
        };
        // A signal must arrive between the entry of a call and the kernel's own check for one.
        let restarted = (0..10).any(|_| check_restarts(&record(&[])));
        if !restarted {
            skipped("no signal came in the middle of a call");
        }
        for filter in ["--failed", "--ok"] {
            let reported =
                record(&[filter]).events().filter(|event| event.get("restarted").is_some()).count();
            assert_eq!(reported, 0, "{filter}");
        }
    });
}

#[test]
fn clone_returns_the_pid_that_its_caller_got() {
    let _limit = crate::support::time_limit();
    if !has_perl() {
        return;
    }
    one_plan(|plan| {
        // Two pid namespaces deep: the caller gets the pid in its own, and makes the innermost.
        let script = "my $pid = syscall(56, 0x20000000 | 17, 0, 0, 0, 0); if (!$pid) { exit } waitpid($pid, 0); \
                      print STDERR qq(returned=$pid\n)";
        let inner = ["unshare", "--pid", "--fork", "perl", "-e", script];
        let stream = Stream::record(&[&["--source", plan, "--event", "clone", "--"][..], &inner].concat());
        let returned =
            stream.stderr.lines().find_map(|line| line.strip_prefix("returned=")).expect("a number");
        let event = stream.events().find(|event| event["process"]["comm"] == "perl").expect("perl's clone");
        assert_eq!(event["result"].to_string(), returned);
        let pids = event["child"]["pids"].as_array().expect("ids");
        assert_eq!((pids.len(), &pids[1].to_string()[..], &pids[2]), (3, returned, &json!(1)));
        assert_eq!(
            (&pids[0], &event["child"]["pid"]),
            (&event["child"]["tid"], &pids[0]),
            "and the initial one"
        );
    });
}

#[test]
fn what_is_not_mounted_is_named_and_does_not_end_a_trace_that_can_do_without() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let inside = |mounts: &str, args: &str| {
            let binary = nsprobe().get_program().to_owned();
            let script = format!("{mounts} && exec {} trace {args}", binary.to_str().expect("UTF-8"));
            Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().expect("unshare starts")
        };
        // That is, without its `sys`.
        let args = format!("--json --quiet --source {plan} -- unshare --uts true");
        let ran = inside("mount -t proc -o subset=pid nsprobe /proc", &args);
        if String::from_utf8_lossy(&ran.stderr).contains("mount:") {
            return skipped("proc has no subset=pid");
        }
        let stream = Stream::check(ran.into());
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
        assert_eq!(stream.lines[0]["kernel"], release.trim_end());
        assert_eq!(stream.of("unshare").len(), 1);
        for (source, missing) in
            [(plan, "/sys/kernel/btf/vmlinux"), ("perf", "/sys/devices/system/cpu/online")]
        {
            let ran = inside("umount --lazy /sys", &format!("--source {source} --duration 1ms"));
            let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.code() == Some(2) && stderr.contains(missing), "{source}: {stderr}");
        }
    });
}

#[test]
fn a_pid_is_that_of_the_process_where_nsprobe_runs() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let binary = nsprobe().get_program().to_owned();
        let binary = binary.to_str().expect("UTF-8");
        let inside = |script: &str| {
            let args = ["--pid", "--fork", "--mount-proc", "sh", "-c", script];
            Command::new("unshare").args(args).output().expect("unshare starts")
        };
        // The pids that the probe compares are not those of this pid namespace.
        let ran = inside(&format!("exec {binary} trace --source {plan} --pid 1 --duration 1ms"));
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(2) && stderr.contains("initial pid namespace"), "{stderr}");
        // Perf has the pids of the process that opens it.
        let script = format!(
            "(until [ -e $0 ]; do sleep 0.02; done; exec unshare --uts true) & \
             {binary} trace --quiet --json --pid $! --count 1 --duration 60s"
        );
        let dir = tempfile::tempdir().expect("a directory");
        let go = dir.path().join("go");
        let script = script.replace("$0", go.to_str().expect("UTF-8"));
        let script = format!("({script} | (read start; echo \"$start\"; touch {}; cat))", go.display());
        let stream = Stream::check(inside(&script).into());
        assert_eq!(stream.lines[0]["source"]["name"], "perf", "{}", stream.lines[0]);
        let changes: Vec<Value> = stream.events().map(changed).collect();
        assert_eq!(changes, [json!(["uts"])]);
    });
}
