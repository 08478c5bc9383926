//! `nsprobe list`, compared with lsns(8) and with `/proc` read by hand.

use crate::support::stage::{NamedNetns, Staged, wait};
use crate::support::{self, json, nsprobe, on_terminal, proc, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Stdio;

/// The eight kinds, spelt out here so that the test does not rely on the tool.
const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// `(kind, inode)` → number of processes, by nsprobe.
fn counted_by_nsprobe(document: &Value) -> BTreeMap<(String, u64), u64> {
    let known = proc::all_readable();
    let entry = |ns: &Value| {
        assert!(ns["nprocs"] == ns["nprocs_seen"] || !known, "{ns}");
        let key = (ns["kind"].as_str().unwrap().to_owned(), ns["ino"].as_u64().unwrap());
        (key, ns["nprocs_seen"].as_u64().unwrap())
    };
    document["namespaces"].as_array().unwrap().iter().map(entry).collect()
}

/// The same, by lsns.
fn counted_by_lsns() -> BTreeMap<(String, u64), u64> {
    // Some versions write numbers as strings.
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let entry = |ns: &Value| {
        let key = (ns["type"].as_str()?.to_owned(), number(&ns["ns"])?);
        Some((key, number(&ns["nprocs"])?))
    };
    support::lsns("NS,TYPE,NPROCS").iter().map(|row| entry(row).unwrap_or_else(|| panic!("{row}"))).collect()
}

fn find<'a>(document: &'a Value, kind: &str, ino: u64) -> &'a Value {
    let namespaces = document["namespaces"].as_array().unwrap();
    let found = namespaces.iter().find(|ns| ns["kind"] == kind && ns["ino"] == ino);
    found.unwrap_or_else(|| panic!("{kind}:[{ino}] is not listed"))
}

#[test]
fn every_namespace_and_count_of_lsns_is_there() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // Every kind except time, which this unshare(1) may not support, twice, one inside the other.
    let script = "unshare -Uimnpu -C -r --fork sh -c 'unshare -Uimnpu -C -r --fork sleep 1000; true'";
    let mut staged = Staged::sh(script);
    let sleep = staged.wait_for("sleep");
    // Other tests start and end processes meanwhile: the output of lsns must be the same before and after.
    let mut last = None;
    let agreed = wait(|| {
        let before = counted_by_lsns();
        let document = json(&["list", "--json"]);
        let ours = counted_by_nsprobe(&document);
        // nsprobe finds the namespaces of unreadable processes, lsns does not.
        let processes = document["processes"].as_array().unwrap().iter();
        let denied = processes.filter(|process| process["namespaces"].is_null()).count() as u64;
        let after = counted_by_lsns();
        if before != after {
            return None;
        }
        let same = before
            .iter()
            .all(|(key, &count)| ours.get(key).is_some_and(|ours| (count..=count + denied).contains(ours)));
        last = Some((before, ours));
        same.then_some(())
    });
    let (theirs, ours) = last.expect("a moment without change in 30 s");
    assert!(agreed.is_some(), "lsns: {theirs:#?}\nnsprobe: {ours:#?}");
    for kind in KINDS.into_iter().filter(|&kind| kind != "time") {
        let ino = proc::namespace(sleep, kind).unwrap();
        assert!(theirs.contains_key(&(kind.to_owned(), ino)), "lsns lacks {kind}, so nothing was compared");
    }
}

#[test]
fn all_eight_kinds_are_as_proc_has_them() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare -UimnpuTC -r --fork sleep 1000");
    let sleep = staged.wait_for("sleep");
    let document = json(&["list", "--json"]);
    for kind in KINDS {
        let ino = proc::namespace(sleep, kind).unwrap();
        let ns = find(&document, kind, ino);
        assert_eq!(ns["initial"], false, "{ns}");
        assert_eq!(
            ns["leader"]["comm"],
            if kind == "pid" || kind == "time" { "sleep" } else { "unshare" },
            "{ns}"
        );
        let initial = proc::namespace(2, kind).unwrap();
        assert_eq!(find(&document, kind, initial)["initial"], true, "{kind}");
    }
    let pid = proc::namespace(sleep, "pid").unwrap();
    let user = proc::namespace(sleep, "user").unwrap();
    let ns = find(&document, "pid", pid);
    assert_eq!(ns["parent"]["ino"], proc::namespace(staged.pid(), "pid").unwrap());
    assert_eq!(ns["owner"]["ino"], user);
    assert_eq!(ns["leader"]["pids"], serde_json::json!(proc::pids_inside(sleep).unwrap()));
    let ns = find(&document, "user", user);
    assert_eq!(
        (ns["owner_uid"].as_u64(), &ns["parent"]["ino"]),
        (Some(0), &proc::namespace(2, "user").unwrap().into())
    );
    // unshare(1) itself stayed in its pid namespace and keeps the new one for its children.
    assert_eq!(
        find(&document, "pid", pid)["holders"],
        serde_json::json!([{"type": "for_children", "pid": staged.pid(), "tid": null}])
    );
}

#[test]
fn a_named_network_namespace_has_no_process_and_is_held_by_its_mount() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let document = json(&["list", "--kind", "net", "--json"]);
    let ns = find(&document, "net", named.ino());
    assert_eq!((ns["nprocs"].as_u64(), ns["leader"].is_null()), (Some(0), true));
    let holders = ns["holders"].as_array().unwrap();
    let mnt = proc::namespace(std::process::id(), "mnt").unwrap();
    assert!(
        holders.iter().any(|holder| holder["type"] == "bind_mount"
            && holder["path"] == named.path()
            && holder["mount_namespace"]["ino"] == mnt),
        "{holders:#?}"
    );
    assert_eq!(ns["owner"]["ino"], proc::namespace(2, "user").unwrap(), "queried through the mount");
    let table = run(&["list", "--kind", "net", "--columns", "ns,nprocs,nsfs,command", "--no-header"]).stdout;
    let row = table.lines().find(|line| line.contains(&named.ino().to_string())).unwrap();
    let path = named.path();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, [&named.ino().to_string(), "0", &path, "(held", "by", &format!("{path})")], "{table}");
}

#[test]
fn a_process_in_anothers_network_namespace_counts_there() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let mut staged = Staged::sh(&format!("exec nsenter --net={} sleep 1000", named.path()));
    let sleep = staged.wait_for("sleep");
    let ns = json(&["list", "--json", "--pid", &sleep.to_string(), "--kind", "net"]);
    assert_eq!(ns["namespaces"].as_array().unwrap().len(), 1);
    assert_eq!(ns["namespaces"][0]["ino"], named.ino());
    assert_eq!(ns["namespaces"][0]["leader"]["pid"], sleep);
    assert_eq!(ns["namespaces"][0]["nprocs"], 1);
}

#[test]
fn a_process_that_may_not_be_read_is_counted() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // An unprivileged user cannot read anybody else's namespaces.
    let (_dir, nsprobe) = support::unprivileged_copy();
    let script = ["sh", "-c", "exec \"$0\" list --json"];
    let output = support::nobody().args(script).arg(nsprobe).output().expect("setpriv");
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let gaps = document["gaps"].as_array().unwrap();
    let gap = gaps.iter().find(|gap| gap["kind"] == "process_namespaces").expect("a gap");
    assert!(gap["count"].as_u64().unwrap() > 1, "{gap}");
    assert!(gap["reason"].as_str().unwrap().contains("Permission denied"), "{gap}");
    assert!(gap["remedy"].as_str().unwrap().contains("CAP_SYS_PTRACE"), "{gap}");
    let own = &document["namespaces"].as_array().unwrap()[0];
    assert!(own["initial"].is_null(), "initial or not cannot be known: {own}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_named_network_namespace_is_found_by_its_name() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let netns = NamedNetns::add();
    for arguments in
        [vec!["list", "-n", "-c", "ns", &netns.name], vec!["list", "-n", "-c", "ns", "--ns", &netns.name]]
    {
        let ran = run(&arguments);
        assert_eq!(
            (ran.code, ran.stdout.trim()),
            (Some(0), netns.ino().to_string().as_str()),
            "{}",
            ran.stderr
        );
    }
    let absent = run(&["list", "--ns", "nsprobe-absent"]);
    assert_eq!(absent.code, Some(2), "{}", absent.stderr);
    assert!(absent.stderr.contains("/run/netns/nsprobe-absent"), "{}", absent.stderr);
}

#[test]
fn nothing_found_says_what_was_searched() {
    let _limit = support::time_limit();
    for arguments in [["list", "--filter", "nprocs < 0"], ["tree", "--filter", "pid == 0"]] {
        let ran = run(&arguments);
        assert_eq!(ran.code, Some(1), "{arguments:?}");
        let message = ran.stderr.lines().find(|line| line.starts_with("nsprobe: nothing matches; ")).unwrap();
        let processes =
            message.split_once(" and ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
        assert!(processes.is_some_and(|count| count > 0), "{message}");
    }
}

#[test]
fn messages_are_written_on_request() {
    let _limit = support::time_limit();
    let stderr = |arguments: &[&str], variable: Option<&str>| {
        let mut command = nsprobe();
        command.args(arguments).env_remove("NSPROBE_LOG");
        command.envs(variable.map(|levels| ("NSPROBE_LOG", levels)));
        support::Ran::from(command.output().unwrap()).stderr
    };
    let reports = |stderr: &str| stderr.contains("nsprobe: info: snapshot: ");
    assert!(!reports(&stderr(&["list"], None)));
    assert!(reports(&stderr(&["list", "-v"], None)));
    assert!(reports(&stderr(&["-v", "list"], None)));
    assert!(reports(&stderr(&["list"], Some("nsprobe=info"))));
    assert!(!reports(&stderr(&["list"], Some("nsprobe=error"))));
    for unknown in ["loud", "nsprobe=loud"] {
        let said = stderr(&["list"], Some(unknown));
        assert!(
            said.starts_with(&format!("nsprobe: NSPROBE_LOG is ignored: {unknown} is neither a level")),
            "{said}"
        );
    }
}

#[test]
fn what_was_not_readable_is_said_on_stderr_and_not_in_the_table() {
    let _limit = support::time_limit();
    let ran = run(&["list"]);
    let list = json(&["list", "--json"]);
    let gaps = list["gaps"].as_array().unwrap();
    // Missing sources of namespaces are the same at every run, and reported where they matter.
    let is_reported = gaps.iter().any(|gap| gap["kind"] != "source");
    assert_eq!(ran.stderr.lines().count(), usize::from(is_reported), "{}", ran.stderr);
    let strict = run(&["list", "--strict"]);
    assert_eq!(strict.stderr.lines().count(), usize::from(!gaps.is_empty()), "{}", strict.stderr);
    assert!(ran.stdout.starts_with("        NS TYPE"), "{}", ran.stdout);
}

#[test]
fn nothing_found_and_bad_arguments_have_their_exit_codes() {
    let _limit = support::time_limit();
    let none = run(&["list", "--pid", "4194304"]);
    assert_eq!(
        (none.code, none.stdout.as_str(), none.stderr.as_str()),
        (Some(1), "", "nsprobe: there is no process 4194304\n")
    );
    for args in [&["list", "--kind", "mount"][..], &["list", "--columns", "inode"], &["list", "--pid", "one"]]
    {
        let ran = run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.stderr.contains("invalid value"), "{}", ran.stderr);
    }
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let _limit = support::time_limit();
    let mut child =
        nsprobe().args(["list", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [&["list", "--json"][..], &["--help"], &["list", "-h"], &["--version"]] {
        let output = nsprobe().args(args).stdout(full.try_clone().unwrap()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr.contains("stdout: No space left on device"), "{args:?}: {stderr}");
    }
}

#[test]
fn rows_fit_the_terminal_and_the_command_is_what_is_cut() {
    let _limit = support::time_limit();
    // The width of the terminal, unless COLUMNS has another; a pipe is not a terminal, whatever is exported.
    let with_columns = |columns| nsprobe().arg("list").env("COLUMNS", columns).output().unwrap();
    let ran = on_terminal(nsprobe().arg("list"), 80);
    let exported = on_terminal(nsprobe().arg("list").env("COLUMNS", "70"), 80);
    for (ran, columns) in [(&ran, 80), (&exported, 70)] {
        for line in ran.stdout.lines().chain(ran.stderr.lines()) {
            assert!(line.chars().count() <= columns, "{line}");
        }
    }
    let piped: support::Ran = with_columns("20").into();
    assert!(piped.stdout.lines().next().unwrap().ends_with("INITIAL COMMAND"), "{}", piped.stdout);
    assert!(ran.stdout.lines().next().unwrap().ends_with("COMMAND"), "{}", ran.stdout);
    let ran: support::Ran = nsprobe().args(["list", "--color", "always"]).output().unwrap().into();
    assert!(ran.stdout.starts_with("\u{1b}[1m"), "{:?}", ran.stdout);
    assert!(!run(&["list"]).stdout.contains('\u{1b}'), "no colour into a pipe");
}
