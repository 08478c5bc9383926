//! `nsprobe trace` and its output: readers that are slow or stall, files, and what is discarded.

use crate::support::programs::{Arg, Program};
use crate::support::trace::{LEFT_OUT, Stream, lost, one_plan, retry};
use crate::support::{Ran, nsprobe, root, run, stage};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls whose events are more than the queue and a pipe hold: 2 KiB each.
const CALLS: u64 = 5_500;

/// A program that makes this many calls of setns, which fail.
fn calls(dir: &Path, count: u64) -> String {
    let mut program = Program::default();
    for _ in 0..count {
        program.call(libc::SYS_setns, [Arg::from(-1), Arg::from(0)]);
    }
    program.install(dir, "calls").display().to_string()
}

/// A shell command that makes [`CALLS`] calls of chroot, which fail, with names of which each byte becomes six in
/// JSON.
fn long_calls(dir: &Path) -> String {
    const ONCE: u64 = 500;
    let mut program = Program::default();
    for _ in 0..ONCE {
        let mut path = vec![1; 250];
        path.push(0);
        program.call(libc::SYS_chroot, [Arg::Data(path)]);
    }
    let program = program.install(dir, "calls");
    format!("i=0; while [ $i -lt {} ]; do {}; i=$((i+1)); done", CALLS / ONCE, program.display())
}

/// Starts a trace of `sh -c script` that writes to a pipe.
fn start(plan: &str, args: &[&str], script: &str) -> (Child, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (start_into(writer.into(), plan, &[&["--buffer", "16M"], args].concat(), script), reader)
}

/// The same, to this pipe.
fn start_into(pipe: OwnedFd, plan: &str, args: &[&str], script: &str) -> Child {
    let mut command = nsprobe();
    command.args(["trace", "--json", "--source", plan, "--event", "chroot,setns,unshare"]).args(args);
    command.args(["--", "sh", "-c", &format!("exec >&2; {script}")]);
    command.stdout(pipe).stderr(Stdio::piped()).spawn().expect("nsprobe starts")
}

fn made(file: &Path) {
    assert!(stage::wait(|| file.exists().then_some(())).is_some(), "{} does not appear", file.display());
}

/// Waits until none of its threads has run for a while.
fn wait_until_idle(pid: u32) {
    let switches = || -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        let texts =
            threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
        let all: String = texts.collect();
        let counts =
            all.lines().filter_map(|line| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok());
        counts.sum()
    };
    let rests = || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(300));
        (switches() == before).then_some(())
    };
    assert!(stage::wait(rests).is_some(), "it does not become idle");
}

fn ended(mut child: Child, mut reader: impl std::io::Read) -> Ran {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    // Everything that this trace has written is in the pipe when it has ended.
    let code = child.wait().expect("it ends").code();
    reader.read_to_string(&mut stdout).expect("text");
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    Ran { code, stdout, stderr }
}

/// The totals on stderr: events, and lost ones.
fn totals(stderr: &str) -> (u64, u64) {
    let line = stderr.lines().find(|line| line.contains(" event")).unwrap_or_else(|| panic!("{stderr}"));
    let number = |part: &str| part.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
    let reported = line.split_once(" event").and_then(|(before, _)| number(before)).expect("a number");
    (reported, lost(line).values().sum())
}

#[test]
fn a_reader_that_stands_still_does_not_keep_a_trace_from_its_end() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        // The first has more than the queue holds, the other more than a pipe of one page holds.
        for (signal, count) in [(Signal::SIGTERM, CALLS), (Signal::SIGINT, 50)] {
            let ran = retry(|| {
                let dir = tempfile::tempdir().expect("a directory");
                let done = dir.path().join("done");
                let program = if count == CALLS { long_calls(dir.path()) } else { calls(dir.path(), count) };
                let script = format!("{program}; touch {}; exec sleep 60 2>&-", done.display());
                let (reader, writer) = std::io::pipe().expect("a pipe");
                fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
                let child = start_into(writer.into(), plan, &["--buffer", "16M"], &script);
                made(&done);
                kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
                let began = Instant::now();
                let ran = ended(child, reader);
                // The time it takes to detach: 0.5 to 1 s; the machine may be busy.
                assert!(began.elapsed() < Duration::from_secs(20), "{signal}: {:?}", began.elapsed());
                // `retry` searches for it.
                let left_out = if lost(&ran.stderr).contains_key("recursion") { LEFT_OUT } else { "" };
                Ran { stdout: ran.stdout + left_out, ..ran }
            });
            assert_eq!(ran.code, Some(2), "{signal}: {}", ran.stderr);
            assert!(ran.stderr.contains("stdout: nobody reads it"), "{signal}: {}", ran.stderr);
            // The content of the pipe counts as written, to the event, and all others as lost.
            let (reported, unseen) = totals(&ran.stderr);
            let lines: Vec<Value> =
                ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect();
            let events = lines.iter().filter(|line| line["type"] == "event").count() as u64;
            assert_eq!((events, reported + unseen), (reported, count), "{signal}: {}", ran.stderr);
            let is_full = lost(&ran.stderr).contains_key("output_full");
            assert_eq!(is_full, count == CALLS, "{signal}: {}", ran.stderr);
        }
        // Nothing at all is read, not even the first line.
        let (full, _reader) = full_pipe();
        let child = start_into(full, plan, &["--duration", "300ms"], "exec sleep 2 2>&-");
        let ran = ended(child, std::io::empty());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("stdout: nobody reads it"), "{}", ran.stderr);
    });
}

#[test]
fn what_the_output_has_no_room_for_is_said_when_it_has_again() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let ran = retry(|| {
            let dir = tempfile::tempdir().expect("a directory");
            let (done, go) = (dir.path().join("done"), dir.path().join("go"));
            let script = format!(
                "{}; touch {}; {}; unshare --uts true",
                long_calls(dir.path()),
                done.display(),
                stage::until(&go)
            );
            // Events that do not fit into the queue stay in the buffer, and those that do not fit there are lost.
            // Depending on the time that is left, the trace then searches for the tasks it follows (`rebuilt`).
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let child = start_into(writer.into(), plan, &["--buffer", "256K"], &script);
            made(&done);
            wait_until_idle(child.id());
            let mut lines = BufReader::new(reader);
            let mut stdout = String::new();
            loop {
                let before = stdout.len();
                assert_ne!(lines.read_line(&mut stdout).expect("text"), 0, "it ends without a message");
                let line = &stdout[before..];
                if [r#""stage":"ring_full""#, r#""stage":"share""#].iter().any(|stage| line.contains(stage)) {
                    break;
                }
            }
            File::create(&go).expect("a file");
            // Read while it goes on.
            lines.read_to_string(&mut stdout).expect("text");
            let ran = ended(child, std::io::empty());
            Ran { stdout, ..ran }
        });
        let stream: Vec<Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(stream.iter().enumerate().all(|(seq, line)| line["seq"] == seq), "a gap in seq");
        let of = |kind: &str| stream.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
        let losses = of("lost");
        let lost: u64 = losses.iter().map(|line| line["count"].as_u64().expect("a number")).sum();
        assert_eq!(of("event").len() as u64 + lost, CALLS + 1, "{losses:?}");
        // The gap is reported where it is: before the events after it.
        let last = of("event").pop().expect("events");
        assert_eq!(last["event"], "unshare");
        assert!(losses.iter().all(|loss| loss["seq"].as_u64() < last["seq"].as_u64()), "{losses:?}");
        let totals = &stream.last().expect("an end")["totals"];
        assert_eq!(totals["events"], of("event").len());
    });
}

#[test]
fn a_slow_reader_loses_nothing() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let ran = retry(|| {
            let dir = tempfile::tempdir().expect("a directory");
            let (child, reader) = start(plan, &[], &calls(dir.path(), 2_000));
            let mut stdout = String::new();
            // A pipe holds 50 of them.
            for line in BufReader::with_capacity(512, reader).lines() {
                std::thread::sleep(Duration::from_micros(100));
                stdout = stdout + &line.expect("text") + "\n";
            }
            let ran = ended(child, std::io::empty());
            Ran { stdout, ..ran }
        });
        let stream = Stream::check(ran);
        assert_eq!((stream.code, stream.events().count()), (Some(0), 2_000), "{}", stream.stderr);
    });
}

#[test]
fn a_file_keeps_the_stream_apart_from_what_the_command_writes() {
    let _limit = crate::support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lines");
    let file = path.to_str().expect("UTF-8");
    // Like a shell, it keeps an existing file, and truncates it.
    std::fs::write(&path, "what was there before\n".repeat(1000)).expect("a file");
    let args = ["trace", "--json", "--source", "proc", "--output", file];
    let ran = run(&[&args[..], &["--", "echo", "hello"]].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "hello\n"), "{}", ran.stderr);
    let text = std::fs::read_to_string(&path).expect("the lines");
    Stream::check(Ran { stdout: text, ..ran });
    // An output that cannot be written is named, at once, and nothing is run.
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let marker = dir.path().join("marker");
    for (path, why) in [
        (dir.path(), "Is a directory"),
        (&fifo, "No such device"),
        (&dir.path().join("no/file"), "No such file"),
    ] {
        let path = path.to_str().expect("UTF-8");
        let ran = run(&[
            "trace",
            "--source",
            "proc",
            "--output",
            path,
            "--",
            "touch",
            marker.to_str().expect("UTF-8"),
        ]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(path) && ran.stderr.contains(why), "{}", ran.stderr);
        assert!(!marker.exists());
    }
    let ran = run(&["trace", "--source", "proc", "--output", "/dev/full", "--", "true"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("/dev/full: No space left"), "{}", ran.stderr);
}

/// The writing end of a full pipe, and the reading end.
pub fn full_pipe() -> (OwnedFd, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Opened retry, so that nobody else finds it nonblocking.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let filled = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut filled = filled.expect("the pipe");
    while filled.write(&[b'\n'; 4096]).is_ok() {}
    (writer.into(), reader)
}

/// Waits until it is blocked in write(2), on x86-64.
fn writes(child: &Child) {
    let path = format!("/proc/{}/syscall", child.id());
    let at_it = || std::fs::read_to_string(&path).ok().filter(|text| text.starts_with("1 ")).map(drop);
    assert!(stage::wait(at_it).is_some(), "it writes nothing");
}

#[test]
fn nobody_reads_what_other_commands_write_and_signals_end_them() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    for (args, signal) in [
        (&["list"][..], Signal::SIGTERM),
        (&["tree", "--json"], Signal::SIGINT),
        (&["doctor"], Signal::SIGTERM),
        (&["completions", "bash"], Signal::SIGINT),
    ] {
        let (full, _reader) = full_pipe();
        let mut child = nsprobe().args(args).stdout(full).spawn().expect("nsprobe starts");
        writes(&child);
        kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
        let status = child.wait().expect("it ends");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(signal as i32), "{args:?}");
    }
    // A trace reports its start on stderr.
    let (full, _reader) = full_pipe();
    let mut command = nsprobe();
    command.args(["trace", "--json", "--source", "proc"]).stdout(Stdio::piped()).stderr(full);
    let mut child = command.spawn().expect("nsprobe starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("the start");
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGTERM).expect("it runs");
    let began = Instant::now();
    // The reader has gone before the end.
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20));
    // The same from the first moment on, if nobody reads the first line.
    let (full, _reader) = full_pipe();
    let mut command: Command = nsprobe();
    command.args(["trace", "--json", "--source", "proc", "--duration", "1ms"]).stdout(full);
    let ran: Ran = command.stderr(Stdio::piped()).output().expect("nsprobe starts").into();
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("stdout: nobody reads it"), "{}", ran.stderr);
}
