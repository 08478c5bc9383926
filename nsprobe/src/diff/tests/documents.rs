//! Documents of `nsprobe list --json`: those that are read, and those that are refused.

use super::*;
use crate::model::{Gap, GapKind, HeldBy, Source, TcpState};
use crate::render::json::{self, Selection};

/// A snapshot with something of every kind.
fn rich() -> Taken {
    let mut inside = process(10, NsKind::Net, 7);
    inside.pids = vec![10, 3, 1];
    inside.root = Root::Chrooted(b"/jail\xff"[..].into());
    let mut closed = process(11, NsKind::Net, 7);
    (closed.namespaces, closed.root, closed.comm) = (None, Root::Unknown, b"a\"b\n\xfe"[..].into());
    let net = namespace(NsKind::Net, 7, |ns| {
        ns.kernel_id = Some(u64::MAX);
        ns.file_since = Some(at(900) + Duration::from_nanos(123));
        ns.owner = Some(id(NsKind::User, 1));
        ns.netnsid = Some(model::NetnsId::Unassigned);
        ns.processes = 1;
        ns.leader = Some(10);
        ns.sources = vec![Source::Processes, Source::BindMounts];
        ns.holders = vec![
            Holder::Thread { pid: 10, tid: 11 },
            Holder::ForChildren { pid: 10, tid: None },
            Holder::ForChildren { pid: 10, tid: Some(12) },
            Holder::Descriptor { pid: 10, tid: None, fd: 3 },
            Holder::Socket { pid: 10, tid: Some(12), fd: 4 },
            Holder::BindMount {
                mount_namespace: id(NsKind::Mnt, 5),
                path: b"/run/netns/\xff".as_slice().into(),
                here: true,
            },
            Holder::Ancestor { of: id(NsKind::User, 6) },
        ];
        let mount = |path| Holder::Mount {
            fs_type: "proc".into(),
            mount_namespace: id(NsKind::Mnt, 5),
            path,
            here: false,
        };
        ns.holders.extend([mount(Some(b"/p\xff".as_slice().into())), mount(None)]);
        ns.holders.push(Holder::DetachedMount { fs_type: "proc".into(), dev: (0, 45) });
        ns.holders.push(Holder::Connection {
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "[::1]:81".parse().unwrap(),
            state: TcpState::LastAck,
        });
        let file = |by| Holder::File { by, pid: 10, tid: Some(12), fd: 5 };
        ns.holders.extend(HeldBy::ALL.map(file));
    });
    let user = namespace(NsKind::User, 1, |ns| {
        (ns.initial, ns.owner_uid, ns.parent) = (Initial::Unknown, Some(0), Some(id(NsKind::User, 9)));
    });
    let gap = Gap { kind: GapKind::Mounts, count: 2, reason: "no".to_owned(), remedy: None };
    let mut side = side(1_000, vec![net, user], vec![inside, closed]);
    side.taken.snapshot.gaps = vec![gap];
    side.taken.origin.own_pid = Some(10);
    side.taken
}

fn document(taken: &Taken) -> String {
    let mut out = Vec::new();
    json::list(&taken.origin, &taken.snapshot, Selection::All, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn document_has_everything_in_the_snapshot() {
    let taken = rich();
    let mut expected = Side::now(taken.clone()).unwrap();
    expected.taken.snapshot.gaps.clear();
    assert_eq!(Side::read(document(&taken).as_bytes()).unwrap(), expected);
}

#[test]
fn roots_that_differ_in_a_byte_that_is_not_utf8_differ() {
    let moved = |byte: u8| {
        let mut taken = rich();
        taken.origin.own_pid = None;
        taken.snapshot.processes[0].root = Root::Chrooted([b"/jail".as_slice(), &[byte]].concat().into());
        Side::read(document(&taken).as_bytes()).unwrap()
    };
    assert!(compare(&moved(0xff), &moved(0xff)).processes_changed.is_empty());
    let (old, new) = (moved(0xff), moved(0xfe));
    let difference = compare(&old, &new);
    assert_eq!(difference.processes_changed.len(), 1, "{difference:?}");
}

#[test]
fn root_deleted_meanwhile_is_the_same_and_one_recreated_is_not() {
    let [jail, deleted, other] =
        [Root::Chrooted("/jail".into()), Root::Deleted("/jail".into()), Root::Deleted("/other".into())];
    let moves = |before: &Root, after: &Root| {
        let [old, new] = [before, after].map(|root| {
            let mut taken = rich();
            taken.origin.own_pid = None;
            taken.snapshot.processes[0].root = root.clone();
            Side::read(document(&taken).as_bytes()).unwrap()
        });
        !compare(&old, &new).processes_changed.is_empty()
    };
    assert!(!moves(&jail, &deleted) && !moves(&deleted, &deleted) && !moves(&deleted, &Root::Unknown));
    assert!(moves(&deleted, &jail) && moves(&jail, &other) && moves(&deleted, &other));
    assert!(moves(&deleted, &Root::Whole) && moves(&Root::Whole, &deleted));
}

#[test]
fn document_of_a_later_minor_version_is_read() {
    let text = document(&rich())
        .replace("\"version\":\"1.0\"", "\"version\":\"1.7\",\"more\":[1]")
        .replace("{\"type\":\"socket\",\"pid\":10,\"tid\":12,\"fd\":4}", "{\"type\":\"gravity\",\"mass\":1}");
    let side = Side::read(text.as_bytes()).unwrap();
    assert_eq!(side.taken.snapshot.namespaces[0].holders.len(), 10 + HeldBy::ALL.len());
}

#[test]
fn other_documents_are_refused_with_the_reason() {
    let whole = document(&rich());
    let refused = |text: &str| Side::read(text.as_bytes()).map(|_| ()).unwrap_err().to_string();
    for end in [0, 1, 20, whole.len() / 2, whole.len() - 3] {
        let text = refused(&whole[..end]);
        assert!(text.contains("or not all of it: EOF while parsing"), "{end}: {text}");
    }
    insta::assert_snapshot!(
        [
            refused("net 4026531833"),
            refused("{}"),
            refused(&whole.replace("nsprobe.list", "nsprobe.tree")),
            refused(&whole.replace("\"version\":\"1.0\"", "\"version\":\"2.0\"")),
            refused(&whole.replace("\"filtered\":false", "\"filtered\":true")),
            refused(&whole.replace("\"boot_id\":\"b1\"", "\"boot_id\":null")),
            refused(&whole.replace("\"kind\":\"net\"", "\"kind\":\"mount\"")),
            refused(&whole.replace("18446744073709551615", "many")),
            refused(&whole.replace("1970-01-01T00:16:40", "yesterday")),
            refused(&whole.replace("\"ppid\":1", "\"ppid\":-1")),
            refused(&whole.replace("\"filtered\":false", "\"filtered\":false} {")),
        ]
        .join("\n"),
        @"
    not a document of `nsprobe list --json`, or not all of it: expected ident at line 1 column 2
    not a document of `nsprobe list --json`, or not all of it: missing field `schema` at line 1 column 2
    this is nsprobe.tree 1.0, but nsprobe.list 1.x is needed, as written by `nsprobe list --json`
    this is nsprobe.list 2.0, but nsprobe.list 1.x is needed, as written by `nsprobe list --json`
    it holds only a selection: take it with `nsprobe list --json` and no other option
    it does not name the boot it was taken in, so nothing in it can be compared
    not a document of `nsprobe list --json`, or not all of it: unknown word mount: expected one of cgroup ipc mnt net pid time user uts at line 11 column 48
    not a document of `nsprobe list --json`, or not all of it: invalid digit found in string at line 11 column 66
    not a document of `nsprobe list --json`, or not all of it: failed to parse four digit integer as year: invalid digit, expected 0-9 but got y at line 6 column 34
    not a document of `nsprobe list --json`, or not all of it: invalid value: integer `-1`, expected u32 at line 11 column 308
    not a document of `nsprobe list --json`, or not all of it: missing field `processes_from` at line 8 column 17
    "
    );
    let twice = |item: &str| {
        let line =
            whole.lines().find(|line| line.contains(item)).expect("a line of it").trim_end_matches(',');
        refused(&whole.replacen(line, &format!("{line},{line}"), 1))
    };
    assert_eq!(twice("\"start_ticks\":10"), "it has process 10 twice, so it is not a snapshot");
    assert!(twice("\"key\":\"net").contains("twice, so it is not a snapshot"));
    assert!(
        refused(&whole.replace("\"type\":\"ancestor\"", "\"type\":\"socket\"")).contains("a holder `socket`")
    );
    assert!(
        refused(&whole.replace("\"pids\":[", &format!("\"pids\":[{}", "1,".repeat(100))))
            .contains("more than 64")
    );
    assert!(Side::read(&b"\xff\xfe{"[..]).is_err());
}
