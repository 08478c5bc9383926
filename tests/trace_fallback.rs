//! The fallbacks of `nsprobe trace`, each forced and each reached by what the machine allows: perf's records, and
//! scans of `/proc`.

use crate::schema::{admitted, closed, refused_when_broken};
use crate::support::programs::Program;
use crate::support::stage::{self, NamedNetns};
use crate::support::trace::{Stream, lost, one_plan};
use crate::support::tracing::Tracing;
use crate::support::{Ran, proc, root, run, skipped, wire};
use nix::sys::signal::{Signal, kill};
use nsprobe::document::schemas;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

/// The inode in the text of a namespace link.
fn ino(link: &str) -> u64 {
    let digits = link.split_once('[').and_then(|(_, rest)| rest.trim().strip_suffix(']'));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{link:?} is not a link"))
}

/// An event in a few words: its name, what changed, from where to where.
pub fn change(event: &Value) -> (String, Vec<(String, u64, u64)>) {
    let names = wire::changed(event);
    let changed = names.as_array().expect("changed").iter().map(|slot| {
        let slot = slot.as_str().expect("a slot");
        let number = |when: &str| event["changed"][slot][when].as_u64().expect("an inode");
        (slot.to_owned(), number("before"), number("after"))
    });
    (event["event"].as_str().expect("a name").to_owned(), changed.collect())
}

#[test]
fn perf_reports_each_kind_with_before_and_after() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let own = proc::namespaces(std::process::id()).expect("own namespaces");
    let named = NamedNetns::add();
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report");
    let flags = ["--cgroup", "--ipc", "--mount", "--net", "--user", "--uts"];
    let kinds = ["cgroup", "ipc", "mnt", "net", "user", "uts"];
    let unshares: Vec<String> = flags
        .iter()
        .zip(kinds)
        .map(|(flag, kind)| format!("unshare {flag} readlink /proc/self/ns/{kind} >&3"))
        .collect();
    let script = format!(
        "exec 3>{}\n{}\nunshare --pid --fork readlink /proc/self/ns/pid >&3
         nsenter --net={} readlink /proc/self/ns/net >&3\nunshare --net --uts true",
        report.display(),
        unshares.join("\n"),
        named.path()
    );
    let stream = Stream::record(&["--source", "perf", "--", "sh", "-c", &script]);
    assert_eq!((stream.code, stream.lines[0]["source"]["name"].as_str()), (Some(0), Some("perf")));
    let report = fs::read_to_string(&report).expect("a report");
    let inodes: Vec<u64> = report.lines().map(ino).collect();
    let seen: Vec<_> = stream.events().map(change).collect();
    let [unshared @ .., (setns, joined), (both, two)] = &seen[..] else { panic!("{seen:?}") };
    let expected: Vec<_> = kinds
        .iter()
        .map(|&kind| ("change", kind))
        .chain([("clone", "pid")])
        .zip(&inodes)
        .map(|((event, kind), &ino)| (event.to_owned(), vec![(kind.to_owned(), own[kind], ino)]))
        .collect();
    assert_eq!(unshared, expected);
    assert_eq!((setns.as_str(), &joined[..]), ("change", &[("net".to_owned(), own["net"], named.ino())][..]));
    let names: Vec<&str> = two.iter().map(|(slot, ..)| slot.as_str()).collect();
    assert_eq!((both.as_str(), names), ("change", vec!["net", "uts"]));
    let clone = stream.of("clone")[0];
    assert_eq!(clone["args"], json!({"flags": null}));
    // /proc shows the pid namespaces of the caller as long as it exists.
    assert!([&Value::Null, &clone["child"]["tid"]].contains(&&clone["result"]), "{clone}");
    assert_eq!(stream.of("change")[0]["process"]["comm"], "unshare");
}

/// The calls of a script that succeed, by strace: by thread, the number of unshare and setns, and of clone with a new
/// namespace.
fn straced(log: &std::path::Path) -> BTreeMap<u64, (usize, usize)> {
    let mut calls = BTreeMap::new();
    for entry in fs::read_dir(log).expect("strace wrote") {
        let path = entry.expect("an entry").path();
        let tid = path.extension().and_then(|tid| tid.to_str()?.parse().ok()).expect("log.TID");
        let text = fs::read_to_string(&path).expect("text");
        let done: Vec<&str> = text.lines().filter(|line| !line.contains(" = -1 ")).collect();
        let moves = done.iter().filter(|line| line.starts_with("unshare(") || line.starts_with("setns("));
        let clones = done.iter().filter(|line| line.starts_with("clone") && line.contains("CLONE_NEW"));
        let counts = (moves.count(), clones.count());
        if counts != (0, 0) {
            calls.insert(tid, counts);
        }
    }
    calls
}

#[test]
fn perf_reports_every_call_that_strace_sees_succeed() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let script = "unshare --net --uts true; unshare --time true; unshare --user --pid --fork sh -c 'unshare -n true';
        name=nsprobe-rungs-$$; ip netns add $name; ip netns exec $name true; ip netns del $name;
        for i in 1 2 3 4 5 6 7 8 9 10; do unshare -i unshare -u nsenter --net=/proc/self/ns/net true & done; wait;
        unshare --fork --pid --mount-proc perl -e 'syscall(56, 0x40000011, 0, 0, 0, 0) || exit; wait'";
    let mut args = vec!["--all", "--source", "perf", "--", "strace", "-ff", "-qq", "-e"];
    let prefix = dir.path().join("log");
    args.extend(["trace=unshare,setns,clone,clone3", "-e", "signal=none", "-o"]);
    args.extend([prefix.to_str().expect("UTF-8"), "sh", "-c", script]);
    let stream = Stream::record(&args);
    let mut ours: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for event in stream.events() {
        // A child in the namespace that its parent has unshared is elsewhere too, and was made by a plain clone.
        let is_change = event["event"] == "change";
        let made = change(event).1.iter().any(|(slot, ..)| slot != "pid");
        let counts = ours.entry(event["process"]["tid"].as_u64().expect("a tid")).or_default();
        (counts.0, counts.1) =
            (counts.0 + usize::from(is_change), counts.1 + usize::from(!is_change && made));
    }
    ours.retain(|_, counts| *counts != (0, 0));
    assert_eq!(ours, straced(dir.path()), "nsprobe on the left, strace on the right");
    assert!(ours.values().map(|(moves, _)| moves).sum::<usize>() > 30);
    // Each namespace of a task before a change was reported by its last event or its creation.
    let mut now: BTreeMap<(u64, String), u64> = BTreeMap::new();
    for event in stream.events() {
        let tid = &event[if event["event"] == "clone" { "child" } else { "process" }]["tid"];
        for (slot, before, after) in change(event).1 {
            let key = (tid.as_u64().expect("a tid"), slot);
            if event["event"] == "change"
                && let Some(known) = now.get(&key)
            {
                assert_eq!(*known, before, "{event}");
            }
            now.insert(key, after);
        }
    }
}

#[test]
fn perf_reports_every_new_task_on_request() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let script = "unshare --uts true; (true); perl -e 'fork; exit'";
    let stream = Stream::record(&["--source", "perf", "--clone", "all", "--", "sh", "-c", script]);
    let clones = stream.of("clone");
    // unshare, the subshell, perl and its child; dash makes the last command's process too.
    assert!(clones.len() >= 4, "{clones:#?}");
    let parents: BTreeSet<u64> = clones.iter().filter_map(|it| it["process"]["pid"].as_u64()).collect();
    let children: BTreeSet<u64> = clones.iter().filter_map(|it| it["child"]["pid"].as_u64()).collect();
    assert!(parents.difference(&children).count() == 1, "all but the command are somebody's child");
    assert_eq!(stream.of("change").len(), 1);
}

#[test]
fn perf_counts_losses_and_is_right_about_the_rest() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    // It records its namespace before and after each change; many come while nobody reads.
    let script = format!(
        "chdir '{dir}'; open my $log, '>', 'log'; select((select($log), $| = 1)[0]);
         sub change {{ syscall(272, 0x04000000); print $log readlink('/proc/self/ns/uts'), chr(10) }}
         sub made {{ open my $f, '>', $_[0] }}
         sub wanted {{ -d '{dir}' && !-e $_[0] }}
         print $log readlink('/proc/self/ns/uts'), chr(10); made('ready');
         select(undef, undef, undef, 0.02) while wanted('go'); change() for 1..400; made('done');
         while (wanted('end')) {{ change(); select(undef, undef, undef, 0.05) }}",
        dir = dir.path().display()
    );
    let mut tracing = Tracing::start(&["--source", "perf", "--buffer", "4K", "--", "perl", "-e", &script]);
    let made = |name: &str| stage::wait(|| file(name).exists().then_some(())).is_some();
    assert!(made("ready"));
    kill(tracing.pid(), Signal::SIGSTOP).expect("nsprobe runs");
    fs::write(file("go"), "").expect("a file");
    assert!(made("done"));
    kill(tracing.pid(), Signal::SIGCONT).expect("nsprobe runs");
    // The kernel reports that it had no room when it has some again. Then some more changes are reported.
    while !tracing.line().contains(r#""stage":"perf_ring_full""#) {}
    let mut more = 0;
    while more < 5 {
        more += usize::from(tracing.line().contains(r#""changed":{"uts":{"before":"#));
    }
    fs::write(file("end"), "").expect("a file");
    let ran = tracing.end();
    let log: Vec<u64> = fs::read_to_string(file("log")).expect("a log").lines().map(ino).collect();
    let real: BTreeSet<(u64, u64)> = log.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let changes: Vec<_> = lines.iter().filter(|line| line["event"] == "change").collect();
    assert!(changes.len() < log.len() - 1);
    for (slot, before, after) in changes.iter().flat_map(|event| change(event).1) {
        assert!(slot == "uts" && real.contains(&(before, after)), "{before} {after}");
    }
    assert!(lost(&ran.stderr)["perf_ring_full"] > 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("(perf_ring_full); a larger --buffer"), "{}", ran.stderr);
}

/// The output of `nsprobe trace` with the capabilities of `bounding`, which setpriv(1) leaves to root.
fn with_capabilities(bounding: &str, args: &[&str]) -> Ran {
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={bounding}")).arg(env!("CARGO_BIN_EXE_nsprobe"));
    command.args(["trace", "--json"]).args(args).output().expect("setpriv starts").into()
}

#[test]
fn the_source_is_what_the_privileges_allow_and_each_above_says_why_not() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let source = |bounding: &str| {
        let stream = Stream::check(with_capabilities(bounding, &["--", "unshare", "--user", "true"]));
        let source = &stream.lines[0]["source"];
        let text = |name: &str| source[name].as_str().expect("text").to_owned();
        (text("name"), text("reason"), stream.of("change").len())
    };
    // Debian's kernels have a level 3, at which they require CAP_SYS_ADMIN.
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").expect("a level");
    let forced = with_capabilities("-all,+perfmon", &["--source", "perf", "--duration", "1ms"]);
    let works = forced.code == Some(0);
    assert!(works || paranoid.trim() == "3", "{}", forced.stderr);
    let (plan, reason, events) = source("-all,+perfmon");
    if works {
        assert_eq!((plan.as_str(), events), ("perf", 1));
    } else {
        skipped("perf with CAP_PERFMON alone: kernel.perf_event_paranoid is 3");
        assert_eq!(plan, "proc");
    }
    assert!(reason.starts_with("no BPF: ") && reason.contains("CAP_BPF"), "{reason}");
    let (plan, reason, _) = source("-all");
    assert_eq!(plan, "proc");
    assert!(
        reason.contains("no BPF: ") && reason.contains("no perf: ") && reason.contains("EACCES"),
        "{reason}"
    );
    // Nothing for the tracefs: a capability without a hook of its own is not taken.
    let (plan, reason, events) = source("-all,+bpf,+perfmon");
    match plan.as_str() {
        "fentry" | "fprobes" | "tracepoints" => assert_eq!(events, 0, "it is an unshare there"),
        plan if works => assert_eq!((plan, events), ("perf", 1), "{reason}"),
        plan => assert_eq!(plan, "proc", "{reason}"),
    }
}

/// `<linux/mount.h>`, Linux 7.0.
const OPEN_TREE_NAMESPACE: i64 = 2;

#[test]
fn mount_namespaces_that_other_calls_make_are_named_where_there_are_such_calls() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let flags = OPEN_TREE_NAMESPACE | i64::from(libc::O_CLOEXEC);
        // A separate program: the namespace ends with it.
        let mut program = Program::default();
        program.call(libc::SYS_open_tree, [i64::from(libc::AT_FDCWD).into(), "/".into(), flags.into()]);
        let dir = tempfile::tempdir().expect("a directory");
        let strace = Command::new("strace")
            .args(["-e", "trace=open_tree"])
            .arg(program.install(dir.path(), "opens"))
            .output()
            .expect("strace starts");
        let is_made = !String::from_utf8_lossy(&strace.stderr).contains("= -1");
        let stream = Stream::record(&["--source", plan, "--", "true"]);
        let unseen = stream.lines[0]["source"]["unseen"].to_string();
        assert_eq!(unseen.contains("open_tree"), is_made, "{unseen}");
    });
}

#[test]
fn what_they_write_is_as_the_schema_says() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let schema = closed(schemas::TRACE);
    // A scan needs time to see it.
    for (plan, time) in [("perf", "0"), ("proc", "1.5")] {
        let script = format!(
            "unshare --net sleep {time}; unshare --pid --fork sleep {time}; exec chroot / sleep {time}"
        );
        let stream = Stream::record(&[
            "--source",
            plan,
            "--interval",
            "50ms",
            "--all",
            "--clone",
            "all",
            "--",
            "sh",
            "-c",
            &script,
        ]);
        let mut seen = BTreeSet::new();
        let mut ways = 0;
        for line in &stream.lines {
            admitted(&schema, line, &line.to_string());
            if seen.insert((line["type"].to_string(), line["event"].to_string())) {
                ways += refused_when_broken(&schema, line);
            }
        }
        assert!(ways > 100, "only {ways} ways to break the lines of {plan}");
        let mut broken = stream.of("change")[0].clone();
        broken["args"] = json!({"flags": []});
        assert!(!schema.is_valid(&broken), "a change has no arguments");
    }
}

#[test]
fn text_output_names_what_is_not_known() {
    let _limit = crate::support::time_limit();
    if !root() {
        return;
    }
    let ran = run(&["trace", "-v", "--source", "perf", "--", "unshare", "--uts", "true"]);
    assert!(ran.stdout.lines().nth(1).is_some_and(|line| line.contains("  change  uts ")), "{}", ran.stdout);
    let unseen = "not shown by this source: whether a change is by unshare or setns";
    assert!(ran.stderr.contains(unseen), "{}", ran.stderr);
    // A request that cannot be fulfilled is reported with --quiet too, in one sentence.
    for (plan, blind) in [
        ("perf", "calls that fail, chroot and pivot_root, roots and arguments are not seen"),
        (
            "proc",
            "/proc is scanned every --interval: single calls, those that fail, arguments, and changes undone",
        ),
    ] {
        for quiet in [true, false] {
            let ran = run(&[
                &["trace", "--source", plan][..],
                if quiet { &["--quiet"] } else { &[] },
                &["--", "true"],
            ]
            .concat());
            let expected = format!("nsprobe: tracing by {plan}; {blind}");
            assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), if quiet { 1 } else { 2 }, "{}", ran.stderr);
        }
    }
}
