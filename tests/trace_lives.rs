//! `nsprobe trace --lives`: when namespaces are made and end.

use crate::support::trace::{Stream, each_plan};
use serde_json::{Value, json};

fn of<'a>(stream: &'a Stream, line: &str) -> Vec<&'a Value> {
    stream.lines.iter().filter(|value| value["type"] == line).collect()
}

#[test]
fn what_a_call_makes_is_told_with_its_owner() {
    each_plan(|plan| {
        let script = "unshare --uts --ipc true; unshare --user --map-root-user --pid --fork true";
        let stream = Stream::record(&["--lives", "--hooks", plan, "--", "sh", "-c", script]);
        let [first, second] = stream.of("unshare")[..] else { panic!("two unshares: {}", stream.stderr) };
        let made = |event: &Value, slot: &str, kind: &str, owner: &Value| {
            let pid = &event["process"]["pid"];
            json!([{"kind": kind, "ino": event["after"][slot]}, owner, "unshare", pid])
        };
        let (old, new) = (&second["before"]["user"], &second["after"]["user"]);
        assert_ne!(old, new);
        let expected = [
            made(first, "ipc", "ipc", old),
            made(first, "uts", "uts", old),
            made(second, "pid_for_children", "pid", new),
            made(second, "user", "user", old),
        ];
        let created: Vec<Value> = of(&stream, "created")
            .iter()
            .map(|line| json!([line["namespace"], line["owner"], line["by"], line["pid"]]))
            .collect();
        assert_eq!(created, expected);
        // None is told of without being asked for.
        let stream = Stream::record(&["--hooks", plan, "--", "unshare", "--uts", "true"]);
        assert_eq!((of(&stream, "created").len(), stream.of("unshare").len()), (0, 1));
    });
}

#[test]
fn a_namespace_ends_when_nothing_holds_it_any_more() {
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        // The second has no process for as long as the file is mounted.
        let script = format!(
            "cd {}; unshare --uts true; touch held; unshare --uts=held true; sleep 0.5; umount held; sleep 2",
            dir.path().display()
        );
        let stream = Stream::record(&["--lives", "--hooks", plan, "--", "sh", "-c", &script]);
        let [short, held] = stream.of("unshare")[..] else { panic!("two unshares: {}", stream.stderr) };
        let uts = |event: &Value| json!({"kind": "uts", "ino": event["after"]["uts"]});
        let ended = of(&stream, "destroyed");
        if plan == "tracepoints" {
            let unseen = stream.lines[0]["hooks"]["unseen"].to_string();
            assert!(ended.is_empty() && unseen.contains("the ends of namespaces"), "{unseen}");
            return;
        }
        let age = |line: &Value| line["age_ns"].as_u64().expect("an age");
        let [first, second] = ended[..] else { panic!("two ends: {:?}", stream.lines) };
        assert_eq!((&first["namespace"], &second["namespace"]), (&uts(short), &uts(held)));
        assert!(age(first) > 0 && age(second) >= 500_000_000, "{first} {second}");
    });
}
