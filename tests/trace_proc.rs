//! The last fallback of `nsprobe trace`: scans of `/proc`, forced and by an ordinary user.

use crate::support::stage::{self, Staged};
use crate::support::trace::Stream;
use crate::support::tracing::Tracing;
use crate::support::{Ran, nobody, proc, root, unprivileged_copy, wire};
use crate::trace_fallback::change;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

#[test]
fn proc_reports_changes_that_last() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    // It exists, whatever its name suggests.
    let jail = dir.path().join("jail (deleted)");
    fs::create_dir(&jail).expect("a directory");
    let sleep = fs::canonicalize(stage::succeed(Command::new("sh").args(["-c", "command -v sleep"])).trim());
    let sleep = sleep.expect("sleep").display().to_string();
    stage::furnish(&jail, &sleep);
    let go = dir.path().join("go");
    let changing = Staged::sh(&format!(
        "{go}; exec unshare --uts --ipc chroot '{jail}' {sleep} 1000",
        go = stage::until(&go),
        jail = jail.display()
    ));
    let before = proc::namespaces(changing.pid()).expect("namespaces");
    let mut tracing = Tracing::start(&["--source", "proc", "--interval", "50ms"]);
    // Everything between two scans.
    kill(tracing.pid(), Signal::SIGSTOP).expect("nsprobe runs");
    let is_stopped = || Some(proc::status(tracing.child.id(), "State")?.starts_with('T'));
    assert!(stage::wait(|| is_stopped().filter(|&is| is)).is_some());
    fs::write(&go, "").expect("a file");
    // Itself, and not the sleep that it started while it waited.
    assert!(stage::wait(|| (proc::comm(changing.pid())? == "sleep").then_some(())).is_some());
    let mut new = Staged::spawn(Command::new("unshare").args(["--net", "sleep", "1000"]));
    new.wait_for("sleep");
    kill(tracing.pid(), Signal::SIGCONT).expect("nsprobe runs");
    let after = proc::namespaces(changing.pid()).expect("namespaces");
    let jail = jail.to_str().expect("UTF-8");
    let is_all = |event: &Value| {
        wire::path(event, "root") == json!([jail, []])
            && after.iter().all(|(slot, ino)| wire::after(event, slot) == *ino)
    };
    let (mut changes, mut came): (Vec<Value>, Option<Value>) = (Vec::new(), None);
    while came.is_none() || !changes.last().is_some_and(is_all) {
        let event: Value = serde_json::from_str(&tracing.line()).expect("JSON");
        match event["process"]["pid"].as_u64() {
            Some(pid) if pid == u64::from(changing.pid()) => changes.push(event),
            Some(pid) if pid == u64::from(new.pid()) => came = Some(event),
            _ => {}
        }
    }
    // It may have been stopped in the middle of a scan of this very process, which then is reported in two parts.
    assert!(changes.len() <= 2, "{changes:#?}");
    for changed in &changes {
        assert_eq!((&changed["event"], changed["scans"].get("new_process")), (&json!("change"), None));
        assert!(changed["scans"]["within_ns"].as_u64() >= Some(50_000_000), "{changed}");
    }
    let (changed, came) = (&changes[changes.len() - 1], came.expect("it came"));
    assert_eq!(changed["process"]["comm"], "sleep");
    for kind in ["uts", "ipc"] {
        assert!(
            before[kind] != after[kind] && wire::before(&changes[0], kind) == before[kind],
            "{changes:#?}"
        );
    }
    let own = proc::namespace(std::process::id(), "net").expect("a namespace");
    let net = proc::namespace(new.pid(), "net").expect("a namespace");
    assert_eq!(change(&came), ("change".to_owned(), vec![("net".to_owned(), own, net)]));
    assert_eq!(came["scans"]["new_process"], true);
    kill(tracing.pid(), Signal::SIGINT).expect("nsprobe runs");
    Stream::check(tracing.end());
}

#[test]
fn poll_follows_a_command() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let mut others = Staged::sh("unshare --uts sleep 1000");
    others.wait_for("sleep");
    let dir = tempfile::tempdir().expect("a directory");
    let wait = |name: &str| stage::until(&dir.path().join(name));
    // Each lasts until it is reported.
    let second = format!("unshare --uts sh -c \"{}\"", wait("uts"));
    let script = format!("unshare --ipc sh -c '{}; {second}'", wait("ipc"));
    let args =
        ["--source", "proc", "--interval", "100ms", "--filter", "'ipc' in changed || 'uts' in changed"];
    let mut tracing = Tracing::start(&[&args[..], &["--", "sh", "-c", &script]].concat());
    for name in ["ipc", "uts"] {
        assert!(tracing.line().contains(&format!(r#""changed":{{"{name}":{{"before":"#)), "{}", tracing.text);
        fs::write(dir.path().join(name), "").expect("a file");
    }
    let stream = Stream::check(tracing.end());
    let slots: Vec<Vec<String>> =
        stream.events().map(|event| change(event).1.into_iter().map(|(slot, ..)| slot).collect()).collect();
    assert_eq!(slots, [["ipc"], ["uts"]], "{:#?}", stream.lines);
}

#[test]
fn unprivileged_user_gets_readable_changes_and_gaps_for_the_rest() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let (_dir, nsprobe) = unprivileged_copy();
    // It exists since the first scan, and until its change is reported.
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("an open directory");
    let wait = |name: &str| stage::until(&dir.path().join(name));
    let script = format!("{}; exec unshare --user --net sh -c '{}'", wait("go"), wait("reported"));
    let mut command = nobody();
    command.arg(&nsprobe).args(["trace", "--json", "--interval", "100ms", "--"]);
    let mut tracing = Tracing::by(command.args(["sh", "-c", &script]));
    fs::write(dir.path().join("go"), "").expect("a file");
    // A scan may come between its two halves.
    let has_both = |text: &str| {
        ["user", "net"].iter().all(|kind| {
            let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.into_iter().any(|event| event["changed"].get(*kind).is_some())
        })
    };
    while !has_both(&tracing.text) {
        tracing.line();
    }
    fs::write(dir.path().join("reported"), "").expect("a file");
    let stream = Stream::check(tracing.end());
    let source = &stream.lines[0]["source"];
    assert_eq!(source["name"], "proc");
    let missing = source["missing"].to_string();
    assert!(missing.contains("the namespaces of ") && missing.contains("Permission denied"), "{missing}");
    assert!(stream.stderr.contains("to see more: ") && stream.stderr.contains("sudo"), "{}", stream.stderr);
    let changed = stream.events().flat_map(|event| event["changed"].as_object().expect("an object").keys());
    let mut changed: Vec<&String> = changed.collect();
    changed.sort_unstable();
    assert_eq!(changed, ["net", "user"], "{:#?}", stream.lines);
    // A requested plan is not replaced.
    for (plan, capability) in [("fentry", "CAP_BPF"), ("perf", "CAP_PERFMON")] {
        let args = ["trace", "--source", plan, "--", "true"];
        let ran: Ran = nobody().arg(&nsprobe).args(args).output().expect("setpriv starts").into();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
        assert!(ran.stderr.contains(capability) && ran.stderr.contains("sudo"), "{}", ran.stderr);
    }
}
