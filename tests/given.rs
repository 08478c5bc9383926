//! The state that nsprobe inherits when it is started, and passes on to COMMAND: descriptors, signals, limits, uids.

use crate::support::terminal::on_own_terminal;
use crate::support::tracing::Tracing;
use crate::support::{Ran, limited_user, nsprobe, root, skipped, stage, unprivileged_copy, user};
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;
use std::fs::{Permissions, read_to_string, set_permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs `sh -c script`, in which `$0` is nsprobe.
fn sh(script: &str) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_nsprobe")]);
    command.output().expect("sh starts").into()
}

#[test]
fn a_closed_stdout_is_an_error_of_every_command() {
    let _limit = crate::support::time_limit();
    let commands = ["list", "list --json", "tree", "doctor", "diff -", "completions bash", "--help"];
    for command in commands.into_iter().chain(["trace --source proc -d 1ms", "trace --json -- false"]) {
        let ran = sh(&format!("exec \"$0\" {command} >&- </dev/null"));
        assert_eq!(ran.code, Some(2), "{command}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("stdout is closed"), "{command}: {}", ran.stderr);
    }
    // Nothing is written to stdout.
    let dir = tempfile::tempdir().expect("a directory");
    let lines = dir.path().join("lines");
    let ran = sh(&format!("exec \"$0\" trace --json --source proc --output {} -- true >&-", lines.display()));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(read_to_string(&lines).expect("lines").ends_with("}\n"));
    // Open, but not for writing.
    for command in ["list", "list --json", "trace --source proc -d 1ms"] {
        let ran = sh(&format!("exec \"$0\" {command} 1</dev/null"));
        assert_eq!(ran.code, Some(2), "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("stdout: Bad file descriptor"), "{command}: {}", ran.stderr);
    }
}

#[test]
fn the_command_gets_what_nsprobe_was_given() {
    let _limit = crate::support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report");
    // Signals (not those above 32, two of which the C library uses for threads), limits, and descriptors: without
    // stdin, and with one that is open for no reason.
    let command = format!(
        "sh -c 'exec 9>{}; grep -E \"^Sig(Blk|Ign)\" /proc/self/status | sed -E \"s/.{{8}}(.{{8}})$/\\1/\" >&9; ulimit -Sn >&9; ulimit -Hn >&9; \
         ls /proc/$$/fd >&9; exit 7'",
        report.display()
    );
    let given = "ulimit -Sn 77; exec 5</dev/null; exec env --block-signal=USR1 --ignore-signal=CHLD,PIPE,HUP";
    let traced = |prefix: &str| {
        let ran = sh(&format!("{given} {prefix} {command} <&- 2>&1 >/dev/null"));
        assert_eq!(ran.code, Some(7), "{prefix}: {}", ran.stdout);
        read_to_string(&report).expect("a report")
    };
    let (with, without) = (traced("\"$0\" trace --quiet --source proc --"), traced(""));
    assert_eq!(with, without);
    assert!(without.contains("\n77\n"), "{without}");
    // The usual state: nothing is ignored or blocked, not even what Rust's runtime ignores.
    let usual = |prefix: &str| {
        sh(&format!("exec env --default-signal {prefix} {command} 2>&1 >/dev/null"));
        read_to_string(&report).expect("a report")
    };
    assert_eq!(usual("\"$0\" trace --quiet --source proc --"), usual(""));
}

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    let _limit = crate::support::time_limit();
    // As nohup(1) starts it, or a script with `&`.
    let mut command = Command::new("env");
    command.args(["--ignore-signal=HUP,INT", "--default-signal=TERM"]);
    command.arg(nsprobe().get_program()).args(["trace", "--json", "--source", "proc"]);
    let tracing = Tracing::by(&mut command);
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        kill(tracing.pid(), signal).expect("nsprobe is there");
    }
    let status = read_to_string(format!("/proc/{}/status", tracing.pid())).expect("a status");
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a mask");
        u64::from_str_radix(line.trim(), 16).expect("a number")
    };
    // HUP is 1, INT 2, TERM 15; the lowest bit is that of signal 1.
    assert_eq!(mask("SigIgn:") & 0b11, 0b11, "{status}");
    assert_eq!(mask("SigBlk:") & 0b11, 0, "{status}");
    assert_eq!((mask("SigPnd:") | mask("ShdPnd:")) & 0b11, 0, "{status}");
    assert_eq!(mask("SigBlk:") & 1 << 14, 1 << 14, "it does not wait for its end");
    kill(tracing.pid(), Signal::SIGTERM).expect("nsprobe is still there");
    let ran = tracing.end();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains(r#""reason":"interrupted""#), "{}", ran.stdout);
}

/// Tests that send signals, or depend on those that are ignored.
const OF_SIGNALS: [&str; 4] = [
    "given::ended_children_are_kept_where_sigchld_was_ignored",
    "given::the_command_gets_what_nsprobe_was_given",
    "given::what_was_ignored_at_the_start_stays_ignored",
    "trace_proc::proc_reports_changes_that_last",
];

/// Under nohup(1), whose output would go to a file anyway.
const NOHUP: &str =
    "env --default-signal nohup \"$@\" >\"$OUTPUT\" 2>&1; code=$?; cat \"$OUTPUT\"; exit $code";

/// The signals that the tests ignore when they are started in this way, by a script that runs `"$@"`.
fn ignored_by_tests(how: &str, script: &str) -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report");
    let tests = std::env::current_exe().expect("this program");
    let mut command = Command::new("sh");
    let started = "grep ^SigIgn: /proc/self/status >\"$1\"; shift; exec \"$@\"";
    command.args(["-c", script, "sh", "sh", "-c", started, "sh"]).arg(&report).arg(tests);
    command
        .args(OF_SIGNALS)
        .args(["--exact", "--test-threads=1", "--color=never"])
        .env("OUTPUT", dir.path().join("output"));
    let ran = on_own_terminal(&mut command);
    assert_eq!(ran.code, Some(0), "{how}: {}", ran.stdout);
    let passed = format!("test result: ok. {} passed; 0 failed;", OF_SIGNALS.len());
    assert!(ran.stdout.contains(&passed), "{how}: {}", ran.stdout);
    let mask = read_to_string(&report).expect("a report");
    u64::from_str_radix(mask.trim_start_matches("SigIgn:").trim(), 16).expect("a mask")
}

#[test]
fn tests_pass_from_a_terminal_in_the_background_and_under_nohup() {
    let _limit = crate::support::time_limit();
    let bit = |signal: Signal| 1 << (signal as u64 - 1);
    let of_interest = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT].map(bit).iter().sum::<u64>();
    let background = bit(Signal::SIGINT) | bit(Signal::SIGQUIT);
    for (how, script, expected) in [
        ("a terminal", "exec env --default-signal \"$@\"", 0),
        ("in the background", "env --default-signal sh -c '\"$@\" & wait $!' sh \"$@\"", background),
        ("nohup", NOHUP, bit(Signal::SIGHUP)),
    ] {
        assert_eq!(ignored_by_tests(how, script) & of_interest, expected, "{how}");
    }
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    let _limit = crate::support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report");
    let script = format!(
        "ulimit -Sn 64; exec \"$0\" trace --quiet --source proc -- sh -c 'cat /proc/$PPID/limits >{}'",
        report.display()
    );
    assert_eq!(sh(&script).code, Some(0));
    let limits = read_to_string(&report).expect("a report");
    let files: Vec<&str> = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a limit")
        .split_whitespace()
        .collect();
    let [.., soft, hard, _] = files[..] else { panic!("{limits}") };
    assert!(soft == hard && soft != "64", "{limits}");
}

#[test]
fn set_user_id_is_refused() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let (dir, copy) = unprivileged_copy();
    if statvfs(dir.path()).expect("a file system").flags().contains(FsFlags::ST_NOSUID) {
        return skipped("temporary files are on a file system without set-user-id");
    }
    let marker = dir.path().join("marker");
    set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("an open directory");
    let as_nobody = |args: &[&str]| -> Ran {
        Command::new(&copy).args(args).uid(65534).gid(65534).output().expect("nsprobe starts").into()
    };
    for mode in [0o4755, 0o2755] {
        set_permissions(&copy, Permissions::from_mode(mode)).expect("a bit");
        for args in [&["list"][..], &["trace", "--", "touch", marker.to_str().expect("UTF-8")]] {
            let ran = as_nobody(args);
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{mode:o} {args:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("set-user-id"), "{}", ran.stderr);
        }
    }
    assert!(!marker.exists());
    // Root gains nothing by it.
    stage::succeed(Command::new(&copy).args(["list", "--kind", "uts"]));
    set_permissions(&copy, Permissions::from_mode(0o755)).expect("no bit");
    assert_eq!(as_nobody(&["list", "--kind", "uts"]).code, Some(0));
}

#[test]
fn without_child_processes_the_reason_is_said() {
    const USER: u32 = 54331;
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let (_dir, program) = unprivileged_copy();
    let limited = |limit: &str, args: &[&str]| limited_user(USER, limit, &program, args);
    let no_more = "no child process can be started: EAGAIN: a limit of processes";
    for args in [
        &["list", "--ns", "/proc/self/ns/net"][..],
        &["trace", "--source", "proc", "-d", "1ms", "--cgroup", "/proc"],
    ] {
        let ran = limited("--nproc=1:1", args);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(no_more), "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("answer"), "{args:?}: {}", ran.stderr);
    }
    let ran = limited("--nproc=100:100", &["list", "--ns", "/proc/self/ns/net"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // The socket of an own process is queried.
    let script = "socket S, 1, 2, 0 or die; sleep 1000";
    let mut owner = stage::Staged::spawn(user(USER).args(["unshare", "-Un", "perl", "-e", script]));
    owner.wait_for("perl");
    let of_sockets = |limit: &str| {
        let ran = limited(limit, &["list", "--json", "--source", "proc"]);
        // With even fewer descriptors there are none to read a process with.
        let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let gaps = document["gaps"].as_array().cloned().unwrap_or_default();
        let of_sockets = gaps.iter().filter(|gap| gap["kind"] == "sockets");
        let said = of_sockets.map(|gap| gap["reason"].to_string()).collect::<Vec<_>>().join("; ");
        assert!(!said.contains("in time"), "{limit}: {said}");
        said
    };
    let said = of_sockets("--nproc=1:1");
    assert!(said.contains(no_more), "{said}");
    let said = ["--nofile=6:6", "--nofile=7:7", "--nofile=8:8"].map(of_sockets);
    assert!(said.iter().any(|said| said.contains("EMFILE: the limit of open files")), "{said:?}");
}

#[test]
fn ended_children_are_kept_where_sigchld_was_ignored() {
    let _limit = crate::support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
    let mut command = nsprobe();
    // It waits for a writer, for two seconds.
    command.arg("diff").arg(&fifo);
    // SAFETY: between fork and exec only sigaction(2) is called, which is async-signal-safe, and no handler is set.
    unsafe {
        command.pre_exec(|| {
            nix::sys::signal::signal(Signal::SIGCHLD, nix::sys::signal::SigHandler::SigIgn)?;
            Ok(())
        });
    }
    let child = stage::Staged::spawn(&mut command);
    let kept = stage::wait(|| {
        let ignored = crate::support::proc::status(child.pid(), "SigIgn")?;
        let ignored = u64::from_str_radix(&ignored, 16).ok()?;
        (ignored & 1 << (Signal::SIGCHLD as i32 - 1) == 0).then_some(())
    });
    assert!(kept.is_some(), "SIGCHLD is ignored");
}

#[test]
fn without_threads_the_reason_is_said() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    for (args, code) in [(&["list"][..], 0), (&["tree"], 0), (&["trace", "--duration", "1ms"], 2)] {
        let mut command = Command::new("unshare");
        command.arg("--pid").arg(nsprobe().get_program()).args(args);
        let ran: Ran = command.output().expect("unshare starts").into();
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        let why =
            "nsprobe: no thread can be started: children of nsprobe would be in a different pid namespace";
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
    }
}

/// The most by which the time that a message says differs from the time itself.
pub const ROUNDED: Duration = Duration::from_millis(5);

/// The time that nsprobe has waited, by its message.
pub fn waited(message: &str) -> Duration {
    let text = message.split_once(" (waited ").and_then(|(_, rest)| rest.split_once(" s)"));
    let seconds: Option<f64> = text.and_then(|(text, _)| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("{message}"))) + ROUNDED
}

#[test]
fn a_message_about_a_wait_has_the_time_that_it_took() {
    let _limit = crate::support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
    let mut command = nsprobe();
    let mut child = command.arg("diff").arg(&fifo).stderr(Stdio::piped()).spawn().expect("nsprobe starts");
    let (begun, pid) = (Instant::now(), child.id());
    let has_opened = || {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        files.into_iter().find(|file| std::fs::read_link(file.path()).is_ok_and(|path| path == fifo))
    };
    assert!(stage::wait(has_opened).is_some(), "the FIFO is not opened");
    // Longer than the limit, as on a slow machine.
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).expect("nsprobe runs");
    let stopped = Instant::now();
    std::thread::sleep(Duration::from_millis(2300));
    let at_least = stopped.elapsed();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT).expect("nsprobe runs");
    let mut message = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut message).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(2), "{message}");
    assert!(message.contains(": a FIFO without a writer (waited "), "{message}");
    let waited = waited(&message);
    assert!(at_least <= waited && waited <= begun.elapsed() + ROUNDED * 2, "{at_least:?}: {message}");
}
