//! Every output, with arbitrary bytes in every text that a tenant controls: it contains no character that controls a
//! terminal or is not visible, a text cannot add a line, and JSON gives the bytes back.

use crate::model::text::{self, Text};
use crate::model::{
    Arguments, Body, Caller, Cgroup, Check, Difference, Directory, Event, EventSource, Gap, GapKind, Holder,
    Host, Line, Loss, Lost, Moved, Namespace, NsId, NsKind, Operation, Origin, Outcome, Owner, OwnerCgroup,
    PathText, Pid, Process, Rebuilt, ResolvedPath, Root, SetnsTarget, Slots, Snapshot, Source, Stage,
    StreamEnd, StreamStart, Taken, Totals, Verdict, VisibilityChange,
};
use crate::render::style::TextStyle;
use crate::render::table::{self, Column};
use crate::render::{checks, diff, event, event_json, holders, json, losses, tree};
use data_encoding::BASE64;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Arbitrary bytes, and characters with a meaning to a terminal or parser.
fn any_text() -> impl Strategy<Value = Text> {
    let special = [
        "\u{1b}[2J",
        "\u{9b}",
        "\u{7f}",
        "\n",
        "\t",
        "\u{202e}",
        "\u{2028}",
        "\u{200b}",
        "\u{61c}",
        "\u{feff}",
        "\u{e0041}",
        "\u{ad}",
        "\u{301}",
        "名",
        "\\",
        "\"",
        " = 0  net 1→2",
        ",",
        "\\u{8}",
        "/",
    ];
    let piece = prop_oneof![
        (1..=u8::MAX).prop_map(|byte| vec![byte]),
        any::<char>()
            .prop_filter("no NUL is in a text", |c| *c != '\0')
            .prop_map(|c| c.to_string().into_bytes()),
        prop::sample::select(special.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat().into())
}

fn id(kind: NsKind, ino: u64) -> NsId {
    NsId::new(kind, 4, ino)
}

fn arguments(text: &Text) -> Arguments {
    Arguments::of([b"sh", text.as_bytes()])
}

fn process(pid: Pid, ppid: Pid, text: &Text) -> Process {
    let slots = Slots::from_fn(|slot| Some(id(slot.kind(), u64::from(pid) * 100 + slot.index() as u64)));
    Process {
        comm: text.clone(),
        arguments: if pid == 3 { Arguments::default() } else { arguments(text) },
        namespaces: Some(slots),
        root: Root::Chrooted(text.clone()),
        ..Process::staged(pid, ppid)
    }
}

fn snapshot(text: &Text) -> Snapshot {
    let holder = Holder::BindMount { mount_namespace: id(NsKind::Mnt, 9), path: text.clone(), here: false };
    let of = |pid| Holder::Descriptor { pid, tid: None, fd: 3 };
    let namespace = |kind, ino, leader: Option<Pid>| Namespace {
        processes: leader.map_or(0, |_| 1),
        leader,
        holders: vec![of(2), of(3), holder.clone()],
        sources: vec![Source::BindMounts],
        ..Namespace::new(id(kind, ino))
    };
    Snapshot {
        namespaces: vec![
            namespace(NsKind::Net, 5, None),
            namespace(NsKind::Net, 6, Some(2)),
            namespace(NsKind::Pid, 7, Some(3)),
            namespace(NsKind::User, 8, Some(2)),
        ],
        processes: vec![process(2, 0, text), process(3, 2, text)],
        gaps: vec![Gap { kind: GapKind::Mounts, count: 1, reason: text.lossy().into_owned(), remedy: None }],
        ..Snapshot::default()
    }
}

fn origin(text: &Text) -> Origin {
    let hostname = text.clone();
    let text = text.lossy().into_owned();
    Origin {
        taken_at: SystemTime::UNIX_EPOCH,
        own_pid: None,
        version: text.clone(),
        kernel: text,
        hostname,
        boot_id: Some("b".to_owned()),
    }
}

/// The styles that an output has to support.
const STYLES: [TextStyle; 2] = [TextStyle::PLAIN, TextStyle { color: false, unicode: true, width: Some(80) }];

/// Checks that the output is harmless, and has as many lines as with a harmless text.
fn check(write: impl Fn(&Text, &mut Vec<u8>), text: &Text) {
    let written = |text: &Text| {
        let mut out = Vec::new();
        write(text, &mut out);
        String::from_utf8(out).unwrap()
    };
    let (hostile, plain) = (written(text), written(&"plain".into()));
    assert!(hostile.chars().all(|c| c == '\n' || !text::is_hidden(c)), "{hostile:?}");
    assert_eq!(hostile.lines().count(), plain.lines().count(), "{hostile}");
}

/// The same for JSON; returns it.
fn check_json(write: impl Fn(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.chars().all(|c| c == '\n' || !text::is_hidden(c)), "{text:?}");
    serde_json::from_str(&text).unwrap()
}

/// Checks that a field, with its `_base64` field, has the bytes of `text`.
fn has(object: &Value, field: &str, text: &Text) {
    assert_eq!(object[field], *text.lossy(), "{object}");
    let bytes = object.get(format!("{field}_base64")).map(|encoded| encoded.as_str().unwrap().as_bytes());
    assert_eq!(bytes.is_none(), text.is_utf8(), "{object}");
    let bytes = bytes.map(|encoded| BASE64.decode(encoded).unwrap());
    assert_eq!(bytes.unwrap_or_else(|| text.as_bytes().to_vec()), text.as_bytes());
}

/// The same for the arguments, of which the text is the second.
fn has_arguments(object: &Value, text: &Text) {
    assert_eq!(object["arguments"], serde_json::json!(["sh", text.lossy()]));
    let bytes = object.get("arguments_base64").map(|encoded| encoded[1].as_str().unwrap().as_bytes());
    assert_eq!(bytes.is_none(), text.is_utf8(), "{object}");
    assert!(bytes.is_none_or(|encoded| BASE64.decode(encoded).unwrap() == text.as_bytes()));
}

fn difference(old: &Taken, new: &Taken, with: impl FnOnce(&Difference<'_>)) {
    let reason = new.origin.kernel.clone();
    let [before, after] = [old, new].map(|taken| &taken.snapshot.processes[0]);
    let moved =
        Moved { old: before, new: after, namespaces: vec![], root: Some((&before.root, &after.root)) };
    with(&Difference {
        old,
        new,
        same_boot: true,
        came: new.snapshot.namespaces.iter().collect(),
        went: old.snapshot.namespaces.iter().collect(),
        unsure: vec![(&old.snapshot.namespaces[0], &new.snapshot.namespaces[0])],
        processes_came: new.snapshot.processes.iter().collect(),
        processes_went: old.snapshot.processes.iter().collect(),
        processes_changed: vec![moved],
        unseen: Vec::new(),
        processes_unseen: Vec::new(),
        visibility: vec![VisibilityChange { kind: reason.clone(), reason, old: 1, new: 2 }],
    });
}

fn events(text: &Text) -> Vec<Event> {
    let resolved = || ResolvedPath { path: text.clone(), ..ResolvedPath::default() };
    let directory = || Directory { moved: true, before: resolved(), after: resolved() };
    let target = SetnsTarget::Namespace { id: id(NsKind::Net, 5), kernel_id: None, path: Some(text.clone()) };
    let process = SetnsTarget::Process { pid: 1, tid: 2, comm: Some(text.clone()), namespaces: vec![] };
    let path = || PathText::Whole(text.clone());
    let operations = [
        Operation::Setns { fd: 3, nstype: 0, target: Some(target) },
        Operation::Setns { fd: 3, nstype: 0, target: Some(process) },
        Operation::Chroot { path: PathText::Cut(text.clone()) },
        Operation::PivotRoot {
            new_root: path(),
            put_old: path(),
            new_root_at: Some(resolved()),
            put_old_at: Some(resolved()),
        },
    ];
    let cgroup = Cgroup { id: 7, path: text.clone(), cut: false, is_requested: false };
    let event = |operation| Event {
        since_boot: Duration::from_secs(1),
        duration: None,
        process: Caller {
            comm: text.clone(),
            arguments: Some(arguments(text)),
            exe: Some(resolved()),
            cgroup: Some(cgroup.clone()),
            ..Caller::new(7, 7)
        },
        operation,
        compat: Some(false),
        outcome: Outcome::Success(0),
        before: Slots::default(),
        after: Slots::default(),
        marks: None,
        seen: None,
        denied: false,
        root: Some(directory()),
        cwd: Some(directory()),
    };
    operations.map(event).into()
}

proptest! {
    #[test]
    fn lists_and_holders(text in any_text()) {
        for text_style in STYLES {
            check(|text, out| {
                let snapshot = snapshot(text);
                let wanted: Vec<_> = snapshot.namespaces.iter().collect();
                let users = HashMap::from([(0, text.lossy().into_owned())]);
                let options = table::Options { columns: &Column::ALL, header: true, users: &users, text_style };
                table::write(&snapshot, &wanted, &options, out).unwrap();
                holders::write(&snapshot, &wanted, true, text_style, out).unwrap();
            }, &text);
        }
        let snapshot = snapshot(&text);
        let list = check_json(|out| json::list(&origin(&text), &snapshot, json::Selection::All, out).unwrap());
        has(&list["processes"][0], "comm", &text);
        has(&list["processes"][0], "root", &text);
        has_arguments(&list["processes"][0], &text);
        has(&list["namespaces"][1]["leader"], "comm", &text);
        has(&list["namespaces"][0]["holders"][2], "path", &text);
        prop_assert_eq!(&list["gaps"][0]["reason"], &*text.lossy());
    }

    #[test]
    fn trees(text in any_text()) {
        for by in [tree::By::Process, tree::By::Pid, tree::By::User] {
            let name = |_: u32| Some(text.lossy().into_owned());
            let options = tree::Options { by, all: true, pid: None, ns: None, wanted: None, user_name: &name };
            for text_style in STYLES {
                check(|text, out| tree::text(out, &snapshot(text), &options, text_style).unwrap(), &text);
            }
            let tree = check_json(|out| tree::json(out, &snapshot(&text), &options).unwrap());
            if by == tree::By::Process {
                has(&tree["roots"][0], "comm", &text);
                has(&tree["roots"][0], "root", &text);
            }
            has(&tree["namespaces"][0]["holders"][2], "path", &text);
        }
    }

    #[test]
    fn differences(text in any_text()) {
        let taken = |text: &Text| Taken { origin: origin(text), snapshot: snapshot(text) };
        let old = taken(&"old".into());
        for text_style in STYLES {
            check(|text, out| difference(&old, &taken(text), |it| diff::text(it, text_style, out).unwrap()), &text);
        }
        let new = taken(&text);
        let json = check_json(|out| difference(&old, &new, |it| diff::json(it, "1", out).unwrap()));
        has(&json["processes"]["changed"][0], "root_after", &text);
        has(&json["processes"]["came"][0], "comm", &text);
        has(&json["new"], "hostname", &text);
        prop_assert_eq!(&json["visibility"][0]["kind"], &*text.lossy());
    }

    #[test]
    fn traces(text in any_text()) {
        let time = SystemTime::UNIX_EPOCH;
        let lines = |text: &Text| {
            let failed = Some(text.lossy().into_owned());
            let bodies = events(text).into_iter().map(|event| Body::Event(Box::new(event)));
            let rebuilt = Body::Rebuilt(Rebuilt { failed, ..Rebuilt::default() });
            bodies.chain([rebuilt]).map(|body| Line { seq: 1, time, body }).collect::<Vec<_>>()
        };
        check(|text, out| for line in lines(text) {
            let line = match &line.body {
                Body::Event(event) => event::line(event, time, TextStyle::PLAIN),
                Body::Rebuilt(rebuilt) => event::rebuilt(rebuilt),
                _ => unreachable!("no others are made"),
            };
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }, &text);
        let json: Vec<Value> =
            lines(&text).iter().map(|line| check_json(|out| event_json::Writer::default().write(line, out).unwrap())).collect();
        has(&json[0]["process"], "comm", &text);
        has_arguments(&json[0]["process"], &text);
        has(&json[0]["process"], "exe", &text);
        has(&json[0]["process"], "cgroup", &text);
        has(&json[0], "root", &text);
        has(&json[0], "cwd", &text);
        has(&json[0]["changed"]["root"], "before", &text);
        has(&json[0]["target"], "path", &text);
        has(&json[1]["target"], "comm", &text);
        has(&json[2]["args"], "path", &text);
        has(&json[3]["args"], "new_root", &text);
        has(&json[3]["args"], "put_old", &text);
        has(&json[3]["args"], "new_root_resolved", &text);
    }

    #[test]
    fn streams(text in any_text()) {
        let lost = |text: &Text| {
            let cgroup = Some(OwnerCgroup { id: 7, path: Some(text.clone()) });
            Lost { stage: Stage::Share, count: 3, owners: vec![Owner { uid: 1, cgroup, count: 2 }] }
        };
        check(|text, out| out.extend(losses::described(&lost(text)).into_bytes()), &text);
        let time = SystemTime::UNIX_EPOCH;
        let totals = Totals { events: 1, lost: vec![lost(&text)], late: 0, unevaluated: 0 };
        let start = StreamStart {
            stream: String::new(),
            version: "1",
            kernel: text.lossy().into_owned(),
            host: Host { name: Some(text.clone()), ..Host::default() },
            namespaces: Vec::new(),
            source: EventSource {
                name: "proc",
                reason: text.lossy().into_owned(),
                attached: Vec::new(),
                missing: vec![text.lossy().into_owned()],
                unseen: Vec::new(),
                cost: None,
            },
        };
        let bodies = [
            Body::Start(start),
            Body::Lost(Loss { lost: lost(&text), since: time, after_seq: 0 }),
            Body::End(StreamEnd { stream: String::new(), reason: "x".into(), totals }),
        ];
        let json = bodies.map(|body| {
            let line = Line { seq: 1, time, body };
            check_json(|out| event_json::Writer::default().write(&line, out).unwrap())
        });
        has(&json[0]["host"], "name", &text);
        has(&json[1]["owners"][0], "cgroup", &text);
        has(&json[2]["totals"]["lost"][0]["owners"][0], "cgroup", &text);
    }

    #[test]
    fn diagnoses(text in any_text()) {
        let checks_of = |text: &Text| {
            let text = text.lossy().into_owned();
            [Check { subject: "x", verdict: Verdict::Limited, finding: text.clone(), remedy: Some(text) }]
        };
        for text_style in STYLES {
            check(|text, out| checks::text(&checks_of(text), text_style, out).unwrap(), &text);
        }
        let json = check_json(|out| checks::json(&checks_of(&text), out).unwrap());
        prop_assert_eq!(&json["checks"][0]["remedy"], &*text.lossy());
    }
}
