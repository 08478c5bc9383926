//! SIGINT, SIGTERM and `--duration` end every command within a second, whatever hangs.

use crate::support::trace::one_plan;
use crate::support::waits::beside_server;
use crate::support::{self, Ran, nsprobe, root, stage};
use crate::trace_output::full_pipe;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The time that a command may take to end.
const LIMIT: Duration = Duration::from_secs(1);

/// The number of attempts if the machine is busy.
const ATTEMPTS: u32 = 8;

/// The time that nsprobe takes here for next to nothing: more than some milliseconds only on a slow machine.
fn minimum() -> Duration {
    let began = Instant::now();
    let ran = nsprobe().arg("--version").output().expect("nsprobe starts");
    assert!(ran.status.success());
    began.elapsed()
}

/// Checks that the duration that `attempt` measures is at most a second, unless the machine is slow or busy.
pub fn within_a_second(what: &str, mut attempt: impl FnMut() -> Duration) {
    let mut took = Vec::new();
    for _ in 0..ATTEMPTS {
        let limit = LIMIT + 10 * minimum();
        took.push(attempt());
        if took.iter().any(|&took| took < limit) {
            return;
        }
    }
    panic!("{what}: {took:?}");
}

/// Starts a trace whose output nobody reads, ends it, and returns the duration of its end.
fn end_of_trace(args: &[&str], signal: Option<Signal>) -> Duration {
    let (full, _reader) = full_pipe();
    let mut command = nsprobe();
    command.args(["trace", "--json"]).args(args);
    let mut child = command.stdout(full).stderr(Stdio::piped()).spawn().expect("nsprobe starts");
    let mut messages = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut text = String::new();
    // It has begun.
    messages.read_line(&mut text).expect("text");
    let began = Instant::now();
    if let Some(signal) = signal {
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it runs");
    }
    let status = child.wait().expect("it ends");
    let took = began.elapsed();
    messages.read_to_string(&mut text).expect("text");
    assert_eq!(status.code(), Some(2), "{args:?}: {text}");
    let reason = if signal.is_some() { "interrupted: " } else { "duration: " };
    assert!(text.contains(reason) && text.contains("stdout: nobody reads it"), "{args:?}: {text}");
    took
}

#[test]
fn a_trace_that_nobody_reads_ends_within_a_second() {
    let _limit = support::time_limit();
    let ends = |args: &[&str], signal| {
        within_a_second(&format!("{args:?} {signal}"), || end_of_trace(args, Some(signal)));
    };
    one_plan(|plan| {
        ends(&["--source", plan], Signal::SIGINT);
        ends(&["--source", plan, "--lifecycle"], Signal::SIGTERM);
        let duration = Duration::from_millis(100);
        let args = ["--source", plan, "--duration", "100ms"];
        within_a_second(&format!("{args:?}"), || end_of_trace(&args, None).saturating_sub(duration));
    });
    ends(&["--source", "proc"], Signal::SIGTERM);
}

#[test]
fn a_snapshot_that_nobody_reads_ends_within_a_second() {
    let _limit = support::time_limit();
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let before = dir.path().join("before.json");
    let document = support::run(&["list", "--json"]).stdout;
    std::fs::write(&before, document).expect("a file");
    let before = before.to_str().expect("UTF-8");
    for (args, signal) in [
        (&["list"][..], Signal::SIGTERM),
        (&["tree"], Signal::SIGINT),
        (&["diff", "--json", before], Signal::SIGTERM),
        (&["doctor"], Signal::SIGINT),
    ] {
        within_a_second(&args.join(" "), || {
            let (full, _reader) = full_pipe();
            let mut child =
                nsprobe().args(args).stdout(full).stderr(Stdio::null()).spawn().expect("nsprobe starts");
            let path = format!("/proc/{}/wchan", child.id());
            let stands = || std::fs::read_to_string(&path).ok().filter(|wait| wait.contains("pipe_write"));
            assert!(stage::wait(stands).is_some(), "{args:?}: it writes nothing");
            let began = Instant::now();
            kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it runs");
            let status = child.wait().expect("it ends");
            assert_eq!(status.signal(), Some(signal as i32), "{args:?}");
            began.elapsed()
        });
    }
}

/// Traces `program`, which is not executed, and returns the outcome and the duration of its end.
fn end_before_command(plan: &str, program: &Path, signal: Option<Signal>) -> (Ran, Duration) {
    // Not to pipes: the child that should execute the program has them open until its server's end.
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| File::create(dir.path().join(name)).expect("a file");
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("text");
    let mut command = nsprobe();
    command.args(["trace", "--json", "--source", plan]);
    command.args(signal.is_none().then_some(["--duration", "100ms"]).into_iter().flatten());
    command.arg("--").arg(program).stdout(file("stdout")).stderr(file("stderr"));
    let mut child = command.spawn().expect("nsprobe starts");
    let pid = child.id();
    // The child that should execute it exists.
    let executes = || stage::family(pid).into_iter().find(|&other| other != pid);
    assert!(stage::wait(executes).is_some(), "no command: {}", text("stderr"));
    let began = Instant::now();
    if let Some(signal) = signal {
        kill(Pid::from_raw(pid.cast_signed()), signal).expect("it runs");
    }
    let status = child.wait().expect("it ends");
    let took = began.elapsed();
    (Ran { code: status.code(), stdout: text("stdout"), stderr: text("stderr") }, took)
}

#[test]
fn a_command_on_a_silent_server_is_not_waited_for() {
    let _limit = support::time_limit();
    stage::adopt_orphans();
    beside_server(0, |point, server| {
        let program = point.join("program");
        server.stop_answering();
        let mut left = Vec::new();
        let mut attempt = |plan: &str, signal: Option<Signal>| {
            let what = format!("{plan} {signal:?}");
            within_a_second(&what, || {
                let (ran, took) = end_before_command(plan, &program, signal);
                let Ran { code, stdout, stderr } = ran;
                assert_eq!(code, Some(126), "{what}: {stderr}");
                let says = format!("{}: not started: executing", program.display());
                assert!(stderr.contains(&says), "{what}: {stderr}");
                let end: Value = serde_json::from_str(stdout.lines().last().expect("an end")).expect("JSON");
                assert_eq!((&end["type"], &end["reason"]), (&"end".into(), &"command not started".into()));
                let (_, pid) = stderr.split_once("(process ").expect("the process that is left");
                left.push(pid.split(' ').next().and_then(|pid| pid.parse::<i32>().ok()).expect("a pid"));
                took
            });
        };
        attempt("proc", Some(Signal::SIGINT));
        attempt("proc", None);
        one_plan(|plan| attempt(plan, Some(Signal::SIGTERM)));
        drop(server);
        for pid in left {
            // They have become children of this process, and end with their server.
            let reaped = || waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            let ended = || reaped().map_or(Some(()), |status| status.pid().map(drop));
            assert!(stage::wait(ended).is_some(), "{pid} does not end");
        }
    });
}
