//! `nsprobe trace --lifecycle`: when namespaces are created and destroyed, and the keys that distinguish those with the
//! same inode.

use crate::support::abuse::Abuse;
use crate::support::orphans::inode;
use crate::support::stage::{self, NamedNetns, Staged};
use crate::support::trace::{Stream, each_plan};
use crate::support::tracing::Tracing;
use crate::support::wire::{after, before, key_after, key_before};
use crate::support::{json, skipped};
use nix::sys::signal::{Signal, kill};
use nsprobe::model::NsSlot;
use serde_json::{Value, json as value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

fn of<'a>(stream: &'a Stream, line: &str) -> Vec<&'a Value> {
    stream.lines.iter().filter(|value| value["type"] == line).collect()
}

/// The keys of a list's namespaces, by kind and inode.
fn keys(list: &Value) -> BTreeMap<(String, u64), String> {
    let of = |ns: &Value| {
        let kind = ns["kind"].as_str().expect("a kind").to_owned();
        ((kind, ns["ino"].as_u64().expect("an inode")), ns["key"].as_str().expect("a key").to_owned())
    };
    list["namespaces"].as_array().expect("namespaces").iter().map(of).collect()
}

/// True if the kernel gives ids to namespaces of all kinds (Linux 6.18).
fn has_ids(list: &Value) -> bool {
    let namespaces = list["namespaces"].as_array().expect("namespaces");
    namespaces.iter().any(|ns| ns["kind"] == "net" && ns["kernel_id"].is_string())
}

#[test]
fn created_namespaces_are_reported_with_their_owner() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let script = "unshare --uts --ipc true; unshare --user --map-root-user --pid --fork true";
        let stream = Stream::record(&["--lifecycle", "--source", plan, "--", "sh", "-c", script]);
        let [first, second] = stream.of("unshare")[..] else { panic!("two unshares: {}", stream.stderr) };
        let first_line = &stream.lines[0];
        let made = |event: &Value, slot: &str, kind: &str, owner: &Value, owner_key: &Value| {
            let (pid, key) = (&event["process"]["pid"], &event["keys"][slot]);
            assert!(key.is_string() && owner_key.is_string(), "{event}");
            value!([kind, after(event, slot), key, owner, owner_key, "unshare", pid])
        };
        let (old, new) = (&before(second, "user"), &after(second, "user"));
        let old_key = &key_before(first_line, second, "user");
        let new_key = &key_after(first_line, second, "user");
        assert!(old != new && old_key != new_key);
        let expected = [
            made(first, "ipc", "ipc", old, old_key),
            made(first, "uts", "uts", old, old_key),
            made(second, "user", "user", old, old_key),
            made(second, "pid_for_children", "pid", new, new_key),
        ];
        let created: Vec<Value> = of(&stream, "created")
            .iter()
            .map(|line| {
                let ns = &line["namespace"];
                value!([
                    ns["kind"],
                    ns["ino"],
                    ns["key"],
                    line["owner"],
                    line["owner_key"],
                    line["by"],
                    line["pid"]
                ])
            })
            .collect();
        assert_eq!(created, expected);
        // None is reported without being requested.
        let stream = Stream::record(&["--source", plan, "--", "unshare", "--uts", "true"]);
        assert_eq!((of(&stream, "created").len(), stream.of("unshare").len()), (0, 1));
    });
}

#[test]
fn a_namespace_ends_when_nothing_holds_it_any_more() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        // The second has no process for as long as the file is mounted, the third for as long as it is open.
        let script = format!(
            "cd {}; unshare --uts true; touch held; unshare --uts=held true; sleep 0.5; umount held; sleep 1
             unshare --uts sh -c 'touch in; {}' &
             {}
             exec 9</proc/$!/ns/uts; touch out; wait; sleep 0.5; exec 9<&-; sleep 2",
            dir.path().display(),
            stage::until(&dir.path().join("out")),
            stage::until(&dir.path().join("in")),
        );
        let stream = Stream::record(&["--lifecycle", "--source", plan, "--", "sh", "-c", &script]);
        let [short, mounted, open] = stream.of("unshare")[..] else { panic!("three: {}", stream.stderr) };
        let uts = |event: &Value| event["keys"]["uts"].clone();
        let ended = of(&stream, "destroyed");
        if plan == "tracepoints" {
            let unseen = stream.lines[0]["source"]["unseen"].to_string();
            assert!(unseen.contains("the ends of namespaces"), "{unseen}");
            // All that it can know: another one has the inode.
            assert!(ended.iter().all(|line| line["seen"] == false && line["age_ns"].is_null()));
            return;
        }
        let age = |line: &Value| line["age_ns"].as_u64().expect("an age");
        let keys: Vec<Value> = ended.iter().map(|line| line["namespace"]["key"].clone()).collect();
        assert_eq!(keys, [uts(short), uts(mounted), uts(open)], "{:?}", stream.lines);
        assert!(ended.iter().all(|line| line["seen"] == true && age(line) > 0));
        assert!(age(ended[1]) >= 500_000_000 && age(ended[2]) >= 500_000_000, "{ended:?}");
    });
}

#[test]
fn a_number_that_is_used_again_has_another_key() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let script = "i=0; while [ $i -lt 150 ]; do unshare --ipc --uts true; i=$((i+1)); done";
        let stream = Stream::record(&["--lifecycle", "--source", plan, "--", "sh", "-c", script]);
        let mut keys_of: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for line in of(&stream, "created") {
            let (ino, key) = (line["namespace"]["ino"].as_u64(), line["namespace"]["key"].as_str());
            keys_of.entry(ino.expect("an inode")).or_default().push(key.expect("a key").to_owned());
        }
        let all: BTreeSet<&String> = keys_of.values().flatten().collect();
        assert_eq!((keys_of.values().map(Vec::len).sum::<usize>(), all.len()), (300, 300));
        assert!(keys_of.values().any(|keys| keys.len() > 1), "no inode was reused: {keys_of:?}");
        // No inode has two lifetimes at once.
        let mut alive: BTreeMap<u64, String> = BTreeMap::new();
        for line in &stream.lines {
            let key = || line["namespace"]["key"].as_str().expect("a key").to_owned();
            let ino = line["namespace"]["ino"].as_u64();
            match line["type"].as_str() {
                Some("created") => assert_eq!(alive.insert(ino.expect("an inode"), key()), None, "{line}"),
                Some("destroyed") => assert_eq!(alive.remove(&ino.expect("an inode")), Some(key()), "{line}"),
                _ => {}
            }
        }
    });
}

#[test]
fn a_key_is_the_one_of_list_and_tree() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("list");
        let script = format!("{} list --json >{}", env!("CARGO_BIN_EXE_nsprobe"), file.display());
        let args = [
            "--lifecycle",
            "--source",
            plan,
            "--",
            "unshare",
            "--uts",
            "--net",
            "--ipc",
            "sh",
            "-c",
            &script,
        ];
        let stream = Stream::record(&args);
        let list: Value = serde_json::from_slice(&std::fs::read(&file).expect("a list")).expect("JSON");
        let [event] = stream.of("unshare")[..] else { panic!("one unshare: {}", stream.stderr) };
        let known = keys(&list);
        let key_of = |slot: &str, ino: &Value| {
            let kind = slot.trim_end_matches("_for_children").to_owned();
            known.get(&(kind, ino.as_u64().expect("an inode"))).expect("list has it").clone()
        };
        for slot in ["net", "uts", "ipc"] {
            let key = event["keys"][slot].as_str().expect("a key");
            let listed = key_of(slot, &after(event, slot));
            if has_ids(&list) {
                assert_eq!(key, listed);
            } else {
                // The list cannot know its creation time.
                assert!(key.starts_with(&format!("{listed}@")), "{key}");
            }
        }
        for slot in NsSlot::ALL.map(NsSlot::name) {
            let key = key_before(&stream.lines[0], event, slot);
            assert_eq!(key, key_of(slot, &before(event, slot)));
        }
        let created: Vec<&str> =
            of(&stream, "created").iter().filter_map(|line| line["namespace"]["key"].as_str()).collect();
        let changed = event["changed"].as_object().expect("an object").keys();
        let after: Vec<&str> = changed.filter_map(|slot| event["keys"][slot].as_str()).collect();
        assert_eq!(BTreeSet::from_iter(created), BTreeSet::from_iter(after));
        // A tree has the same.
        let staged = Staged::sh("exec unshare --net sleep 60");
        let net = NamedNetns::add();
        let (list, tree) = (json(&["list", "--json"]), json(&["tree", "--by", "user", "--json"]));
        drop(staged);
        let key = keys(&list)[&("net".to_owned(), net.ino())].clone();
        assert!(tree.to_string().contains(&format!(r#""key":"{key}""#)), "{key}");
    });
}

#[test]
fn without_ids_and_tracker_there_are_no_keys() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let stream = Stream::record(&["--source", plan, "--", "unshare", "--uts", "true"]);
        let [event] = stream.of("unshare")[..] else { panic!("one unshare: {}", stream.stderr) };
        assert_eq!(event["keys"].is_object(), has_ids(&json(&["list", "--json"])), "{event}");
    });
}

#[test]
fn existing_namespaces_are_reported_at_the_start_and_their_end_when_it_comes() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let net = NamedNetns::add();
        let list = json(&["list", "--json"]);
        let (key, ino) = (keys(&list)[&("net".to_owned(), net.ino())].clone(), net.ino());
        let mut tracing = Tracing::start(&["--lifecycle", "--source", plan, "--event", "pivot_root"]);
        let mut line = || -> Value { serde_json::from_str(&tracing.line()).expect("JSON") };
        let is_net = |line: &Value| line["namespace"]["key"] == key.as_str();
        let first = std::iter::repeat_with(&mut line).find(|line| line["type"] == "created" && is_net(line));
        let first = first.expect("it is reported");
        assert_eq!((&first["by"], &first["pid"]), (&value!("first seen"), &Value::Null));
        let owner = list["namespaces"].as_array().expect("namespaces").iter().find(|ns| ns["ino"] == ino);
        assert_eq!(first["owner"], owner.expect("it is listed")["owner"]["ino"]);
        drop(net);
        if plan != "tracepoints" {
            let end =
                std::iter::repeat_with(&mut line).find(|line| line["type"] == "destroyed" && is_net(line));
            let end = end.expect("it is reported");
            assert_eq!((&end["seen"], &end["age_ns"]), (&value!(true), &Value::Null));
        }
        kill(tracing.pid(), Signal::SIGINT).expect("nsprobe runs");
        let stream = Stream::check(tracing.end());
        assert_eq!((stream.code, stream.end_reason()), (Some(0), "interrupted"));
        // The initial ones are among them, once.
        let initial: Vec<&Value> = of(&stream, "created");
        for ns in list["namespaces"].as_array().expect("namespaces").iter().filter(|ns| ns["initial"] == true)
        {
            let times = initial.iter().filter(|line| line["namespace"]["key"] == ns["key"]).count();
            assert_eq!(times, 1, "{ns}");
        }
    });
}

#[test]
fn joined_namespaces_are_reported_if_their_creation_was_not() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let net = NamedNetns::add();
        let key = keys(&json(&["list", "--json"]))[&("net".to_owned(), net.ino())].clone();
        let join = format!("nsenter --net={} true; nsenter --net={} true", net.path(), net.path());
        let stream = Stream::record(&["--lifecycle", "--source", plan, "--", "sh", "-c", &join]);
        let [created] = of(&stream, "created")[..] else { panic!("one: {:?}", stream.lines) };
        assert_eq!((&created["namespace"]["key"], &created["by"]), (&value!(key), &value!("first seen")));
        assert!(created["owner"].is_u64() && created["owner_key"].is_string(), "{created}");
        assert_eq!(created["seq"], 2, "after the event: {:?}", stream.lines);
    });
}

#[test]
fn lifecycle_is_reported_whatever_events_are_requested() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        for filter in [&["--event", "chroot"][..], &["--filter", "process.uid == 12345"]] {
            let args =
                [&["--lifecycle", "--source", plan], filter, &["--", "unshare", "--uts", "--fork", "true"]];
            let stream = Stream::record(&args.concat());
            assert_eq!(stream.events().count(), 0);
            let [created] = of(&stream, "created")[..] else { panic!("one: {:?}", stream.lines) };
            assert_eq!((&created["namespace"]["kind"], &created["by"]), (&value!("uts"), &value!("unshare")));
        }
        if plan == "tracepoints" {
            skipped("ends of namespaces whose events are not requested: tracepoints do not show them");
            return;
        }
        let script = "unshare --uts true; sleep 0.5";
        let args = ["--lifecycle", "--source", plan, "--event", "chroot", "--", "sh", "-c", script];
        assert_eq!(of(&Stream::record(&args), "destroyed").len(), 1);
    });
}

/// Namespaces of users other than the one who makes many.
const OTHERS: usize = 20;

#[test]
fn who_makes_many_namespaces_hides_the_end_of_no_other() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        if plan == "tracepoints" {
            return skipped("no tracepoint shows ends");
        }
        let mut tracing =
            Tracing::start(&["--lifecycle", "--source", plan, "--room", "128", "--event", "pivot_root"]);
        let mut ends = |inos: &BTreeSet<u64>, count: usize| {
            let mut seen = 0;
            while seen < count {
                let line: Value = serde_json::from_str(&tracing.line()).expect("JSON");
                let is_end = line["type"] == "destroyed" && line["seen"] == true;
                let ino = line["namespace"]["ino"].as_u64().filter(|_| is_end);
                seen += usize::from(ino.is_some_and(|ino| inos.contains(&ino)));
            }
        };
        // More than the table has room for, of one user, who keeps them.
        let mut many = Abuse::start("many 300");
        let last: u64 = many.report().parse().expect("an inode");
        let script = format!("for i in $(seq {OTHERS}); do unshare --uts readlink /proc/self/ns/uts; done");
        let text = stage::succeed(Command::new("sh").args(["-c", &script]));
        let inos: BTreeSet<u64> = text.lines().map(|line| inode(Path::new(line))).collect();
        assert!(!inos.contains(&last) && text.lines().count() == OTHERS, "{text}");
        ends(&inos, OTHERS);
        // There is room again.
        drop(many);
        let mut few = Abuse::start("many 3");
        let last: u64 = few.report().parse().expect("an inode");
        drop(few);
        ends(&BTreeSet::from([last]), 1);
        kill(tracing.pid(), Signal::SIGINT).expect("nsprobe runs");
        let ran = tracing.end();
        let end: Value = serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
        let lost = end["totals"]["lost"].as_array().expect("a list");
        assert!(lost.iter().any(|lost| lost["stage"] == "namespaces_full"), "it was never full: {end}");
    });
}
