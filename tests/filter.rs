//! `--filter`, on real staged namespaces and processes.

use crate::support::stage::{NamedNetns, Staged};
use crate::support::trace::Stream;
use crate::support::{self, json, proc, run};
use serde_json::Value;

/// The inodes of the namespaces that `list` shows with this filter.
fn listed(filter: &str) -> Vec<u64> {
    let ran = run(&["list", "--json", "--filter", filter]);
    assert!(matches!(ran.code, Some(0 | 1)), "{filter}: {}", ran.stderr);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let namespaces = document["namespaces"].as_array().unwrap();
    assert_eq!(ran.code, Some(i32::from(namespaces.is_empty())), "{filter}");
    namespaces.iter().map(|ns| ns["ino"].as_u64().unwrap()).collect()
}

#[test]
fn a_filter_finds_what_was_staged_and_nothing_else() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let ino = named.ino();
    let path = named.path();
    for filter in [
        format!("ino == {ino} && kind == 'net' && key.startsWith('net')"),
        format!("'{path}' in holders.path"),
        format!("holders.path.exists(path, path.matches('^{path}$')) && mount_path == '{path}'"),
        format!("holders.path.exists(p, p.endsWith('{}')) && nprocs == 0 && leader.pid == null", named.name),
        format!("ino == {ino} && size(holders.type) > 0 && 'bind_mount' in holders.type && initial == false"),
    ] {
        assert_eq!(listed(&filter), [ino], "{filter}");
    }
    assert_eq!(listed(&format!("ino == {ino} && nprocs > 0")), [0_u64; 0]);
    let mut staged =
        Staged::sh(&format!("exec nsenter --net={path} setpriv --reuid 65534 --clear-groups sleep 1000"));
    let sleep = staged.wait_for("sleep");
    for filter in [
        format!("ino == {ino} && leader.uid == 65534 && leader.comm == 'sleep' && nprocs_seen == 1"),
        format!("leader.arguments == ['sleep', '1000'] && nprocs == 1 && leader.pid == {sleep}"),
        format!(
            "{sleep} in leader.pids && leader.arguments.exists(a, a.matches('^10+$')) && !initial && kind == 'net'"
        ),
    ] {
        assert_eq!(listed(&filter), [ino], "{filter}");
    }
    let table = run(&["list", "--no-header", "--columns", "ns", "--filter", &format!("ino == {ino}")]);
    assert_eq!(table.stdout.trim(), ino.to_string());
}

#[test]
fn a_filter_goes_with_the_other_options_and_the_document_says_what_it_is() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let pid = std::process::id().to_string();
    let document = json(&["list", "--json", "--pid", &pid, "--filter", "kind in ['net', 'mnt']"]);
    let inos: Vec<_> = document["namespaces"].as_array().unwrap().iter().map(|ns| &ns["ino"]).collect();
    let own = |kind| proc::namespace(std::process::id(), kind).unwrap();
    assert_eq!(inos, [own("mnt"), own("net")]);
    assert_eq!(document["filtered"], true);
    let processes = document["processes"].as_array().unwrap();
    assert!(processes.iter().any(|process| process["pid"] == std::process::id()));
    assert!(
        processes.iter().all(|process| process["namespaces"]["net"] == own("net")
            || process["namespaces"]["mnt"] == own("mnt")),
        "a process that has nothing to do with the namespaces"
    );
    assert_eq!(json(&["list", "--json"])["filtered"], false);
    assert_eq!(json(&["list", "--json", "--filter", "true"])["filtered"], false);
}

/// The pids of a tree's processes, parents before children.
fn pids(tree: &Value) -> Vec<u64> {
    let mut open: Vec<&Value> = tree["roots"].as_array().unwrap().iter().collect();
    let mut pids = Vec::new();
    while let Some(node) = open.pop() {
        pids.push(node["pid"].as_u64().unwrap());
        open.extend(node["children"].as_array().unwrap());
    }
    pids
}

#[test]
fn a_tree_keeps_what_matches_and_the_way_to_it() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut staged = Staged::sh("unshare --net sh -c 'sleep 1000 & sleep 1001; true'; true");
    let sleep = staged.wait_for("sleep");
    let net = proc::namespace(sleep, "net").unwrap();
    // A shell and two sleeps, of which the second may not have started yet.
    let inside = support::stage::wait(|| {
        let family = staged.family().into_iter();
        let inside: Vec<u32> = family.filter(|&pid| proc::namespace(pid, "net") == Some(net)).collect();
        (inside.len() == 3).then_some(inside)
    });
    let inside = inside.expect("three processes");
    let tree = json(&["tree", "--json", "--filter", &format!("namespaces.net == {net}")]);
    let mut way = Vec::new();
    let mut up = inside[0];
    while up != 0 {
        up = proc::ppid(up).unwrap();
        way.extend((up != 0).then_some(u64::from(up)));
    }
    let mut expected: Vec<u64> = inside.iter().map(|&pid| pid.into()).chain(way).collect();
    let mut found = pids(&tree);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let filter = format!(
        "arguments[1].matches('^100[01]$') && comm == 'sleep' && namespaces.net == {net} && !chrooted"
    );
    let text = run(&["tree", "--filter", &filter]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(text.stdout.contains("sleep 1000\n") && text.stdout.contains("sleep 1001\n"), "{}", text.stdout);
    // Arguments of ancestors, whoever they are, may be cut.
    let counted = |line: &str| line.trim_start_matches([' ', '│', '├', '└', '─', '┊']).starts_with('…');
    assert!(
        !text.stdout.lines().any(counted),
        "nothing is counted, processes that are not shown did not match: {}",
        text.stdout
    );
    let none = run(&["tree", "--filter", "pid == 4194304"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""));
}

#[test]
fn a_tree_of_namespaces_keeps_those_that_match_and_what_they_are_in() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut staged = Staged::sh("exec unshare --user --map-root-user --net --pid --fork sleep 1000");
    let sleep = staged.wait_for("sleep");
    let ino = |kind| proc::namespace(sleep, kind).unwrap();
    let filter = format!("ino == {} && kind == 'net'", ino("net"));
    let text = run(&["tree", "--by", "user", "--filter", &filter]).stdout;
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_whitespace().find(|it| it.contains(":["))).collect();
    let initial = proc::namespace(2, "user").unwrap();
    let expected =
        [format!("user:[{initial}]"), format!("user:[{}]", ino("user")), format!("net:[{}]", ino("net"))];
    assert_eq!(names, expected, "{text}");
    let tree = json(&["tree", "--by", "pid", "--json", "--filter", &format!("leader.pid == {sleep}")]);
    let top = &tree["roots"][0];
    assert_eq!(top["children"].as_array().unwrap().len(), 1, "the other pid namespaces are left out");
    assert_eq!(top["children"][0]["namespace"]["ino"], ino("pid"));
    assert_eq!(run(&["tree", "--by", "pid", "--filter", "kind == 'net'"]).code, Some(1));
    let wrong = run(&["tree", "--by", "pid", "--filter", "chrooted"]);
    assert_eq!(wrong.code, Some(2), "a field of processes");
    assert!(
        wrong.stderr.contains("there is no field `chrooted`: the fields are key, kind, ino"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn a_trace_reports_matching_events_and_counts_no_others() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    // For each call one that matches and one that does not.
    let script = format!(
        "unshare --ipc true; unshare --uts true; nsenter --uts=/proc/2/ns/uts true
         unshare --uts nsenter --uts=/proc/2/ns/uts true; nsenter --net={} true
         chroot /nothing true; chroot /nowhere true; chroot / true",
        named.path()
    );
    let initial = proc::namespace(2, "net").unwrap();
    // All in one trace, and in each pair two that are true for the same event only.
    let unshare = "event == 'unshare' && 'CLONE_NEWUTS' in args.flags && process.comm == 'unshare' \
                   && 'uts' in changed && changed.uts.before != changed.uts.after && changed.ipc.after == null";
    let setns = format!(
        "target.ino == {0} && namespaces.net == {0} && changed.net.before == {initial} && target.path == '{1}'",
        named.ino(),
        named.path()
    );
    let chroot = "errno == 'ENOENT' && args.path.matches('^/now') && result < 0 && process.comm == 'chroot' \
         && process.uid == 0 && duration_ns > 0 && size(changed) == 0";
    let filter = format!("({unshare}) || ({setns}) || ({chroot})");
    let calls = "unshare,setns,chroot";
    let stream = Stream::record(&["--event", calls, "--filter", &filter, "--", "sh", "-c", &script]);
    assert_eq!(stream.code, Some(0), "{}", stream.stderr);
    let lines = stream.lines;
    let events: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["unshare", "unshare", "setns", "chroot"], "{lines:#?}");
    assert_eq!(lines[3]["namespaces"]["net"], named.ino());
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "events that do not match leave no gap in seq");
    assert_eq!(lines[5]["totals"]["events"], 4);
    let ran = run(&["trace", "--filter", "kind == 'net'", "--", "true"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.starts_with(
        "nsprobe: --filter: there is no field `kind` (did you mean `target.kind`?): the fields are event, abi"
    ));
}

#[test]
fn a_wrong_filter_is_refused_before_anything_is_read() {
    let _limit = support::time_limit();
    for (filter, message) in [
        ("kid == 'net'", "there is no field `kid` (did you mean `kind`?): the fields are key, kind, ino"),
        ("pid == 1", "there is no field `pid` (did you mean `leader.pid`?): the fields are key, kind, ino"),
        ("nprocs > 'many'", "a number cannot be compared with a text"),
        ("nprocs >", "column 9: unexpected end"),
        ("leader.comm.matches('(')", "'(' is not a regular expression: unclosed group"),
    ] {
        let ran = run(&["list", "--filter", filter]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{filter}");
        assert!(ran.stderr.starts_with(&format!("nsprobe: --filter: {message}")), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn a_negation_is_true_of_a_namespace_without_a_process() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let ino = named.ino();
    for test in [
        "leader.comm == 'x'",
        "leader.comm.contains('x')",
        "leader.arguments.exists(a, a.contains('x'))",
        "leader.uid == 0",
        "leader.uid < 1000",
        "leader.pid in [1, 2]",
        "leader.pid == leader.pid",
    ] {
        assert_eq!(listed(&format!("ino == {ino} && ({test})")), [0_u64; 0], "{test}");
        assert_eq!(listed(&format!("ino == {ino} && !({test})")), [ino], "!({test})");
    }
    assert_eq!(listed(&format!("ino == {ino} && leader.comm != 'x' && leader.pid == null")), [ino]);
}

#[test]
fn a_row_on_which_an_expression_cannot_be_evaluated_is_counted_and_ends_nothing() {
    let _limit = support::time_limit();
    let own = proc::namespace(std::process::id(), "net").unwrap();
    // For this namespace it can be evaluated; for all others it is a division by zero.
    let filter = format!("1 / (ino == {own} ? 1 : 0) == 1");
    let ran = run(&["list", "--no-header", "--columns", "ns", "--filter", &filter]);
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), own.to_string().as_str()), "{}", ran.stderr);
    let notes: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("--filter")).collect();
    assert_eq!(notes.len(), 1, "{}", ran.stderr);
    assert!(
        notes[0].ends_with(" namespaces not shown: cannot be evaluated (Division by zero of Int(1))"),
        "{}",
        notes[0]
    );
    let ran = run(&["tree", "--all", "--filter", "pids[64] == 1 || threads == 0 && pids[64] == 1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains(" processes not shown: cannot be evaluated ("), "{}", ran.stderr);
}

#[test]
fn an_event_on_which_an_expression_cannot_be_evaluated_does_not_end_the_trace() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let script = "unshare --uts true; unshare --ipc true; unshare --uts true";
    let filter = "1 / ('ipc' in changed ? 1 : 0) == 1 && process.comm == 'unshare' && !(process.comm == 'x')";
    let stream = Stream::record(&["--event", "unshare", "--filter", filter, "--", "sh", "-c", script]);
    assert_eq!(stream.code, Some(0), "{}", stream.stderr);
    let kinds: Vec<_> = stream.lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "event", "end"], "{}", stream.stderr);
    let totals = &stream.lines[2]["totals"];
    assert_eq!((&totals["events"], &totals["unevaluated"]), (&1.into(), &2.into()));
    let notes = stream.stderr.matches("--filter: cannot be evaluated on an event").count();
    assert_eq!(notes, 1, "{}", stream.stderr);
}

#[test]
fn fields_have_the_names_that_the_documentation_gives_them() {
    let _limit = support::time_limit();
    let documentation = include_str!("../docs/filters.md");
    for command in ["list", "tree", "trace"] {
        let heading = format!("## Fields of `{command}`");
        let section = documentation.split(&heading).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let mut documented: Vec<&str> = rows
            .flat_map(|row| row.split('|').take(2).flat_map(|cell| cell.split('`').skip(1).step_by(2)))
            .collect();
        let help = run(&[command, "--help"]).stdout;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let list = help.split("Its fields: ").nth(1).unwrap();
        let list = list.split(" With --by").next().unwrap();
        let mut named: Vec<&str> = list.split(", ").collect();
        documented.sort_unstable();
        named.sort_unstable();
        assert_eq!(named, documented, "{command}");
    }
}
