//! `nsprobe trace` when more happens than it can take: the losses, and the resync afterwards.

use crate::support::stage;
use crate::support::trace::{LEFT_OUT, each_plan, lost, retry};
use crate::support::tracing::Tracing;
use crate::support::{Ran, wire};
use aya::maps::{HashMap, Map, MapData};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Waits for a file of this name to appear.
fn made(dir: &Path, name: &str) {
    assert!(stage::wait(|| dir.join(name).exists().then_some(())).is_some(), "{name} does not appear");
}

/// Reads lines until one contains `word`, or reports that the kernel left out calls: then everything is repeated.
fn read_until(tracing: &mut Tracing, word: &str) {
    loop {
        let line = tracing.line();
        if line.contains(word) || line.contains(LEFT_OUT) {
            return;
        }
    }
}

/// Traces `before`, then `burst` while nsprobe is stopped and has room for three events, then `after`, each shell
/// script, and while it is stopped `meanwhile` with its pid; returns the lines. `before` makes an ipc namespace.
fn overwhelmed(
    plan: &str,
    args: &[&str],
    [before, burst, after]: [&str; 3],
    meanwhile: impl Fn(u32),
) -> Vec<Value> {
    let ran = retry(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        let script = format!(
            "cd {}\n{before}\ntouch ready; {}\n{burst}\ntouch done; {}\n{after}\nsleep 0.5",
            dir.display(),
            stage::until(&dir.join("go")),
            stage::until(&dir.join("end")),
        );
        let start = [args, &["--source", plan, "--buffer", "4K", "--", "sh", "-c", &script]].concat();
        let mut tracing = Tracing::start(&start);
        // It is idle, and everything before the burst has been reported.
        read_until(&mut tracing, "CLONE_NEWIPC");
        made(dir, "ready");
        kill(tracing.pid(), Signal::SIGSTOP).expect("nsprobe runs");
        File::create(dir.join("go")).expect("a file");
        made(dir, "done");
        meanwhile(tracing.child.id());
        kill(tracing.pid(), Signal::SIGCONT).expect("nsprobe runs");
        read_until(&mut tracing, r#""type":"rebuilt""#);
        File::create(dir.join("end")).expect("a file");
        tracing.end()
    });
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn what_is_lost_is_counted_and_said_between_which_lines() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let burst = "i=0; while [ $i -lt 20 ]; do unshare --uts true; i=$((i+1)); done";
        let lines = overwhelmed(plan, &[], ["unshare --ipc true", burst, "unshare --net true"], |_| ());
        let losses = of(&lines, "lost");
        let count: u64 = losses.iter().map(|lost| lost["count"].as_u64().expect("a number")).sum();
        assert!(losses.iter().all(|lost| lost["stage"] == "ring_full"), "{losses:?}");
        assert!(count > 0 && of(&lines, "event").len() as u64 + count == 22, "{lines:#?}");
        // Between the events before the loss and the one after it.
        let seq = |value: &Value| value.as_u64().expect("a number");
        let seq_of = |slot: &str| {
            let event = of(&lines, "event").into_iter().find(|line| line["changed"].get(slot).is_some());
            seq(&event.expect("it is reported")["seq"])
        };
        let time = |value: &Value| value.as_str().expect("a time").to_owned();
        for lost in losses {
            assert!(seq_of("ipc") <= seq(&lost["after_seq"]) && seq(&lost["seq"]) < seq_of("net"), "{lost}");
            assert!(time(&lost["since"]) < time(&lost["time"]), "{lost}");
        }
        let totals = &lines.last().expect("an end")["totals"];
        let [in_all] = &totals["lost"].as_array().expect("a list")[..] else { panic!("{totals}") };
        assert_eq!((&in_all["stage"], &in_all["count"]), (&"ring_full".into(), &count.into()), "{totals}");
        // All of one user, in one control group, if there are any.
        let owners = in_all["owners"].as_array().expect("a list");
        assert_eq!((owners.len(), &owners[0]["uid"], &owners[0]["count"]), (1, &0.into(), &count.into()));
        // Nothing was wrong: no namespaces are tracked, and all tasks were followed.
        let [rebuilt] = of(&lines, "rebuilt")[..] else { panic!("once: {lines:#?}") };
        assert_eq!((&rebuilt["ended"], &rebuilt["followed"]), (&Value::Null, &0.into()));
    });
}

#[test]
fn after_a_loss_the_account_of_namespaces_is_put_right() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        // One namespace exists before the burst and ends in it, unseen; one is made in it, unseen, and ends later.
        // The kernel ends them by deferred work, for which there is time.
        let before = "unshare --ipc sleep 60 & old=$!; sleep 0.3";
        let burst = "i=0; while [ $i -lt 20 ]; do unshare --uts true; i=$((i+1)); done
             unshare --net sleep 60 & new=$!; sleep 1; kill $old; wait $old; sleep 1";
        let after = "readlink /proc/$new/ns/net >&2; kill $new; wait $new; sleep 2; unshare --ipc true";
        let lines = overwhelmed(plan, &["--lifecycle"], [before, burst, after], |_| ());
        let lost: u64 = of(&lines, "lost").iter().map(|line| line["count"].as_u64().expect("a number")).sum();
        assert!(lost > 0, "{lines:#?}");
        let position = |kind: &str| lines.iter().position(|line| line["type"] == kind).expect("it is there");
        assert!(position("lost") < position("rebuilt"), "{lines:#?}");
        // No inode has two lifetimes at once, over all the lines.
        let mut alive: BTreeMap<u64, &Value> = BTreeMap::new();
        for line in &lines {
            let ino = || line["namespace"]["ino"].as_u64().expect("an inode");
            match line["type"].as_str() {
                Some("created") => assert!(alive.insert(ino(), line).is_none(), "{line}: {lines:#?}"),
                Some("destroyed") => assert!(alive.remove(&ino()).is_some(), "{line}: {lines:#?}"),
                _ => {}
            }
        }
        // What came after is reported as usual.
        let [.., last] = of(&lines, "created")[..] else { panic!("none is created") };
        assert_eq!((&last["by"], &last["namespace"]["kind"]), (&"unshare".into(), &"ipc".into()));
        if plan == "tracepoints" {
            return;
        }
        let rebuilt = &lines[position("rebuilt")];
        assert!(rebuilt["ended"].as_u64() > Some(0) && rebuilt["found"].as_u64() > Some(0), "{rebuilt}");
        let unseen = of(&lines, "destroyed").into_iter().filter(|line| line["seen"] == false);
        let kinds: Vec<&str> = unseen.filter_map(|line| line["namespace"]["kind"].as_str()).collect();
        assert!(kinds.contains(&"ipc"), "{lines:#?}");
        let net = |line: &&&Value| line["namespace"]["kind"] == "net";
        let (created, destroyed) = (of(&lines, "created"), of(&lines, "destroyed"));
        let (created, destroyed) = (created.iter().find(net), destroyed.iter().find(net));
        let (created, destroyed) = (created.expect("it is found"), destroyed.expect("its end is seen"));
        assert_eq!((&created["by"], &destroyed["seen"]), (&"first seen".into(), &true.into()));
        assert_eq!(created["namespace"], destroyed["namespace"]);
    });
}

/// Makes the nsprobe with this pid forget the tasks it follows, as if their creation had been lost.
fn forget_the_followed(pid: u32) {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("descriptors");
    let ids = files.filter_map(|file| {
        let text = std::fs::read_to_string(file.ok()?.path()).ok()?;
        text.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok())
    });
    let ids: Vec<u32> = ids.collect();
    let mut followed = aya::maps::loaded_maps().filter_map(Result::ok);
    let followed = followed.find(|map| ids.contains(&map.id()) && map.name() == b"FOLLOWED");
    let data = MapData::from_id(followed.expect("it has the map").id()).expect("the map");
    let mut map: HashMap<_, u64, u8> = Map::HashMap(data).try_into().expect("it is of tasks");
    let keys: Vec<u64> = map.keys().map(|key| key.expect("a key")).collect();
    assert!(!keys.is_empty(), "nobody is followed");
    for key in &keys {
        // It may have ended meanwhile.
        let _ = map.remove(key);
    }
}

#[test]
fn after_a_loss_descendants_are_followed_again() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let burst = "i=0; while [ $i -lt 20 ]; do unshare --uts true; i=$((i+1)); done";
        let lines =
            overwhelmed(plan, &[], ["unshare --ipc true", burst, "unshare --net true"], forget_the_followed);
        let [rebuilt] = of(&lines, "rebuilt")[..] else { panic!("once: {lines:#?}") };
        assert!(rebuilt["followed"].as_u64() > Some(0), "{rebuilt}");
        let Some(last) = of(&lines, "event").last().copied() else { panic!("no event: {lines:#?}") };
        assert_eq!(wire::changed(last), serde_json::json!(["net"]), "{lines:#?}");
    });
}

#[test]
fn what_the_output_did_not_take_is_counted() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        // Room for the first lines, in a file system that ends with its mount namespace.
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().display();
        let script = format!(
            "mount -t tmpfs -o size=8k none {dir} && exec {} trace --json --source {plan} -- sh -c \\
             'i=0; while [ $i -lt 30 ]; do unshare --uts true; i=$((i+1)); done' >{dir}/lines",
            env!("CARGO_BIN_EXE_nsprobe")
        );
        let mut command = Command::new("unshare");
        let ran: Ran =
            command.args(["--mount", "sh", "-c", &script]).output().expect("unshare starts").into();
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        let lost = lost(&ran.stderr)["sink"];
        assert!(lost > 0 && ran.stderr.contains("No space left"), "{}", ran.stderr);
    });
}
