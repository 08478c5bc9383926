//! Facts that are the same in `list`, `tree` and `trace`, whatever namespaces nsprobe itself is in.

use crate::support::stage::{self, Staged};
use crate::support::trace::Stream;
use crate::support::tracing::Tracing;
use crate::support::{Ran, nsprobe, proc, root, skipped, wire};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The output of nsprobe with `args` in namespaces that unshare(1) makes by `flags`; `None` if they cannot be
/// created.
fn inside(flags: &[&str], args: &[&str]) -> Option<Vec<u8>> {
    let binary = nsprobe().get_program().to_owned();
    let ran = Command::new("unshare")
        .args(flags)
        .arg("--")
        .arg(binary)
        .args(args)
        .output()
        .expect("unshare starts");
    let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
    if stderr.contains("unshare:") {
        skipped(&stderr);
        return None;
    }
    assert!(ran.status.success(), "{stderr}");
    Some(ran.stdout)
}

#[test]
fn a_time_namespace_does_not_shift_when_processes_started() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare --uts sleep 1000");
    let pid = staged.wait_for("sleep");
    let started = proc::start_ticks(pid).expect("a process");
    // With a child that is in it, and without, where the program is in it or not, depending on the kernel.
    for flags in [&["--time", "--boottime", "1000000", "--fork"][..], &["--time", "--boottime", "1000000"]] {
        for source in ["proc", "auto"] {
            let args = ["list", "--json", "--source", source];
            let Some(list) = inside(flags, &args) else { return };
            let list: Value = serde_json::from_slice(&list).expect("JSON");
            let processes = list["processes"].as_array().expect("processes");
            let process = processes.iter().find(|process| process["pid"] == pid).expect("the staged one");
            assert_eq!(process["start_ticks"], started, "{flags:?} {source}");
        }
    }
    for source in ["auto", "perf"] {
        let args = [
            "trace",
            "--json",
            "--source",
            source,
            "--",
            "sh",
            "-c",
            "cat /proc/$$/stat >&2; exec unshare --uts true",
        ];
        let Some(trace) = inside(&["--time", "--boottime", "1000000", "--fork"], &args) else { return };
        let text = String::from_utf8(trace).expect("text");
        let stream = Stream::check(Ran { code: Some(0), stdout: text, stderr: String::new() });
        let [event] =
            stream.events().filter(|event| wire::changed(event) == json!(["uts"])).collect::<Vec<_>>()[..]
        else {
            panic!("one unshare: {:?}", stream.lines)
        };
        let ticks = event["process"]["start_ticks"].as_u64();
        // It began after the staged one, and not a million seconds later.
        assert!(ticks.is_none_or(|ticks| (started..started + 1_000_000).contains(&ticks)), "{event}");
    }
}

/// The namespaces that nsprobe itself is in: a name, and the words of the command that puts it there.
type Viewpoint = (&'static str, &'static str);

/// Those from which the processes of the machine are visible.
const VIEWPOINTS: [Viewpoint; 4] = [
    ("the same namespaces", "env"),
    (
        "others, except pid",
        "unshare --mount --uts --ipc --net --cgroup --time --boottime=1000000 --kill-child",
    ),
    ("another pid namespace, with this /proc", "unshare --pid --kill-child"),
    ("another user namespace", "unshare --user --map-root-user"),
];

/// Those from which all calls are visible, with BPF.
const OF_TRACES: [Viewpoint; 3] = [
    VIEWPOINTS[0],
    (
        "others",
        "unshare --pid --mount-proc --uts --ipc --net --cgroup --time --boottime=1000000 --kill-child",
    ),
    VIEWPOINTS[2],
];

/// nsprobe with these arguments, from a viewpoint.
fn from((_, wrapper): Viewpoint, args: &[&str]) -> Command {
    let mut words = wrapper.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).arg(nsprobe().get_program()).args(args).stdin(Stdio::null());
    command
}

/// The objects in a document that have all of `fields`.
fn objects<'a>(document: &'a Value, fields: &[(&str, Value)]) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = match document {
        Value::Array(values) => values.iter().flat_map(|value| objects(value, fields)).collect(),
        Value::Object(values) => values.values().flat_map(|value| objects(value, fields)).collect(),
        _ => Vec::new(),
    };
    if fields.iter().all(|(name, value)| document.get(name) == Some(value)) {
        found.push(document);
    }
    found
}

/// A process that changes its root and its uts namespace when `go` is created, by a program of the name `name`, and then
/// sleeps.
fn changing(dir: &Path, go: &Path, name: &str) -> (Staged, PathBuf) {
    let [unshare, sleep] = ["unshare", "sleep"].map(|program| {
        let path = stage::succeed(Command::new("sh").args(["-c", &format!("command -v {program}")]));
        std::fs::canonicalize(path.trim()).expect("a program")
    });
    let (jail, copy) = (dir.join("jail"), dir.join(name));
    stage::furnish(&jail, sleep.to_str().expect("UTF-8"));
    stage::copy_program(&unshare, &copy);
    let (go, copy, sleep) = (stage::until(go), copy.display(), sleep.display());
    let script = format!("{go}; exec {copy} --uts --root={} {sleep} 1000", jail.display());
    (Staged::sh(&script), jail)
}

#[test]
fn facts_are_the_same_in_list_tree_and_trace_wherever_nsprobe_is() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (go, name) = (dir.path().join("go"), format!("here-{}", std::process::id()));
    let (staged, jail) = changing(dir.path(), &go, &name);
    let pid = staged.pid();
    let args = ["trace", "--json", "--quiet", "--event", "unshare,chroot", "--comm", &name];
    let traces = if crate::support::bpf() { &OF_TRACES[..] } else { &[] };
    let traces: Vec<(Viewpoint, Tracing)> =
        traces.iter().map(|&viewpoint| (viewpoint, Tracing::by(&mut from(viewpoint, &args)))).collect();
    std::fs::write(&go, "").expect("a file");
    // Itself, and not the sleep that it started while it waited.
    assert!(stage::wait(|| (proc::comm(pid)? == "sleep").then_some(())).is_some(), "it sleeps");

    let facts = snapshots(pid);
    assert_eq!(facts["start_ticks"], proc::start_ticks(pid).expect("a process"));
    assert_eq!(facts["root"], jail.to_str().expect("UTF-8"));
    assert_eq!(facts["pids"], json!([pid]));
    let mut before: Option<[Value; 2]> = None;
    for ((what, _), mut tracing) in traces {
        let start: Value = serde_json::from_str(&tracing.text).expect("JSON");
        let events = [(); 2].map(|()| {
            let mut event: Value = serde_json::from_str(&tracing.line()).expect("JSON");
            wire::expand_keys(&start, &mut event);
            let event = event.as_object_mut().expect("an object");
            // Each trace has a clock and numbers of its own.
            for name in ["time", "seq", "duration_ns"] {
                event.remove(name).expect("a field");
            }
            Value::from(std::mem::take(event))
        });
        let expected = before.get_or_insert_with(|| events.clone());
        assert_eq!(&events, expected, "{what}");
        let [unshare, chroot] = &events;
        assert_eq!(unshare["process"]["start_ticks"], facts["start_ticks"], "{what}");
        assert_eq!(unshare["process"]["pids"], facts["pids"], "{what}");
        assert_eq!(unshare["keys"]["uts"][1], facts["key"], "{what}");
        assert_eq!(chroot["root"], facts["root"], "{what}");
    }
}

/// Checks that `list` and `tree` report the same facts about a process from every viewpoint and source; returns them,
/// with the key of its uts namespace.
fn snapshots(pid: u32) -> Value {
    const FACTS: [&str; 7] = ["ppid", "pids", "start_ticks", "comm", "namespaces", "root", "chrooted"];
    let ino = proc::namespace(pid, "uts").expect("a namespace");
    let mut expected: Option<Value> = None;
    for viewpoint in VIEWPOINTS {
        for (command, source) in [("list", "proc"), ("tree", "proc"), ("tree", "auto")] {
            let what = format!("{}: {command} --source {source}", viewpoint.0);
            let output =
                from(viewpoint, &[command, "--json", "--source", source]).output().expect("it starts");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let document: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{what}: {error}: {stderr}"));
            let processes = objects(&document, &[("pid", pid.into())]);
            let process = processes.into_iter().find(|process| process.get("start_ticks").is_some());
            let process = process.unwrap_or_else(|| panic!("{what}: it is missing"));
            let mut facts: Map<String, Value> =
                FACTS.iter().map(|&name| (name.to_owned(), process[name].clone())).collect();
            let keys = objects(&document, &[("kind", "uts".into()), ("ino", ino.into())]);
            let key = keys.into_iter().find_map(|ns| ns.get("key"));
            facts.insert("key".to_owned(), key.cloned().unwrap_or_default());
            let expected = expected.get_or_insert_with(|| Value::from(facts.clone()));
            // In another user namespace nsprobe may not read it: then they are unknown, and not other ones.
            let may_read = !viewpoint.0.contains("user");
            for (name, value) in facts {
                let is_unknown =
                    !may_read && value.is_null() && !["start_ticks", "pids", "comm"].contains(&&*name);
                assert!(
                    is_unknown || value == expected[&name],
                    "{what}: {name} is {value}, not {}",
                    expected[&name]
                );
            }
        }
    }
    expected.expect("facts")
}

#[test]
fn pids_are_null_where_proc_is_of_another_pid_namespace_and_the_trace_says_so() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let trace = |source: &str| {
        let args = ["trace", "--json", "--source", source, "--", "unshare", "--uts", "true"];
        let output = from(VIEWPOINTS[2], &args).output().expect("it starts");
        Ran::from(output)
    };
    let stream = Stream::check(trace("perf"));
    let [event] = stream.events().collect::<Vec<_>>()[..] else { panic!("one change: {:?}", stream.lines) };
    let unknown = ["pids", "start_ticks", "ppid", "exe"].map(|name| &event["process"][name]);
    assert_eq!(unknown, [&Value::Null; 4], "{event}");
    let missing = stream.lines[0]["source"]["missing"].to_string();
    assert!(missing.contains("data from /proc, which is mounted for another pid namespace"), "{missing}");
    assert!(
        missing.contains("tasks outside of nsprobe's own pid namespace, whose pids these are"),
        "{missing}"
    );
    // What would be reported of a command cannot be known at all.
    let refused = trace("proc");
    assert!(
        refused.code == Some(2) && refused.stderr.contains("another pid namespace"),
        "{}",
        refused.stderr
    );
    // The kernel's own tasks have all of their ids.
    if crate::support::bpf() {
        let stream = Stream::check(trace("auto"));
        let event = stream.events().find(|event| event["event"] == "unshare").expect("one unshare");
        let pids = event["process"]["pids"].as_array().expect("ids");
        assert!(pids.len() == 2 && pids[0] == event["process"]["pid"], "{event}");
    }
}

#[test]
fn pids_that_proc_does_not_show_are_null_in_a_trace_of_it() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let go = dir.path().join("go");
    let script = format!("{}; exec unshare --uts sleep 1000", stage::until(&go));
    let mut staged = Staged::spawn(Command::new("unshare").args(["--pid", "--fork", "sh", "-c", &script]));
    let pid = staged.wait_for("sh");
    let script = format!(
        "for file in /proc/{pid}/status /proc/{pid}/task/{pid}/status; do mount --bind /dev/null $file; done;
         exec \"$0\" trace --json --source proc --interval 50ms"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(nsprobe().get_program());
    let mut tracing = Tracing::by(&mut command);
    let start: Value = serde_json::from_str(&tracing.text).expect("JSON");
    let missing = start["source"]["missing"].to_string();
    assert!(missing.contains("the ids of 1 process in pid namespaces: /proc/PID/status has"), "{missing}");
    std::fs::write(&go, "").expect("a file");
    let event = std::iter::repeat_with(|| serde_json::from_str::<Value>(&tracing.line()).expect("JSON"))
        .find(|event| event["process"]["pid"] == pid)
        .expect("lines without end");
    assert_eq!(event["process"].get("pids"), Some(&Value::Null));
}
