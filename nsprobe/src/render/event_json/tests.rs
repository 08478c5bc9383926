use super::*;
use crate::model::{
    Arguments, Caller, Cgroup, Changes, CloneChild, Created, Destroyed, Directory, Event, EventSource, Host,
    Loss, Lost, Mark, NsId, NsKey, NsKind, NsSlot, Operation, Origination, Outcome, Owner, OwnerCgroup,
    Rebuilt, ResolvedPath, Scans, SetnsTarget, SlotMarks, Slots, Stage, StreamEnd, StreamStart, Totals,
    errno_name,
};
use std::time::{Duration, SystemTime};

fn json(body: Body) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_795_000_000, 120_456_000);
    let mut out = Vec::new();
    Writer::default().write(&Line { seq: 7, time, body }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn event_is_one_line_with_what_changed_and_every_namespace_after() {
    let before = Slots::from_fn(|slot| Some(NsId::new(slot.kind(), 4, 4_026_531_835 + slot.index() as u64)));
    let mut after = before;
    *after.get_mut(NsSlot::In(NsKind::Net)) = Some(NsId::new(NsKind::Net, 4, 4_026_532_208));
    *after.get_mut(NsSlot::TimeForChildren) = None;
    let mut marks = SlotMarks::default();
    *marks.before.get_mut(NsSlot::In(NsKind::Ipc)) = Mark::Id(2);
    *marks.after.get_mut(NsSlot::In(NsKind::Net)) = Mark::Id(1 << 63);
    let event = Event {
        since_boot: Duration::from_secs(77),
        duration: Some(Duration::from_nanos(52_100)),
        process: Caller {
            pid: 4242,
            tid: 4243,
            ppid: Some(4000),
            pids: vec![4242, 1],
            comm: "ip".into(),
            uid: Some(1000),
            gid: Some(100),
            euid: Some(0),
            cap_effective: Some(0x1ff_ffff_ffff),
            start_ticks: Some(1234),
            exe: Some(ResolvedPath { path: "/sbin/ip".into(), ..ResolvedPath::default() }),
            arguments: Some(Arguments::new(b"ip\0netns\0exec\0t\0").and_more()),
            cgroup: Some(Cgroup { id: 1 << 63, path: "/a.slice".into(), cut: false, is_requested: false }),
        },
        operation: Operation::Setns {
            fd: 3,
            nstype: NsKind::Net.clone_flag(),
            target: Some(SetnsTarget::Namespace {
                id: NsId::new(NsKind::Net, 4, 4_026_532_208),
                kernel_id: Some(1 << 63),
                path: Some("/run/netns/t".into()),
            }),
        },
        compat: Some(false),
        outcome: Outcome::Success(0),
        before,
        after,
        marks: Some(Box::new(marks)),
        seen: None,
        denied: false,
        root: Some(Directory {
            moved: false,
            before: ResolvedPath { path: "/".into(), ..ResolvedPath::default() },
            after: ResolvedPath { path: "/".into(), ..ResolvedPath::default() },
        }),
        cwd: Some(Directory {
            moved: true,
            before: ResolvedPath { path: "a/b".into(), cut: true, detached: true, ..ResolvedPath::default() },
            after: ResolvedPath { path: "/".into(), ..ResolvedPath::default() },
        }),
    };
    let denied = Event { outcome: Outcome::Failure(libc::EPERM), denied: true, ..event.clone() };
    let denied = json(Body::Event(Box::new(denied)));
    assert!(denied.contains(r#""result":-1,"errno":"EPERM","denied":"seccomp","duration_ns""#), "{denied}");
    insta::assert_snapshot!(json(Body::Event(Box::new(event))), @r#"{"type":"event","time":"2026-11-18T11:06:40.120456000Z","seq":7,"event":"setns","process":{"pid":4242,"tid":4243,"ppid":4000,"pids":[4242,1],"comm":"ip","uid":1000,"gid":100,"euid":0,"cap_effective":"000001ffffffffff","start_ticks":1234,"exe":"/sbin/ip","arguments":["ip","netns","exec","t"],"arguments_cut":true,"cgroup":"/a.slice","cgroup_id":"9223372036854775808"},"args":{"fd":3,"flags":["CLONE_NEWNET"]},"target":{"kind":"net","ino":4026532208,"kernel_id":"9223372036854775808","path":"/run/netns/t"},"result":0,"duration_ns":52100,"changed":{"net":{"before":4026531838,"before_key":"net:4026531838","after":4026532208},"cwd":{"before":"a/b","before_state":["cut","detached"],"after":"/"}},"unsure":{"time_for_children":{"before":4026531844,"before_key":"time:4026531844","after":null}},"namespaces":{"cgroup":4026531835,"ipc":4026531836,"mnt":4026531837,"net":4026532208,"pid":4026531839,"time":4026531840,"user":4026531841,"uts":4026531842,"pid_for_children":4026531843,"time_for_children":null},"keys":{"cgroup":"cgroup:4026531835","ipc":"ipc:4026531836","mnt":"mnt:4026531837","net":"net#9223372036854775808","pid":"pid:4026531839","time":"time:4026531840","user":"user:4026531841","uts":"uts:4026531842","pid_for_children":"pid:4026531843"},"root":"/","cwd":"/"}"#);
}

#[test]
fn stream_lines_have_their_shape() {
    let initial = NsKey { id: NsId::new(NsKind::Net, 4, 7), mark: Mark::Id(3) };
    let start = StreamStart {
        stream: "0f".to_owned(),
        host: Host { name: Some("h\u{ff}".into()), machine_id: None, boot_id: Some("b".to_owned()) },
        namespaces: vec![(NsKind::Net, Some(initial)), (NsKind::Ipc, None)],
        version: "0.1.0",
        kernel: "6.18.44".to_owned(),
        source: EventSource {
            name: "tracepoints",
            reason: "fentry is refused: EPERM".to_owned(),
            attached: vec!["tp_btf/task_newtask".to_owned()],
            missing: vec![],
            unseen: vec!["this".to_owned()],
            cost: Some("a little"),
        },
    };
    let key = |kind, ino, mark| NsKey { id: NsId::new(kind, 4, ino), mark };
    let (old, new) =
        (key(NsKind::Net, 77, Mark::Id(1 << 63)), key(NsKind::Ipc, 8, Mark::Made(Duration::new(9, 5))));
    let created = |namespace, owner, by| json(Body::Created(Created { namespace, owner, by }));
    let destroyed = |namespace, age, seen| json(Body::Destroyed(Destroyed { namespace, age, seen }));
    let user = key(NsKind::User, 9, Mark::Unknown);
    let lines = [
        created(old, None, Origination::FirstSeen),
        created(new, Some(user), Origination::Call { name: "clone", pid: 7 }),
        destroyed(new, Some(Duration::from_millis(5)), true),
        destroyed(old, None, false),
    ]
    .concat();
    insta::assert_snapshot!(lines, @r#"
    {"type":"created","time":"2026-11-18T11:06:40.120456000Z","seq":7,"namespace":{"kind":"net","ino":77,"kernel_id":"9223372036854775808","key":"net#9223372036854775808"},"owner":null,"owner_key":null,"by":"first seen","pid":null}
    {"type":"created","time":"2026-11-18T11:06:40.120456000Z","seq":7,"namespace":{"kind":"ipc","ino":8,"kernel_id":null,"key":"ipc:8@9.000000005"},"owner":9,"owner_key":"user:9","by":"clone","pid":7}
    {"type":"destroyed","time":"2026-11-18T11:06:40.120456000Z","seq":7,"namespace":{"kind":"ipc","ino":8,"kernel_id":null,"key":"ipc:8@9.000000005"},"age_ns":5000000,"seen":true}
    {"type":"destroyed","time":"2026-11-18T11:06:40.120456000Z","seq":7,"namespace":{"kind":"net","ino":77,"kernel_id":"9223372036854775808","key":"net#9223372036854775808"},"age_ns":null,"seen":false}
    "#);
    let cgroup = |path| Some(OwnerCgroup { id: 1 << 63, path });
    let owner = |count| Owner {
        uid: 1000,
        count,
        cgroup: if count == 1 { None } else { cgroup(Some("/a.slice".into())) },
    };
    let lost = Lost { stage: Stage::Share, count: 3, owners: vec![owner(2), owner(1)] };
    let loss = Loss { lost: lost.clone(), since: SystemTime::UNIX_EPOCH, after_seq: 5 };
    let end = StreamEnd {
        stream: "0f".to_owned(),
        reason: "interrupted".into(),
        totals: Totals { events: 12, lost: vec![lost], late: 2, unevaluated: 3 },
    };
    let namespaces = Some(Changes { ended: 1, found: 2 });
    let rebuilt = Body::Rebuilt(Rebuilt { namespaces, followed: None, failed: None });
    let lines =
        [json(Body::Start(start)), json(Body::Lost(loss)), json(rebuilt), json(Body::End(end))].concat();
    insta::assert_snapshot!(lines, @r#"
    {"type":"start","time":"2026-11-18T11:06:40.120456000Z","seq":7,"schema":{"name":"nsprobe.trace","version":"1.0"},"stream":"0f","version":"0.1.0","kernel":"6.18.44","host":{"name":"hÿ","machine_id":null,"boot_id":"b"},"namespaces":{"cgroup":null,"ipc":null,"mnt":null,"net":7,"pid":null,"time":null,"user":null,"uts":null},"keys":{"net":"net#3"},"source":{"name":"tracepoints","reason":"fentry is refused: EPERM","attached":["tp_btf/task_newtask"],"missing":[],"unseen":["this"],"cost":"a little"}}
    {"type":"lost","time":"2026-11-18T11:06:40.120456000Z","seq":7,"stage":"share","count":3,"owners":[{"uid":1000,"cgroup":"/a.slice","cgroup_id":"9223372036854775808","count":2},{"uid":1000,"cgroup":null,"cgroup_id":null,"count":1}],"since":"1970-01-01T00:00:00.000000000Z","after_seq":5}
    {"type":"rebuilt","time":"2026-11-18T11:06:40.120456000Z","seq":7,"ended":1,"found":2,"followed":null,"failed":null}
    {"type":"end","time":"2026-11-18T11:06:40.120456000Z","seq":7,"stream":"0f","reason":"interrupted","totals":{"events":12,"lost":[{"stage":"share","count":3,"owners":[{"uid":1000,"cgroup":"/a.slice","cgroup_id":"9223372036854775808","count":2},{"uid":1000,"cgroup":null,"cgroup_id":null,"count":1}]}],"late":2,"unevaluated":3}}
    "#);
}

#[test]
fn unknown_errno_is_shown_as_a_number() {
    assert_eq!(errno_name(1), "EPERM");
    assert_eq!(errno_name(5000), "errno 5000");
    assert_eq!(errno_name(513), "ERESTARTNOINTR", "restarted after a signal");
}

#[test]
fn unknown_fields_are_null() {
    let net = |ino| Some(NsId::new(NsKind::Net, 4, ino));
    let slots = |ino| Slots::from_fn(|slot| net(ino).filter(|_| slot == NsSlot::In(NsKind::Net)));
    let scans = Scans { within: Duration::from_secs(1), is_new: true };
    let change = Event {
        since_boot: Duration::from_secs(77),
        duration: None,
        process: Caller::new(7, 8),
        operation: Operation::Change { scans: Some(scans) },
        compat: None,
        outcome: Outcome::Unseen,
        before: slots(77),
        after: slots(78),
        marks: None,
        seen: None,
        denied: false,
        root: None,
        cwd: None,
    };
    let child = Some(CloneChild { pid: 9, tid: 9, pids: vec![], ppid: None, cgroup: None });
    let clone = Event {
        operation: Operation::Clone { flags: None, child },
        outcome: Outcome::Success(9),
        ..change.clone()
    };
    let lines = [change, clone].map(|event| json(Body::Event(Box::new(event)))).concat();
    insta::assert_snapshot!(lines, @r#"
    {"type":"event","time":"2026-11-18T11:06:40.120456000Z","seq":7,"event":"change","abi":null,"process":{"pid":7,"tid":8,"ppid":null,"pids":null,"comm":null,"uid":null,"gid":null,"euid":null,"cap_effective":null,"start_ticks":null,"exe":null,"arguments":null,"cgroup":null,"cgroup_id":null},"scans":{"within_ns":1000000000,"new_process":true},"result":null,"duration_ns":null,"changed":{"net":{"before":77,"after":78}},"namespaces":{"cgroup":null,"ipc":null,"mnt":null,"net":78,"pid":null,"time":null,"user":null,"uts":null}}
    {"type":"event","time":"2026-11-18T11:06:40.120456000Z","seq":7,"event":"clone","abi":null,"process":{"pid":7,"tid":8,"ppid":null,"pids":null,"comm":null,"uid":null,"gid":null,"euid":null,"cap_effective":null,"start_ticks":null,"exe":null,"arguments":null,"cgroup":null,"cgroup_id":null},"args":{"flags":null},"child":{"pid":9,"tid":9,"ppid":null,"pids":null,"cgroup":null,"cgroup_id":null},"result":9,"duration_ns":null,"changed":{"net":{"before":77,"after":78}},"namespaces":{"cgroup":null,"ipc":null,"mnt":null,"net":78,"pid":null,"time":null,"user":null,"uts":null}}
    "#);
}
