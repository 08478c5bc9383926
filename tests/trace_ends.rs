//! Several traces at once, outputs that end or get full in the middle of a stream, and the clock of events.

use crate::support::trace::{Stream, each_plan, lost, of_probe, one_plan};
use crate::support::tracing::Tracing;
use crate::support::{Ran, nsprobe};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nsprobe::trace::attach::{AttachRequest, attach};
use nsprobe::trace::decode;
use nsprobe::trace::hooks::Call;
use nsprobe::trace::plan::Choice;
use nsprobe_ebpf::Config;
use serde_json::Value;
use std::io::BufReader;
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

/// Lets a process unshare its uts namespace, and returns its pid.
fn unshare() -> u32 {
    let mut child: Child = Command::new("unshare").args(["--uts", "true"]).spawn().expect("unshare starts");
    assert!(child.wait().expect("it ends").success());
    child.id()
}

/// Reads lines until one is of this process.
fn await_event_of(tracing: &mut Tracing, pid: u32) {
    let word = format!(r#""pid":{pid},"#);
    while !tracing.line().contains(&word) {
        assert!(tracing.child.try_wait().expect("a child").is_none(), "{}", tracing.text);
    }
}

/// Ends it, and returns the number of calls that it reported for each of the processes.
fn interrupt(tracing: Tracing, pids: &[u32]) -> Vec<usize> {
    kill(tracing.pid(), Signal::SIGINT).expect("nsprobe runs");
    let stream = Stream::check(tracing.end());
    assert_eq!((stream.code, stream.end_reason()), (Some(0), "interrupted"));
    let of = |pid: &u32| stream.events().filter(|event| event["process"]["pid"] == *pid).count();
    pids.iter().map(of).collect()
}

#[test]
fn two_at_once_both_see_everything_and_end_on_their_own() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let args = ["--source", plan, "--event", "unshare"];
        let mut first = Tracing::start(&args);
        let mut second = Tracing::start(&args);
        let both = unshare();
        await_event_of(&mut first, both);
        await_event_of(&mut second, both);
        assert_eq!(interrupt(first, &[both]), [1]);
        // The end of one does not end the other.
        let later = unshare();
        await_event_of(&mut second, later);
        assert_eq!(interrupt(second, &[both, later]), [1, 1]);
    });
}

#[test]
fn a_disk_that_gets_full_ends_the_stream_with_a_message_and_its_totals() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let (mount, kept) = (dir.path().join("mount"), dir.path().join("kept"));
        std::fs::create_dir(&mount).expect("a directory");
        // A separate file system, in a separate mount namespace, with room for some events.
        let script = r#"mount -t tmpfs -o size=32k tmpfs "$1" || exit 9
            "$2" trace --json --source "$3" --event unshare -- sh -c 'i=0; while [ $i -lt 80 ]; do unshare -u true || exit; i=$((i+1)); done' >"$1/events"
            code=$?; cp "$1/events" "$4"; exit $code"#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&mount);
        command.arg(nsprobe().get_program()).args([plan]).arg(&kept);
        let ran: Ran = command.output().expect("unshare starts").into();
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
        let text = std::fs::read_to_string(&kept).expect("what was written");
        let whole: Vec<Value> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        let events = whole.iter().filter(|line| line["type"] == "event").count() as u64;
        assert!(events > 10, "{events}: {}", ran.stderr);
        assert!(whole.iter().enumerate().all(|(seq, line)| line["seq"] == seq), "a gap in seq");
        // Events that the output did not take count as lost, even if part of it was written.
        let totals = ran.stderr.split_once("output closed: ").expect("the totals on stderr").1;
        let reported: Option<u64> = totals.split_once(" event").and_then(|(count, _)| count.parse().ok());
        let lost = lost(totals).get("sink").copied();
        let adds_up = reported
            .zip(lost)
            .is_some_and(|(reported, lost)| reported <= events && reported + lost >= events);
        assert!(adds_up, "{events} events, {}", ran.stderr);
    });
}

#[test]
fn a_reader_that_goes_away_in_the_middle_ends_the_trace_quietly() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        // It goes on, and must not hold the pipe that the test reads.
        let script =
            "exec 2>/dev/null; i=0; while [ $i -lt 5000 ]; do unshare --uts true || exit; i=$((i+1)); done";
        let mut tracing = Tracing::start(&["--source", plan, "--event", "unshare", "--", "sh", "-c", script]);
        for _ in 0..3 {
            assert!(tracing.line().contains(r#""event":"unshare""#), "{}", tracing.text);
        }
        let (nobody, _) = std::io::pipe().expect("a pipe");
        let nobody = std::process::ChildStdout::from(std::os::fd::OwnedFd::from(nobody));
        drop(std::mem::replace(&mut tracing.stdout, BufReader::new(nobody)));
        let ran = tracing.end();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let pid = ran.stderr.split_once("goes on as process ").expect("the command goes on").1.trim();
        let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
        kill(pid, Signal::SIGKILL).expect("the command runs");
    });
}

/// The time since boot, suspend included.
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME");
    Duration::new(now.tv_sec().cast_unsigned(), u32::try_from(now.tv_nsec()).expect("below 10^9"))
}

#[test]
fn events_have_the_time_of_a_clock_that_nobody_sets() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let config = Config::default();
        let attached = attach(&AttachRequest {
            config,
            ..AttachRequest::new(Choice::Only(of_probe(plan)), &[Call::Unshare], 1 << 20)
        });
        let mut attached = attached.unwrap_or_else(|error| panic!("{error}"));
        let mut ring = attached.probe.take_ring().expect("a ring");
        let before = since_boot();
        let pid = unshare();
        let after = since_boot();
        let mut reported = None;
        while let Some(event) = ring.next(|record| decode::event(record, 4)) {
            reported = reported.or(event.ok().filter(|event| event.process.pid == pid));
        }
        let event = reported.expect("one unshare");
        let began = event.since_boot.checked_sub(event.duration.expect("it took time")).expect("after boot");
        assert!(before <= began && event.since_boot <= after, "{before:?} {event:?} {after:?}");

        // The time that is written: the wall clock at the beginning, and from there on by that clock.
        let (wall, start) = (SystemTime::now(), Instant::now());
        let stream = Stream::record(&[
            "--source",
            plan,
            "--event",
            "unshare",
            "--",
            "sh",
            "-c",
            "unshare -u true; sleep 0.1; unshare -i true",
        ]);
        let times =
            stream.lines.iter().map(|line| line["time"].as_str().expect("a time").parse().expect("RFC 3339"));
        let times: Vec<jiff::Timestamp> = times.collect();
        assert!(times.is_sorted(), "{times:?}");
        let end = jiff::Timestamp::try_from(wall + start.elapsed()).expect("a time");
        let grace = jiff::SignedDuration::from_millis(500);
        assert!(times.iter().all(|&time| time <= end + grace), "{times:?} {end}");
    });
}
