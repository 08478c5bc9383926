//! `nsprobe trace` as a program: how it starts, ends, and fails.

use crate::support::stage::{self, NamedNetns};
use crate::support::trace::{Stream, each_plan, each_source, one_plan, refusal, retry};
use crate::support::tracing::Tracing;
use crate::support::{Ran, nsprobe, on_terminal, root, run, skipped, unprivileged_copy};
use aya::programs::{ProgramError, loaded_programs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn the_end_of_the_command_ends_the_trace_with_its_code() {
    let _limit = crate::support::time_limit();
    each_source(|plan| {
        let of = |script: &str| {
            Stream::record(&["--source", plan, "--event", "unshare", "--", "sh", "-c", script])
        };
        let seven = of("exit 7");
        assert_eq!((seven.code, seven.end_reason()), (Some(7), "command ended"));
        assert_eq!(of("kill -KILL $$").code, Some(137));
        // Not waited for: a daemon may run forever.
        let daemon = Instant::now();
        let stream = of("sleep 60 >&- 2>&- & echo $! >&2");
        assert!(daemon.elapsed() < Duration::from_secs(50));
        let sleeping = stream.stderr.lines().find_map(|line| line.parse().ok()).expect("a pid");
        kill(Pid::from_raw(sleeping), Signal::SIGKILL).expect("the daemon runs");
    });
}

#[test]
fn a_command_that_does_not_start_has_the_codes_of_a_shell() {
    let _limit = crate::support::time_limit();
    each_source(|plan| {
        for (command, code, why) in
            [("/nonexistent", 127, "No such file"), ("/etc/passwd", 126, "Permission denied")]
        {
            let stream = Stream::record(&["--source", plan, "--event", "unshare", "--", command]);
            assert_eq!((stream.code, stream.end_reason()), (Some(code), "command not started"));
            assert!(stream.stderr.contains(command) && stream.stderr.contains(why), "{}", stream.stderr);
        }
    });
}

#[test]
fn only_the_command_and_its_descendants_are_reported() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let seen = dir.path().join("seen");
        let _others = stage::Staged::sh(&others(&seen));
        // Until others have done the same twice: the first may have begun before the trace. Or until they have ended.
        let script = format!(
            "unshare --ipc true; waits=0
             for i in 1 2; do
                 rm -f {seen}
                 until [ -e {seen} ]; do waits=$((waits+1)); [ $waits -lt 2000 ] || exit; sleep 0.05; done
             done
             sh -c '(unshare --ipc true)'",
            seen = seen.display()
        );
        let stream = Stream::record(&["--source", plan, "--event", "unshare", "--", "sh", "-c", &script]);
        assert_eq!(stream.code, Some(0), "the others run: {}", stream.stderr);
        let flags: Vec<String> = stream.events().map(|event| event["args"]["flags"].to_string()).collect();
        assert_eq!(flags, [r#"["CLONE_NEWIPC"]"#; 2]);
    });
}

#[test]
fn of_the_whole_machine_until_so_many_events() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let _others = stage::Staged::sh(&others(&dir.path().join("seen")));
        // The time limit is for when the others have ended.
        let limits = ["--count", "3", "--duration", "2m"];
        let stream = Stream::record(&[&["--source", plan, "--event", "unshare,setns"], &limits[..]].concat());
        assert_eq!((stream.code, stream.end_reason(), stream.events().count()), (Some(0), "count", 3));
        assert!(stream.events().all(|event| event["event"] == "unshare" || event["event"] == "setns"));
        let times: Vec<&str> = stream.events().filter_map(|event| event["time"].as_str()).collect();
        assert!(times.is_sorted(), "{times:?}");
    });
}

/// A script that repeats unshare, and reports it by a file.
fn others(seen: &Path) -> String {
    format!("while unshare --uts touch {}; do sleep 0.05; done", seen.display())
}

#[test]
fn the_command_goes_on_when_the_count_is_reached() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        // The trace must not end it.
        let script = "unshare -u true; exec sleep 60 >&- 2>&-";
        let args = ["--source", plan, "--event", "unshare", "-n1", "--", "sh", "-c", script];
        let stream = Stream::record(&args);
        assert_eq!((stream.code, stream.end_reason()), (Some(0), "count"));
        let pid = stream.stderr.split_once("goes on as process ").expect("its pid").1.trim();
        kill(Pid::from_raw(pid.parse().expect("a pid")), Signal::SIGKILL).expect("the command runs");
    });
}

#[test]
fn until_a_time_is_over() {
    let _limit = crate::support::time_limit();
    each_source(|plan| {
        let began = Instant::now();
        let stream = Stream::record(&["--source", plan, "--event", "unshare", "--duration", "300ms"]);
        assert_eq!((stream.code, stream.end_reason()), (Some(0), "duration"));
        assert!(began.elapsed() >= Duration::from_millis(300));
    });
}

#[test]
fn each_event_is_there_when_it_has_happened_and_ctrl_c_ends_with_totals() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let mut tracing = Tracing::start(&["--source", plan, "--event", "unshare"]);
        let mut child = Command::new("unshare").args(["--uts", "true"]).spawn().expect("unshare starts");
        child.wait().expect("it ends");
        let pid = format!(r#""pid":{},"#, child.id());
        // Other tests unshare as well.
        while !tracing.line().contains(&pid) {
            assert!(tracing.child.try_wait().expect("a child").is_none(), "{}", tracing.text);
        }
        kill(tracing.pid(), Signal::SIGINT).expect("nsprobe runs");
        let stream = Stream::check(tracing.end());
        assert_eq!((stream.code, stream.end_reason()), (Some(0), "interrupted"));
        assert!(stream.stderr.contains("interrupted: "), "{}", stream.stderr);
    });
}

#[test]
fn ctrl_c_is_the_commands_and_the_stream_still_ends() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        // As from a terminal, to the whole process group; and to nsprobe alone, which passes it on.
        for to_group in [true, false] {
            // A kill(2) of the group reaches the command twice, as nsprobe passes on what no terminal sent: once is
            // enough.
            let script = "trap 'trap \"\" INT; unshare --uts true; exit 3' INT; unshare --ipc true; \
                          while kill -0 $PPID; do sleep 0.05; done";
            let mut tracing =
                Tracing::start(&["--source", plan, "--event", "unshare", "--", "sh", "-c", script]);
            assert!(tracing.line().contains("CLONE_NEWIPC"), "{}", tracing.text);
            let target = if to_group { Pid::from_raw(-tracing.pid().as_raw()) } else { tracing.pid() };
            kill(target, Signal::SIGINT).expect("nsprobe runs");
            let stream = Stream::check(tracing.end());
            assert_eq!((stream.code, stream.end_reason()), (Some(3), "interrupted"), "{}", stream.stderr);
            assert_eq!(stream.of("unshare").len(), 2, "what the command did on the signal is reported");
        }
    });
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let _limit = crate::support::time_limit();
    // Whatever the source of events, the first line fails before there is any event: the cheapest one will do.
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let scratch = tempfile::tempdir().expect("a directory");
    let touched = scratch.path().join("touched");
    let command = ["--", "touch", touched.to_str().expect("UTF-8")];
    let traced = |stdout: Stdio, args: &[&str]| -> Ran {
        let mut nsprobe = nsprobe();
        nsprobe.args(["trace", "--source", "proc"]).args(args).args(command);
        nsprobe.stdout(stdout).output().expect("nsprobe starts").into()
    };
    for args in [&[][..], &["--json"]] {
        let ran = traced(full.try_clone().expect("a copy").into(), args);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains("No space left") && ran.stderr.contains("0 events"), "{}", ran.stderr);
        assert!(!touched.exists(), "nothing is run when nothing can be reported");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ran = traced(writer.into(), args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!ran.stderr.contains("pipe"), "{}", ran.stderr);
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_trace_while_nothing_happens() {
    let _limit = crate::support::time_limit();
    each_source(|plan| {
        let mut tracing = Tracing::start(&["--source", plan, "--event", "pivot_root"]);
        drop(std::mem::replace(&mut tracing.stdout, BufReader::new(another_pipe())));
        let status = stage::wait(|| tracing.child.try_wait().expect("a child"));
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    });
}

#[test]
fn events_have_the_time_on_the_wall_in_a_time_namespace_too() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let shifted = ["--time", "--boottime", "100000", "--fork"];
        let mut command = Command::new("unshare");
        command
            .args(shifted)
            .arg(nsprobe().get_program())
            .args(["trace", "--json", "--source", plan, "--event", "unshare", "--"]);
        let before = jiff::Timestamp::now();
        let ran: Ran = command.args(["unshare", "--uts", "true"]).output().expect("unshare starts").into();
        let stream = Stream::check(ran);
        let [event] = stream.of("unshare")[..] else { panic!("one unshare") };
        let time: jiff::Timestamp = event["time"].as_str().expect("a time").parse().expect("RFC 3339");
        // A second of tolerance: the clocks are not read at the same moment.
        let grace = jiff::SignedDuration::from_secs(1);
        assert!(before - grace < time && time < jiff::Timestamp::now() + grace, "{before} {time}");
    });
}

/// The reading end of a pipe that nobody writes to, in the type of a child's stdout.
fn another_pipe() -> std::process::ChildStdout {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().expect("true starts");
    child.wait().expect("it ends");
    child.stdout.expect("a pipe")
}

#[test]
fn people_get_a_line_an_event_and_notes_on_stderr() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let netns = NamedNetns::add();
        let join = format!("--net={}", netns.path());
        let ran = run(&["trace", "--source", plan, "--event", "setns", "--", "nsenter", &join, "true"]);
        let setns = format!("setns(3<net:[{}] {}>, CLONE_NEWNET) = 0  net ", netns.ino(), netns.path());
        let [header, line] = ran.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.stdout) };
        assert!(header.starts_with("TIME") && line.contains(&setns), "{line}");
        let [began, ended] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.stderr) };
        assert_eq!(began, format!("nsprobe: tracing by {plan}; -v lists what this source does not show"));
        // On a narrow terminal words stay whole, and nothing is lost.
        let arguments = ["trace", "--source", plan, "--event", "setns", "--", "nsenter", &join, "true"];
        let narrow = on_terminal(nsprobe().args(arguments), 80);
        assert!(narrow.stdout.lines().all(|line| line.chars().count() <= 80), "{}", narrow.stdout);
        let words = narrow.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(setns.trim_end().split("  ").next().unwrap()), "{words}");
        assert_eq!(ended, "nsprobe: command ended: 1 event");
        let quiet = run(&["trace", "--quiet", "--source", plan, "--event", "setns", "--", "true"]);
        assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    });
}

#[test]
fn a_plan_that_the_kernel_refuses_is_no_trace() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    if refusal("fentry").is_none() {
        return skipped("this kernel refuses no plan");
    }
    let ran = run(&["trace", "--source", "fentry", "--duration", "1ms"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(
        ran.stderr.contains("refuses the source `fentry`: f") && ran.stderr.contains(": E"),
        "{}",
        ran.stderr
    );
    let auto = Stream::record(&["--duration", "1ms"]);
    let reason = auto.lines[0]["source"]["reason"].as_str().expect("a reason");
    // If the kernel preempts its own tasks, fprobes are tried first.
    let refused = ["no fentry: f", "no fprobes: k"];
    assert!(refused.iter().any(|refused| reason.starts_with(refused)), "{reason}");
}

#[test]
fn without_privileges_the_missing_capabilities_are_named() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let (_dir, copy) = unprivileged_copy();
    let as_nobody = |command: &mut Command| -> Ran {
        command.uid(65534).gid(65534).output().expect("nsprobe starts").into()
    };
    let ran = as_nobody(Command::new(&copy).args(["trace", "--source", "fentry", "--", "true"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(
        ran.stderr.contains("needs CAP_BPF and CAP_PERFMON") && ran.stderr.contains("sudo"),
        "{}",
        ran.stderr
    );
    // Nothing beyond a list is tried, and the reason is given for each of it.
    let ran = as_nobody(Command::new(&copy).args(["trace", "--source", "perf,tracepoints", "--", "true"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("needs CAP_BPF") && ran.stderr.contains("source `perf`"), "{}", ran.stderr);
    let ran = as_nobody(Command::new(&copy).args(["trace", "-q", "--source", "proc,perf", "--", "true"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // A plan that sees less and was not chosen is reported even with --quiet.
    let ran = as_nobody(Command::new(&copy).args(["trace", "--quiet", "--", "true"]));
    assert!(
        ran.stderr.contains("tracing by proc") && ran.stderr.contains("those that fail"),
        "{}",
        ran.stderr
    );
    // All capabilities, in a user namespace: they count for nothing here.
    let in_namespace = ["--user", "--map-root-user"];
    let args = ["trace", "--source", "fentry"];
    let ran = as_nobody(Command::new("unshare").args(in_namespace).arg(&copy).args(args));
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("user namespace"), "{}", ran.stderr);
}

#[test]
fn arguments_that_make_no_sense_are_refused_before_anything_happens() {
    let _limit = crate::support::time_limit();
    for (args, word) in [
        (&["--duration", "soon"][..], "time span"),
        (&["--interval", "9223372036854775807s"], "ten years"),
        (&["--duration", "4294967295"], "ten years"),
        (&["--count", "0"], "0"),
        (&["--buffer", "1"], "4K to 1G"),
        (&["--event", "exec"], "pivot_root"),
        (&["--source", "magic"], "tracepoints"),
        (&["--clone", "all", "--event", "setns"], "--event"),
    ] {
        let ran = run(&[&["trace"], args].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.stderr.contains(word), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_full_buffer_loses_events_and_says_how_many() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let ran = retry(|| {
            let dir = tempfile::tempdir().expect("a directory");
            let file = |name: &str| dir.path().join(name);
            let script = format!(
                "cd {}; touch ready; {}
                 for i in 1 2 3 4 5 6 7 8 9 10; do unshare --uts true; done
                 touch done; {}",
                dir.path().display(),
                stage::until(&file("go")),
                stage::until(&file("end")),
            );
            // Room for four events of 976 bytes, and a reader that is stopped meanwhile.
            let args = ["--source", plan, "--event", "unshare", "--buffer", "4K", "--", "sh", "-c", &script];
            let tracing = Tracing::start(&args);
            let made = |name: &str| stage::wait(|| file(name).exists().then_some(())).is_some();
            assert!(made("ready"));
            kill(tracing.pid(), Signal::SIGSTOP).expect("nsprobe runs");
            std::fs::write(file("go"), "").expect("a file");
            assert!(made("done"));
            kill(tracing.pid(), Signal::SIGCONT).expect("nsprobe runs");
            std::fs::write(file("end"), "").expect("a file");
            tracing.end()
        });
        let lines: Vec<serde_json::Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |kind: &str| -> Vec<_> { lines.iter().filter(|line| line["type"] == kind).collect() };
        let lost: u64 = of("lost").iter().map(|line| line["count"].as_u64().expect("a number")).sum();
        assert!(lost > 0 && of("event").len() as u64 + lost == 10, "{}", ran.stdout);
        assert!(of("lost").iter().all(|line| line["stage"] == "ring_full"));
        let end = lines.last().expect("an end");
        let [in_all] = &end["totals"]["lost"].as_array().expect("a list")[..] else { panic!("{end}") };
        assert_eq!((&in_all["stage"], &in_all["count"]), (&"ring_full".into(), &lost.into()), "{end}");
        assert_eq!(in_all["owners"][0]["count"], lost, "{end}");
        let ends = [
            format!("{lost} lost because the buffer in the kernel was full (ring_full: uid 0"),
            format!(" {lost}); a larger --buffer"),
        ];
        assert!(ends.iter().all(|text| ran.stderr.contains(text)), "{}", ran.stderr);
    });
}

#[test]
fn nothing_stays_in_the_kernel_when_nsprobe_is_killed() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let tracing = Tracing::start(&["--source", plan]);
        let programs = programs_of(tracing.child.id());
        // The fewest are those of fprobes, which all calls share: at entry, at return, for new tasks and for paths.
        assert!(programs.len() >= 4 && programs.is_subset(&loaded()), "{plan}: {programs:?}");
        drop(tracing);
        let gone = stage::wait(|| programs.is_disjoint(&loaded()).then_some(()));
        assert!(gone.is_some(), "{plan}: {programs:?}");
    });
}

/// The ids of the BPF programs that a process holds.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("descriptors");
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    files.filter_map(|file| id(std::fs::read_to_string(file.ok()?.path()).ok()?)).collect()
}

/// The ids of all BPF programs of the machine.
fn loaded() -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    for program in loaded_programs() {
        match program {
            Ok(program) => drop(ids.insert(program.id())),
            // An nsprobe of another test has ended since its id was read.
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
            }
            Err(error) => panic!("{error}"),
        }
    }
    ids
}

#[test]
fn an_idle_trace_costs_no_processor_time() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        // Only events of this process, which makes none: others would wake it.
        let own = std::process::id().to_string();
        let tracing = Tracing::start(&["--source", plan, "--event", "pivot_root", "--pid", &own]);
        let switches = || {
            let status = File::open(format!("/proc/{}/status", tracing.child.id())).expect("a status");
            let lines = BufReader::new(status).lines().map(|line| line.expect("text"));
            let counts =
                lines.filter_map(|line| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok());
            counts.sum::<u64>()
        };
        let before = switches();
        std::thread::sleep(Duration::from_millis(500));
        // None is expected; a poll every 20 ms would be noticed.
        assert!(switches() - before < 20);
    });
}
