//! `nsprobe tree`, compared with `/proc` and lsns(8).

use crate::support::stage::{NamedNetns, Staged, furnish, succeed};
use crate::support::{self, proc};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const SLOTS: [&str; 10] =
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts", "pid_for_children", "time_for_children"];

/// The expected entry of a process in the tree, read by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByHand {
    ppid: u32,
    start_ticks: u64,
    pids: Vec<u32>,
    namespaces: BTreeMap<String, u64>,
    root: String,
}

fn by_hand(pid: u32) -> Option<ByHand> {
    Some(ByHand {
        ppid: proc::ppid(pid)?,
        start_ticks: proc::start_ticks(pid)?,
        pids: proc::pids_inside(pid)?,
        namespaces: proc::namespaces(pid)?,
        root: proc::root(pid)?.to_string_lossy().into_owned(),
    })
}

/// Every process of the machine that can be read, by hand.
fn all_by_hand() -> BTreeMap<u32, ByHand> {
    proc::pids().into_iter().filter_map(|pid| Some((pid, by_hand(pid)?))).collect()
}

/// The kinds that the boundary above `pid` should name, from the namespaces of it and its parent.
fn boundary_by_hand(pid: u32, all: &BTreeMap<u32, ByHand>) -> Option<BTreeSet<&'static str>> {
    let own = all.get(&pid)?;
    let parent = all.get(&own.ppid)?;
    let mut boundary: BTreeSet<_> =
        SLOTS[..8].iter().copied().filter(|&kind| own.namespaces[kind] != parent.namespaces[kind]).collect();
    for (slot, kind) in [("pid_for_children", "pid"), ("time_for_children", "time")] {
        if own.namespaces.get(slot).is_some_and(|ino| *ino != own.namespaces[kind]) {
            boundary.insert(slot);
        }
    }
    let same_mounts = own.namespaces["mnt"] == parent.namespaces["mnt"];
    if own.root != if same_mounts { parent.root.as_str() } else { "/" } {
        boundary.insert("root");
    }
    Some(boundary)
}

/// The entries of a tree by pid, each with its parent's.
fn entries(tree: &Value) -> BTreeMap<u32, (&Value, Option<&Value>)> {
    let mut entries = BTreeMap::new();
    let mut stack: Vec<(&Value, Option<&Value>)> = roots(tree).iter().map(|root| (root, None)).collect();
    while let Some((entry, parent)) = stack.pop() {
        let before = entries.insert(number(&entry["pid"]), (entry, parent));
        assert!(before.is_none(), "process {} appears twice", entry["pid"]);
        stack
            .extend(entry["children"].as_array().expect("children").iter().map(|child| (child, Some(entry))));
    }
    entries
}

fn roots(tree: &Value) -> &[Value] {
    tree["roots"].as_array().expect("roots")
}

/// A line without its indentation and connectors.
fn bare(line: &str) -> &str {
    line.trim_start_matches(['│', '├', '└', '─', ' '])
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|n| n.try_into().ok()).unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The entry of a hierarchy whose namespace has this inode, with the inodes above it, outermost first.
fn find_entry(tree: &Value, ino: u64) -> (&Value, Vec<u64>) {
    let mut stack: Vec<(&Value, Vec<u64>)> = roots(tree).iter().map(|root| (root, Vec::new())).collect();
    while let Some((entry, above)) = stack.pop() {
        let own = entry["namespace"]["ino"].as_u64();
        if own == Some(ino) {
            return (entry, above);
        }
        let above: Vec<u64> = above.into_iter().chain(own).collect();
        let children = entry["children"].as_array().expect("children");
        stack.extend(children.iter().map(|child| (child, above.clone())));
    }
    panic!("no namespace {ino} in {tree}")
}

/// All the stages at once, alive until dropped.
struct Stages {
    nested: Staged,
    foreign_user: Staged,
    host_of_net: Staged,
    guest_of_net: Staged,
    jailed: Staged,
    other_time: Staged,
    jail: tempfile::TempDir,
}

impl Stages {
    fn new() -> Self {
        let jail = tempfile::tempdir().expect("a directory");
        let sleep = succeed(Command::new("sh").args(["-c", "command -v sleep"]));
        furnish(jail.path(), sleep.trim());
        let mut host_of_net = Staged::sh("exec unshare --net sleep 1000");
        let host = host_of_net.wait_for("sleep");
        let new_pid = "unshare --pid --fork";
        Self {
            nested: Staged::sh(&format!("exec {new_pid} {new_pid} {new_pid} sleep 1000")),
            foreign_user: Staged::sh(
                "exec setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user --map-root-user --net sleep 1000",
            ),
            guest_of_net: Staged::sh(&format!("exec nsenter --target {host} --net sleep 1000")),
            host_of_net,
            jailed: Staged::sh(&format!("exec chroot {} {} 1000", jail.path().display(), sleep.trim())),
            other_time: Staged::sh("exec unshare --time --boottime 1000 --fork sleep 1000"),
            jail,
        }
    }

    /// The pids of their sleepers.
    fn pids(&mut self) -> [u32; 6] {
        [
            &mut self.nested,
            &mut self.foreign_user,
            &mut self.host_of_net,
            &mut self.guest_of_net,
            &mut self.jailed,
            &mut self.other_time,
        ]
        .map(|staged| staged.wait_for("sleep"))
    }
}

#[test]
fn every_process_is_in_its_place_with_its_namespaces() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut stages = Stages::new();
    let sleepers = stages.pids();
    let before = all_by_hand();
    let tree = support::json(&["tree", "--json"]);
    let after = all_by_hand();
    let entries = entries(&tree);
    assert_eq!(tree["schema"], json!({"name": "nsprobe.tree", "version": "1.0"}));
    assert_eq!(tree["by"], "process");

    let mut compared = BTreeSet::new();
    for (pid, hand) in before.iter().filter(|(pid, hand)| after.get(pid) == Some(hand)) {
        let (entry, parent) = entries.get(pid).unwrap_or_else(|| panic!("process {pid} is not in the tree"));
        assert_eq!(number(&entry["ppid"]), hand.ppid, "process {pid}");
        assert_eq!(entry["start_ticks"], hand.start_ticks, "process {pid}");
        assert_eq!(entry["pids"], json!(hand.pids), "process {pid}");
        assert_eq!(entry["root"], hand.root, "process {pid}");
        for slot in SLOTS {
            assert_eq!(
                entry["namespaces"][slot],
                json!(hand.namespaces.get(slot)),
                "{slot} of process {pid}"
            );
        }
        if let Some(parent) = parent {
            assert_eq!(number(&parent["pid"]), hand.ppid, "process {pid}");
        }
        // A parent that is not readable is compared with its ancestors: not the subject of this test.
        if after.get(&hand.ppid) == before.get(&hand.ppid)
            && let Some(boundary) = boundary_by_hand(*pid, &before)
        {
            let named: BTreeSet<_> =
                entry["boundary"].as_array().expect("boundary").iter().filter_map(Value::as_str).collect();
            assert_eq!(named, boundary, "process {pid}: {hand:?}");
            compared.insert(*pid);
        }
    }
    for pid in sleepers {
        assert!(compared.contains(&pid), "staged process {pid} was not compared");
    }
    // Checks that the stages are as intended: otherwise nothing of interest was compared.
    let [nested, foreign, host, guest, jailed, time] = sleepers;
    let own = &before[&std::process::id()];
    assert_eq!(before[&nested].pids.len(), own.pids.len() + 3);
    assert_eq!(before[&nested].pids.last(), Some(&1));
    assert_ne!(before[&foreign].namespaces["user"], own.namespaces["user"]);
    assert_ne!(before[&host].namespaces["net"], own.namespaces["net"]);
    assert_eq!(before[&host].namespaces["net"], before[&guest].namespaces["net"]);
    assert_ne!(before[&time].namespaces["time"], own.namespaces["time"]);
    assert_eq!(entries[&jailed].0["root"], json!(stages.jail.path()));
    assert_eq!(entries[&jailed].0["chrooted"], true);
    let namespaces = tree["namespaces"].as_array().expect("namespaces");
    let user = namespaces.iter().find(|ns| ns["ino"] == before[&foreign].namespaces["user"]);
    assert_eq!(user.map(|ns| &ns["owner_uid"]), Some(&json!(1000)));
}

#[test]
fn the_text_shows_each_boundary_below_its_process() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut stages = Stages::new();
    let [nested, foreign, _, guest, jailed, _] = stages.pids();
    let plain = Staged::sh("sleep 1000 & sleep 1000 & sleep 1000 & wait");
    let text = support::run(&["tree"]).stdout;
    let lines: Vec<&str> = text.lines().collect();
    // A process's line and those on its boundary, without indentation and connectors.
    let of = |pid: u32| -> Vec<&str> {
        let at = lines.iter().position(|line| bare(line).split(' ').next() == Some(&pid.to_string()));
        let at = at.unwrap_or_else(|| panic!("process {pid} is not in\n{text}"));
        let mut found = vec![bare(lines[at])];
        let below = lines[at + 1..].iter().map(|line| line.trim_start_matches(['│', ' ']));
        found.extend(below.take_while(|line| line.starts_with('┊')));
        found
    };
    let hand = by_hand(nested).expect("it lives");
    let inside: Vec<String> = hand.pids[1..].iter().map(ToString::to_string).collect();
    assert_eq!(
        of(nested),
        [
            format!("{nested} [{}] sleep 1000", inside.join(" ")),
            // Its parent has a pid namespace for it, and is in the one above.
            format!("┊ pid:[{}]", hand.namespaces["pid"]),
        ]
    );
    let user = by_hand(foreign).expect("it lives").namespaces;
    let boundary = format!("┊ net:[{}] user:[{}]", user["net"], user["user"]);
    assert!(of(foreign).contains(&boundary.as_str()), "{:?}", of(foreign));
    let net = by_hand(guest).expect("it lives").namespaces["net"];
    assert_eq!(of(guest)[1..], [format!("┊ net:[{net}]")]);
    assert_eq!(of(jailed)[1..], [format!("┊ root {}", stages.jail.path().display())]);

    let is_shown = |text: &str| text.contains(&format!("{} sh -c \"sleep 1000 &", plain.pid()));
    assert!(!is_shown(&text), "a shell without a boundary below it is folded:\n{text}");
    assert!(is_shown(&support::run(&["tree", "--all"]).stdout));
}

#[test]
fn a_branch_has_ancestors_and_descendants_and_nobody_else() {
    let _limit = support::time_limit();
    let mut staged = Staged::sh("sleep 1000 & sh -c 'sleep 1000 & wait' & wait");
    staged.wait_for("sleep");
    let shell = staged.pid();
    let mut expected = BTreeSet::new();
    let mut up = Some(shell);
    while let Some(pid) = up.filter(|&pid| pid != 0) {
        expected.insert(pid);
        up = proc::ppid(pid);
    }
    let below = support::stage::wait(|| Some(staged.family()).filter(|family| family.len() == 4));
    expected.extend(below.expect("two shells and two sleepers"));
    let tree = support::json(&["tree", "--json", "--pid", &shell.to_string()]);
    let found: BTreeSet<u32> = entries(&tree).into_keys().collect();
    assert_eq!(found, expected);
    let text = support::run(&["tree", "--pid", &shell.to_string()]).stdout;
    let line = |line: &str| -> Option<u32> { bare(line).split(' ').next()?.parse().ok() };
    assert_eq!(text.lines().filter_map(line).collect::<BTreeSet<_>>(), expected, "{text}");
}

/// The reports of lsns(8) for namespaces: parent and owner, by inode.
fn lsns() -> BTreeMap<u64, (Option<u64>, Option<u64>)> {
    // Some versions write numbers as strings.
    let inode = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let known = |value: &Value| inode(value).filter(|&ino| ino != 0);
    let rows = support::lsns("NS,PNS,ONS").into_iter();
    rows.map(|row| (inode(&row["ns"]).expect("ns"), (known(&row["pns"]), known(&row["ons"])))).collect()
}

#[test]
fn pid_namespaces_nest_as_lsns_has_them() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut stages = Stages::new();
    let [nested, ..] = stages.pids();
    let lsns = lsns();
    let tree = support::json(&["tree", "--json", "--by", "pid"]);
    let innermost = proc::namespace(nested, "pid").expect("it lives");
    let (entry, above) = find_entry(&tree, innermost);
    assert_eq!(entry["processes"][0]["pid"], nested);
    assert!(above.len() >= 3, "three levels below this one: {above:?}");
    let mut parents = Vec::new();
    let mut up = lsns[&innermost].0;
    while let Some(ino) = up {
        parents.insert(0, ino);
        up = lsns.get(&ino).and_then(|relations| relations.0);
    }
    assert_eq!(above, parents);

    let text = support::run(&["tree", "--by", "pid"]).stdout;
    let lines: Vec<&str> = text.lines().map(bare).collect();
    let at = lines.iter().position(|line| *line == format!("pid:[{innermost}] 1 process"));
    let at = at.unwrap_or_else(|| panic!("{innermost} is not in\n{text}"));
    assert!(lines[at + 1].starts_with(&format!("{nested} [")), "{text}");
}

#[test]
fn user_namespaces_own_what_lsns_says() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut stages = Stages::new();
    let [_, foreign, ..] = stages.pids();
    let inodes = proc::namespaces(foreign).expect("it lives");
    let lsns = lsns();
    let tree = support::json(&["tree", "--json", "--by", "user"]);
    let (entry, above) = find_entry(&tree, inodes["user"]);
    assert_eq!(entry["namespace"]["owner_uid"], 1000);
    assert_eq!(above.last().copied(), proc::namespace(std::process::id(), "user"));
    assert_eq!(lsns[&inodes["user"]].0, above.last().copied());
    let owned: BTreeSet<u64> =
        entry["owned"].as_array().expect("owned").iter().filter_map(|ns| ns["ino"].as_u64()).collect();
    let by_lsns = lsns.iter().filter(|(_, relations)| relations.1 == Some(inodes["user"]));
    let by_lsns: BTreeSet<u64> = by_lsns.map(|(&ino, _)| ino).collect();
    assert_eq!(owned, by_lsns);
    assert_eq!(owned, BTreeSet::from([inodes["net"]]));

    let text = support::run(&["tree", "--by", "user"]).stdout;
    let line = format!("user:[{}] uid 1000", inodes["user"]);
    assert!(text.contains(&line), "{line}\n{text}");
    assert!(text.contains(&format!("net:[{}] 1 process · {foreign} sleep 1000", inodes["net"])), "{text}");
}

#[test]
fn a_namespace_without_processes_is_shown_with_its_bind_mount() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let netns = NamedNetns::add();
    let line = format!("net:[{}] held by {}", netns.ino(), netns.path());
    let text = support::run(&["tree", "--all"]).stdout;
    assert!(text.contains("\nNo process is in:\n"), "{text}");
    assert!(text.lines().any(|found| found.trim() == line), "{line}\n{text}");
    let text = support::run(&["tree", "--by", "user"]).stdout;
    let mut lines = text.lines().skip_while(|found| !found.contains(&format!("net:[{}]", netns.ino())));
    assert!(lines.next().is_some_and(|found| found.ends_with(" 0 processes")), "{text}");
    assert!(
        lines.next().is_some_and(|found| found.ends_with(&format!("┊ held by {}", netns.path()))),
        "{text}"
    );

    // With a process in it, it is a boundary like any other.
    let mut guest = Staged::spawn(Command::new("ip").args(["netns", "exec", &netns.name, "sleep", "1000"]));
    let sleeper = guest.wait_for("sleep");
    let tree = support::json(&["tree", "--json", "--pid", &sleeper.to_string()]);
    assert_eq!(entries(&tree)[&sleeper].0["namespaces"]["net"], netns.ino());
    let text = support::run(&["tree", "--all"]).stdout;
    assert!(!text.contains(&line), "{text}");
}

#[test]
fn without_root_it_shows_what_it_may_and_says_what_it_may_not() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (_directory, program) = support::unprivileged_copy();
    let as_nobody = |args: &[&str]| -> support::Ran {
        let mut command = support::nobody();
        command.arg(&program).args(args).env("LC_ALL", "C.UTF-8").output().expect("setpriv starts").into()
    };
    let own = std::process::id();
    let ran = as_nobody(&["tree", "--all"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let marked = ran.stdout.lines().filter(|line| line.ends_with("(namespaces not readable)")).count();
    assert!(marked > 0, "{}", ran.stdout);
    assert!(ran.stderr.starts_with("nsprobe: not readable: the namespaces of "), "{}", ran.stderr);
    assert!(ran.stderr.contains("run with sudo, or with CAP_SYS_PTRACE"), "{}", ran.stderr);
    let ran = as_nobody(&["tree", "--json"]);
    let tree: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(entries(&tree)[&own].0["namespaces"], Value::Null);
    let gaps = tree["gaps"].as_array().expect("gaps");
    let gap = gaps.iter().find(|gap| gap["kind"] == "process_namespaces").expect("a gap");
    let unreadable = entries(&tree).values().filter(|(entry, _)| entry["namespaces"].is_null()).count();
    assert_eq!(gap["count"], unreadable);
}
