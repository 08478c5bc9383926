//! The published JSON Schemas, checked against the output of nsprobe on this machine: they accept it, and they reject
//! it when anything in it is missing, of another type, or unknown.

use crate::doctor::diagnosis;
use crate::support::stage::{NamedNetns, Staged};
use crate::support::{self, json, nsprobe};
use jsonschema::Validator;
use nsprobe::document::schemas::{self, Schema};
use nsprobe::model::{GapKind, HeldBy, NsKind, NsSlot, Source};
use serde_json::{Value, json as value};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema")
}

pub fn published(schema: Schema) -> Value {
    let path = directory().join(format!("{}-{}.json", schema.name, schema.version));
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The published schema, closed: readers must accept what a later version adds, these tests must not.
pub fn closed(schema: Schema) -> Validator {
    let mut schema = published(schema);
    close(&mut schema);
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && members.get("type").is_some_and(|it| it == "object") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Panics with the first errors if the schema rejects the document.
pub fn admitted(validator: &Validator, document: &Value, what: &str) {
    let complaints: Vec<String> = validator
        .iter_errors(document)
        .take(3)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(complaints.is_empty(), "{what}: {complaints:#?}");
}

/// Every path in a document, equal ones once: `/namespaces/*/leader/pid`.
fn paths(document: &Value) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut open = vec![(String::new(), String::new(), document)];
    while let Some((pointer, shape, value)) = open.pop() {
        if seen.insert((shape.clone(), std::mem::discriminant(value))) && !pointer.is_empty() {
            found.push(pointer.clone());
        }
        match value {
            Value::Object(members) => open.extend(members.iter().map(|(name, value)| {
                let shape =
                    if name == "children" { "/children".to_owned() } else { format!("{shape}/{name}") };
                // Holders and trace lines have a shape for each type.
                let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
                (format!("{pointer}/{name}"), format!("{shape}{kind}"), value)
            })),
            Value::Array(items) => {
                let item = |(i, value)| (format!("{pointer}/{i}"), format!("{shape}/*"), value);
                open.extend(items.iter().enumerate().map(item));
            }
            _ => {}
        }
    }
    found
}

/// Optional fields, by name or, if the name is required elsewhere, by path.
const OPTIONAL: [&str; 15] = [
    "target",
    "child",
    "scans",
    "unsure",
    "abi",
    "args_seen",
    "before_key",
    "same_directory",
    "new_process",
    "pid_for_children",
    "time_for_children",
    "/errno",
    "/root",
    "/cwd",
    "/keys",
];

/// Objects all of whose fields are optional.
const SPARSE: [&str; 4] = ["/changed", "/unsure", "/keys", "/target/namespaces"];

/// True if a line of a trace, or another document, need not have what is at the path.
fn is_optional(path: &str) -> bool {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let is_of_event = ["/process/", "/child/", "/args/"].iter().any(|object| path.starts_with(object));
    let is_mark =
        name.ends_with("_base64") || name.ends_with("_state") || is_of_event && name.ends_with("_cut");
    OPTIONAL.contains(&name) || OPTIONAL.contains(&path) || SPARSE.contains(&parent) || is_mark
}

/// Breaks the document at every path, in every way; the schema must notice. Returns the number of ways.
pub fn refused_when_broken(validator: &Validator, document: &Value) -> usize {
    let mut ways = 0;
    let mut refuse = |broken: &Value, how: &str| {
        assert!(!validator.is_valid(broken), "admitted {how}");
        ways += 1;
    };
    for path in paths(document) {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut broken = document.clone();
        if let Some(Value::Object(members)) = broken.pointer_mut(parent) {
            members.remove(name);
            if !is_optional(&path) {
                refuse(&broken, &format!("without {path}"));
            }
        }
        let mut broken = document.clone();
        let value = broken.pointer_mut(&path).unwrap();
        *value = if value.is_object() || value.is_array() { value!(12.5) } else { value!({"wrong": []}) };
        refuse(&broken, &format!("another type at {path}"));
        let mut broken = document.clone();
        if let Some(Value::Object(members)) = broken.pointer_mut(&path) {
            members.insert("surprise".to_owned(), 1.into());
            refuse(&broken, &format!("something unknown in {path}"));
        }
    }
    ways
}

#[test]
fn files_and_constants_agree() {
    let _limit = support::time_limit();
    let mut files = BTreeSet::new();
    for schema in schemas::ALL {
        let document = published(schema);
        let id = format!("{}-{}", schema.name, schema.version);
        assert_eq!(document["$id"], format!("urn:nsprobe:schema:{id}"));
        assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(jsonschema::meta::is_valid(&document), "{id} is not a JSON Schema");
        let head =
            ["", "/$defs/start"].iter().find_map(|at| document.pointer(&format!("{at}/properties/schema")));
        let head = head.unwrap_or_else(|| panic!("{id} does not name itself"));
        assert_eq!(head["properties"]["name"]["const"], schema.name);
        let major = schema.version.split('.').next().unwrap();
        assert_eq!(head["properties"]["version"]["pattern"], format!(r"^{major}\.\d+$"));
        files.insert(format!("{id}.json"));
    }
    let found: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, files, "a schema without a document, or a document without a schema");
}

/// Every enum in a schema that contains `word`.
fn enumerations<'a>(schema: &'a Value, word: &str, found: &mut Vec<&'a Value>) {
    match schema {
        Value::Object(members) => {
            let is_wanted =
                |words: &&Value| words.as_array().is_some_and(|words| words.iter().any(|it| it == word));
            found.extend(members.get("enum").filter(is_wanted));
            members.values().for_each(|value| enumerations(value, word, found));
        }
        Value::Array(items) => items.iter().for_each(|value| enumerations(value, word, found)),
        _ => {}
    }
}

#[test]
fn the_words_of_the_schemas_are_those_of_the_code() {
    let _limit = support::time_limit();
    let slots: Vec<_> = NsSlot::ALL.iter().map(|slot| slot.name()).collect();
    let slots_and_root: Vec<_> = slots.iter().copied().chain(["root"]).collect();
    let slots_and_directories: Vec<_> = slots.iter().copied().chain(["root", "cwd"]).collect();
    let kinds: Vec<_> = NsKind::ALL.iter().map(|kind| kind.name()).collect();
    let sources: Vec<_> = Source::ALL.iter().map(|source| source.name()).collect();
    let gaps: Vec<_> = GapKind::ALL.iter().map(|gap| gap.name()).collect();
    let files: Vec<_> = HeldBy::ALL.iter().map(|by| by.name()).collect();
    let mut counts = [0; 4];
    for schema in schemas::ALL {
        let document = published(schema);
        for (i, (word, wanted)) in [
            ("cgroup", vec![&kinds, &slots, &slots_and_root, &slots_and_directories]),
            ("kernel_lists", vec![&sources]),
            ("hidden_processes", vec![&gaps]),
            ("peer_credentials", vec![&files]),
        ]
        .into_iter()
        .enumerate()
        {
            let mut found = Vec::new();
            enumerations(&document, word, &mut found);
            counts[i] += found.len();
            for words in found {
                assert!(wanted.iter().any(|wanted| value!(wanted) == *words), "{}: {words}", schema.name);
            }
        }
    }
    assert!(counts.iter().all(|&count| count >= 2), "{counts:?}");
}

/// Namespaces with holders of many kinds, a chrooted process, a nested namespace.
fn stage() -> (NamedNetns, Staged) {
    let named = NamedNetns::add();
    let script = format!(
        "exec 7<{}; unshare --user --map-root-user --pid --fork --mount sh -c 'sleep 1000; true'",
        named.path()
    );
    let mut staged = Staged::sh(&script);
    staged.wait_for("sleep");
    (named, staged)
}

#[test]
fn lists_and_trees_are_as_their_schemas_say() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (named, staged) = stage();
    let pid = staged.pid().to_string();
    let list = closed(schemas::LIST);
    let tree = closed(schemas::TREE);
    let document = json(&["list", "--json"]);
    admitted(&list, &document, "list");
    let of_net = json(&["list", "--json", "--filter", &format!("ino == {}", named.ino())]);
    admitted(&list, &of_net, "list --filter");
    let ways = refused_when_broken(&list, &document);
    assert!(ways > 120, "only {ways} ways to break a list");
    for args in [&["--by", "process"][..], &["--by", "pid"], &["--by", "user"], &["--pid", &pid]] {
        let document = json(&[&["tree", "--json"], args].concat());
        admitted(&tree, &document, &format!("tree {args:?}"));
        // The whole tree has everything many times over.
        if args[0] != "--pid" {
            let ways = refused_when_broken(&tree, &pruned(document));
            assert!(ways > 120, "only {ways} ways to break tree {args:?}");
        }
    }
    assert!(!list.is_valid(&json(&["tree", "--json"])) && !tree.is_valid(&document));
}

/// The first few of every list, so that breaking each path does not take minutes.
fn pruned(mut document: Value) -> Value {
    let mut open = vec![&mut document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => open.extend(members.values_mut()),
            Value::Array(items) => {
                items.truncate(12);
                open.extend(items);
            }
            _ => {}
        }
    }
    document
}

#[test]
fn what_an_unprivileged_user_sees_is_as_the_schema_says() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (_dir, nsprobe) = support::unprivileged_copy();
    for (schema, command) in [(schemas::LIST, "list"), (schemas::TREE, "tree"), (schemas::DOCTOR, "doctor")] {
        let output = support::nobody().arg(&nsprobe).args([command, "--json"]).output().unwrap();
        let document = serde_json::from_slice(&output.stdout).unwrap();
        admitted(&closed(schema), &document, command);
        let nulls = |list: &str, member: &str| {
            document[list].as_array().unwrap().iter().filter(|it| it[member].is_null()).count()
        };
        if command == "list" {
            assert!(nulls("processes", "namespaces") > 0 && nulls("namespaces", "initial") > 0);
        }
    }
}

#[test]
fn a_diagnosis_is_as_its_schema_says() {
    let _limit = support::time_limit();
    let document = diagnosis();
    let doctor = closed(schemas::DOCTOR);
    admitted(&doctor, document, "doctor");
    assert!(refused_when_broken(&doctor, document) > 15);
    let mut broken = document.clone();
    broken["checks"][0]["verdict"] = "splendid".into();
    assert!(!doctor.is_valid(&broken));
}

#[test]
fn differences_are_as_their_schema_says() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let diff = closed(schemas::DIFF);
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old.json");
    let (named, staged) = stage();
    let document = json(&["list", "--json"]);
    // Gaps that this machine does not have are written into the old snapshot.
    let mut before = document.clone();
    let processes = before["processes"].as_array_mut().unwrap();
    let moved = processes.iter_mut().find(|process| process["pid"] == staged.pid()).unwrap();
    moved["namespaces"]["net"] = 7.into();
    (moved["root"], moved["chrooted"]) = ("/jail".into(), true.into());
    processes.retain(|process| process["ppid"] != staged.pid());
    let gone = document["processes"].as_array().unwrap().iter().find(|process| process["pid"] == 2).unwrap();
    let mut gone = gone.clone();
    (gone["pid"], gone["start_ticks"], gone["kernel_thread"]) = (4_194_303.into(), 1.into(), false.into());
    processes.push(gone);
    let namespaces = before["namespaces"].as_array_mut().unwrap();
    let nested = namespaces.iter_mut().find(|ns| ns["kind"] == "user" && ns["initial"] == false).unwrap();
    nested["ino"] = 8.into();
    let named = namespaces.iter_mut().find(|ns| ns["ino"] == named.ino()).unwrap();
    (named["kernel_id"], named["owner"], named["file_since"]) = (Value::Null, Value::Null, Value::Null);
    before["gaps"] = value!([{"kind": "mounts", "count": 1, "reason": "no", "remedy": null}]);
    fs::write(&old, before.to_string()).unwrap();
    let output = nsprobe().args(["diff", "--json"]).arg(&old).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    for list in [
        "/namespaces/came",
        "/namespaces/went",
        "/namespaces/unsure",
        "/processes/came",
        "/processes/went",
        "/processes/changed",
        "/visibility",
    ] {
        assert!(
            !document.pointer(list).unwrap().as_array().unwrap().is_empty(),
            "{list} was not staged: {document}"
        );
    }
    admitted(&diff, &document, "diff");
    let ways = refused_when_broken(&diff, &document);
    assert!(ways > 200, "only {ways} ways to break a diff");
    // The user who took that snapshot did not see all processes, nor the mount namespace of one.
    let taken = json(&["list", "--json"]);
    let all = taken["processes"].as_array().unwrap();
    let child = all.iter().find(|process| process["ppid"] == staged.pid()).unwrap();
    let namespaces = before["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|ns| ns["ino"] != child["namespaces"]["mnt"]);
    before["gaps"] = value!([{"kind": "hidden_processes", "count": 1, "reason": "no", "remedy": null}]);
    fs::write(&old, before.to_string()).unwrap();
    let output = nsprobe().args(["diff", "--json"]).arg(&old).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    for list in ["/namespaces/unseen", "/processes/unseen"] {
        let unseen = document.pointer(list).unwrap().as_array().unwrap();
        assert!(unseen.iter().any(|it| it["old"].is_null() && it["new"].is_object()), "{list}: {document}");
    }
    admitted(&diff, &document, "diff");
    refused_when_broken(&diff, &document);
}

#[test]
fn every_line_of_a_trace_is_as_its_schema_says() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let script = format!(
        "unshare --uts --net true; nsenter --net={} true; nsenter --uts --target $$ true; chroot / true; \
         chroot /nowhere true; unshare --mount sh -c 'mount -t tmpfs none /mnt && mkdir /mnt/old && \
         pivot_root /mnt /mnt/old'; pivot_root / /; true",
        named.path()
    );
    let output = nsprobe()
        .args(["trace", "--json", "--lifecycle", "--clone", "all", "--", "sh", "-c", &script])
        .output()
        .unwrap();
    let trace = closed(schemas::TRACE);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 10, "{}", String::from_utf8_lossy(&output.stderr));
    let mut seen = BTreeSet::new();
    let mut ways = 0;
    for line in &lines {
        admitted(&trace, line, &line.to_string());
        let sort = (
            line["type"].to_string(),
            line["event"].to_string(),
            line["errno"].is_null(),
            line["target"].is_null(),
        );
        if seen.insert(sort) {
            ways += refused_when_broken(&trace, line);
        }
    }
    let events: BTreeSet<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, BTreeSet::from(["chroot", "clone", "pivot_root", "setns", "unshare"]));
    assert!(ways > 300, "only {ways} ways to break the lines");
    let ended = value!({"type": "destroyed", "time": lines[0]["time"], "seq": 7,
        "namespace": {"kind": "net", "ino": 1, "kernel_id": "7", "key": "net#7"}, "age_ns": 5, "seen": true});
    admitted(&trace, &ended, "destroyed");
    refused_when_broken(&trace, &ended);
    let lost = value!({"type": "lost", "time": lines[0]["time"], "seq": 7, "stage": "share", "count": 3,
        "owners": [{"uid": 7, "cgroup": "/a", "cgroup_id": "9", "count": 2}],
        "since": lines[0]["time"], "after_seq": 5});
    admitted(&trace, &lost, "lost");
    refused_when_broken(&trace, &lost);
    let rebuilt = value!({"type": "rebuilt", "time": lines[0]["time"], "seq": 7,
        "ended": 1, "found": 2, "followed": 3, "failed": null});
    admitted(&trace, &rebuilt, "rebuilt");
    refused_when_broken(&trace, &rebuilt);
    // The arguments of one call are not those of another.
    let mut broken = lines.iter().find(|line| line["event"] == "unshare").unwrap().clone();
    broken["event"] = "chroot".into();
    assert!(!trace.is_valid(&broken));
}
