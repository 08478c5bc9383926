use super::*;
use crate::model::NsSlot;
use nsprobe_ebpf::PATH_LEN;

const DEV: u64 = 4;

/// A record of `cause` with zeros everywhere else.
fn blank(cause: u16) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<Record>()];
    let size = u32::try_from(bytes.len()).unwrap();
    put(&mut bytes, 0, &size.to_ne_bytes());
    put(&mut bytes, 4, &RECORD_VERSION.to_ne_bytes());
    put(&mut bytes, 6, &cause.to_ne_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn words(bytes: &mut [u8], at: usize, values: &[u32]) {
    for (index, value) in values.iter().enumerate() {
        put(bytes, at + index * 4, &value.to_ne_bytes());
    }
}

#[test]
fn every_field_of_an_unshare() {
    let mut bytes = blank(cause::UNSHARE);
    put(&mut bytes, 8, &5_000_000_001_u64.to_ne_bytes());
    put(&mut bytes, 16, &1500_u64.to_ne_bytes());
    put(&mut bytes, 32, &0x4000_0000_u64.to_ne_bytes());
    // tgid, tid, ppid, uid, gid, euid
    words(&mut bytes, offset_of!(Record, tgid), &[100, 101, 99, 1000, 1001, 0]);
    put(&mut bytes, 48, &12_340_000_001_u64.to_ne_bytes());
    put(&mut bytes, 56, &0x2000_u64.to_ne_bytes());
    put(&mut bytes, 64, &77_u64.to_ne_bytes());
    text(&mut bytes, text::EXE, b"unshare\0bin\0", text_flags::WALK);
    text(&mut bytes, text::COMMAND_LINE, b"unshare\0--net\0tr\xffe\0\0", text_flags::CUT);
    text(&mut bytes, text::CGROUP, b"x.service\0a.slice\0", text_flags::WALK);
    put(&mut bytes, offset_of!(Record, comm), b"unshare\0\0\0\0\0\0\0\0\0");
    words(&mut bytes, offset_of!(Record, pids), &[2, 100, 1]);
    words(&mut bytes, offset_of!(Record, before), &[11, 12, 13, 14, 15, 16, 17, 18, 15, 16]);
    words(&mut bytes, offset_of!(Record, after), &[11, 12, 13, 24, 15, 0, 17, 18, 15, 0]);
    let event = event(&bytes, DEV).unwrap();
    assert_eq!(event.since_boot, Duration::new(5, 1));
    assert_eq!(event.duration, Some(Duration::from_nanos(1500)));
    assert_eq!(event.operation, Operation::Unshare { flags: 0x4000_0000 });
    assert_eq!(event.outcome, Outcome::Success(0));
    let caller = Caller {
        pid: 100,
        tid: 101,
        ppid: Some(99),
        pids: vec![100, 1],
        comm: "unshare".into(),
        uid: Some(1000),
        gid: Some(1001),
        euid: Some(0),
        cap_effective: Some(0x2000),
        start_ticks: Some(1234),
        exe: Some(at("/bin/unshare")),
        arguments: Some(Arguments::new(b"unshare\0--net\0tr\xffe\0\0").and_more()),
        cgroup: Some(Cgroup { id: 77, path: "/a.slice/x.service".into(), cut: false, is_requested: false }),
    };
    assert_eq!(event.process, caller);
    assert_eq!(*event.before.of(NsKind::Net), Some(NsId::new(NsKind::Net, DEV, 14)));
    assert_eq!(*event.after.of(NsKind::Net), Some(NsId::new(NsKind::Net, DEV, 24)));
    assert_eq!(*event.before.get(NsSlot::TimeForChildren), Some(NsId::new(NsKind::Time, DEV, 16)));
    assert_eq!(*event.after.of(NsKind::Time), None);
    assert_eq!(event.marks, None);
}

#[test]
fn call_stopped_by_seccomp_has_no_duration() {
    let mut bytes = blank(cause::UNSHARE);
    put(&mut bytes, 16, &1500_u64.to_ne_bytes());
    put(&mut bytes, 24, &(-1_i64).to_ne_bytes());
    assert!(!event(&bytes, DEV).unwrap().denied);
    put(&mut bytes, offset_of!(Record, flags), &event_flags::DENIED.to_ne_bytes());
    let event = event(&bytes, DEV).unwrap();
    assert_eq!((event.denied, event.duration), (true, None));
    assert_eq!(event.outcome, Outcome::Failure(libc::EPERM));
}

#[test]
fn clone_with_a_child_and_failed_clone() {
    let mut bytes = blank(cause::CLONE);
    put(&mut bytes, 24, &200_i64.to_ne_bytes());
    put(&mut bytes, 32, &0x1_2000_0000_u64.to_ne_bytes());
    words(&mut bytes, offset_of!(Record, child), &[200, 200, 90, 0, 3, 200, 5, 1]);
    // The caller is in one pid namespace below the initial one, and so got 5.
    words(&mut bytes, offset_of!(Record, pids), &[2, 100, 2]);
    let made = event(&bytes, DEV).unwrap();
    let child = CloneChild { pid: 200, tid: 200, pids: vec![200, 5, 1], ppid: Some(90), cgroup: None };
    assert_eq!(made.operation, Operation::Clone { flags: Some(0x1_2000_0000), child: Some(child) });
    assert_eq!((made.outcome, made.duration), (Outcome::Success(5), None));
    words(&mut bytes, offset_of!(Record, pids), &[0]);
    assert_eq!(event(&bytes, DEV).unwrap().outcome, Outcome::Unseen, "the returned pid is unknown");

    let mut bytes = blank(cause::CLONE);
    put(&mut bytes, 24, &(-28_i64).to_ne_bytes());
    let failed = event(&bytes, DEV).unwrap();
    assert_eq!(failed.operation, Operation::Clone { flags: Some(0), child: None });
    assert_eq!(failed.outcome, Outcome::Failure(28));

    put(&mut bytes, 24, &(-513_i64).to_ne_bytes());
    assert_eq!(event(&bytes, DEV).unwrap().outcome, Outcome::Restarted(513));
}

/// Appends `bytes` to the record's text and refers to them as text `index`.
fn text(record: &mut Vec<u8>, index: usize, bytes: &[u8], flags: u16) {
    let length = offset_of!(Record, text_len);
    let at = u32::from_ne_bytes(record[length..length + 4].try_into().unwrap());
    record.truncate(size_of::<Record>() + at as usize);
    record.extend(bytes);
    put(record, length, &(at + u32::try_from(bytes.len()).unwrap()).to_ne_bytes());
    record.resize(record.len().next_multiple_of(8), b'j');
    let piece = offset_of!(Record, texts) + index * size_of::<Text>();
    put(record, piece, &u16::try_from(at).unwrap().to_ne_bytes());
    put(record, piece + 2, &u16::try_from(bytes.len()).unwrap().to_ne_bytes());
    put(record, piece + 4, &flags.to_ne_bytes());
    let size = u32::try_from(record.len()).unwrap();
    put(record, 0, &size.to_ne_bytes());
}

fn setns(target: [u32; 2], nstype: u64, flags: u16, names: &[u8]) -> Operation {
    let mut bytes = blank(cause::SETNS);
    put(&mut bytes, 32, &(-1_i64).to_ne_bytes());
    put(&mut bytes, 40, &nstype.to_ne_bytes());
    words(&mut bytes, offset_of!(Record, target) + offset_of!(Target, ino), &target);
    put(&mut bytes, offset_of!(Record, target) + offset_of!(Target, id), &9_u64.to_ne_bytes());
    text(&mut bytes, text::FIRST, names, flags);
    event(&bytes, DEV).unwrap().operation
}

#[test]
fn setns_with_its_target() {
    let net = NsId::new(NsKind::Net, DEV, 77);
    let target = |path: Option<&str>| {
        let path = path.map(model::Text::from);
        Some(SetnsTarget::Namespace { id: net, kernel_id: Some(9), path })
    };
    let expect = |nstype, target| Operation::Setns { fd: -1, nstype, target };
    let (walk, cut) = (text_flags::WALK, text_flags::CUT);
    // From the file up to the root, as the probe walks.
    let names = b"blue\0netns\0run\0";
    assert_eq!(setns([77, 0x4000_0000], 0, walk, names), expect(0, target(Some("/run/netns/blue"))));
    assert_eq!(setns([77, 0x4000_0000], 0, walk | cut, names), expect(0, target(None)));
    assert_eq!(setns([77, 0x4000_0000], 0, walk, b""), expect(0, target(None)));
    assert_eq!(setns([77, 0x4000_0000], 0, 0, b""), expect(0, target(None)));
    // The kind from the caller's argument only, and not at all.
    assert_eq!(setns([77, 0], 0x4000_0000, 0, b""), expect(0x4000_0000, target(None)));
    assert_eq!(setns([77, 0], 0, 0, b""), expect(0, None));
    assert_eq!(setns([0, 0], 0x4000_0000, 0, b""), expect(0x4000_0000, None));
}

#[test]
fn setns_with_a_process_and_with_an_exited_one() {
    let flags = NsKind::Uts.clone_flag() | NsKind::Pid.clone_flag();
    let mut bytes = blank(cause::SETNS);
    put(&mut bytes, 40, &flags.to_ne_bytes());
    let target = |bytes: &[u8]| match event(bytes, DEV).unwrap().operation {
        Operation::Setns { target, .. } => target,
        other => panic!("{other:?}"),
    };
    let at = offset_of!(Record, target);
    words(&mut bytes, at + offset_of!(Target, tgid), &[70, 71]);
    let gone = SetnsTarget::Process { pid: 70, tid: 71, comm: None, namespaces: vec![] };
    assert_eq!(target(&bytes), Some(gone));
    put(&mut bytes, at + offset_of!(Target, comm), b"sleep\0");
    words(&mut bytes, at + offset_of!(Target, namespaces), &[11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
    let namespaces = vec![NsId::new(NsKind::Pid, DEV, 15), NsId::new(NsKind::Uts, DEV, 18)];
    let comm = Some("sleep".into());
    assert_eq!(target(&bytes), Some(SetnsTarget::Process { pid: 70, tid: 71, comm, namespaces }));
}

#[test]
fn paths_whole_cut_unreadable_or_empty() {
    let pivot = |first: u16, second: u16| {
        let mut bytes = blank(cause::PIVOT_ROOT);
        text(&mut bytes, text::FIRST, b"/new\xff\0", first);
        text(&mut bytes, text::SECOND, &[b'x'; PATH_LEN], second);
        event(&bytes, DEV).unwrap().operation
    };
    let expect =
        |new_root, put_old| Operation::PivotRoot { new_root, put_old, new_root_at: None, put_old_at: None };
    let new = b"/new\xff"[..].into();
    let old: model::Text = "x".repeat(PATH_LEN).into();
    assert_eq!(pivot(0, text_flags::CUT), expect(PathText::Whole(new), PathText::Cut(old.clone())));
    assert_eq!(pivot(text_flags::FAULT, 0), expect(PathText::Unreadable, PathText::Whole(old)));
    let Operation::Chroot { path } = event(&blank(cause::CHROOT), DEV).unwrap().operation else {
        panic!("a chroot")
    };
    assert_eq!(path, PathText::Whole(model::Text::new()));
}

fn at(path: &str) -> ResolvedPath {
    ResolvedPath { path: path.into(), ..ResolvedPath::default() }
}

#[test]
fn root_and_working_directories() {
    let mut bytes = blank(cause::CHROOT);
    put(&mut bytes, offset_of!(Record, flags), &event_flags::ROOT_MOVED.to_ne_bytes());
    text(&mut bytes, text::ROOT_BEFORE, b"", text_flags::WALK);
    text(&mut bytes, text::ROOT_AFTER, b"jail\0srv\0", text_flags::WALK);
    text(&mut bytes, text::CWD_BEFORE, b"c\0b\0", text_flags::WALK | text_flags::CUT);
    text(&mut bytes, text::CWD_AFTER, b"c\0b\0", text_flags::WALK | text_flags::DETACHED);
    let event = event(&bytes, DEV).unwrap();
    assert_eq!(event.root, Some(Directory { moved: true, before: at("/"), after: at("/srv/jail") }));
    let cut = ResolvedPath { cut: true, ..at("b/c") };
    let detached = ResolvedPath { detached: true, ..at("/b/c") };
    assert_eq!(event.cwd, Some(Directory { moved: false, before: cut, after: detached }));
    assert_eq!(event.changed().collect::<Vec<_>>(), ["root"]);
    let none = super::event(&blank(cause::CHROOT), DEV).unwrap();
    assert_eq!((none.root, none.cwd), (None, None));
}

/// The kernel's own resolution takes precedence over a conclusion.
#[test]
fn resolved_arguments_of_pivot_root() {
    let mut bytes = blank(cause::PIVOT_ROOT);
    text(&mut bytes, text::FIRST, b".\0", 0);
    text(&mut bytes, text::SECOND, b"./\0", 0);
    text(&mut bytes, text::CWD_BEFORE, b"new\0", text_flags::WALK);
    let resolved = |bytes: &[u8]| match event(bytes, DEV).unwrap().operation {
        Operation::PivotRoot { new_root_at, put_old_at, .. } => (new_root_at, put_old_at),
        other => panic!("{other:?}"),
    };
    assert_eq!(resolved(&bytes), (Some(at("/new")), None));
    text(&mut bytes, text::FIRST_RESOLVED, b"other\0", text_flags::WALK);
    text(&mut bytes, text::SECOND_RESOLVED, b"old\0other\0", text_flags::WALK);
    assert_eq!(resolved(&bytes), (Some(at("/other")), Some(at("/other/old"))));
}

#[test]
fn other_bytes_than_an_event_are_refused() {
    let good = blank(cause::CHROOT);
    for len in 0..good.len() {
        assert_eq!(event(&good[..len], DEV), Err(DecodeError::Length(len)));
    }
    let mut long = good.clone();
    long.extend([0; 8]);
    assert_eq!(event(&long, DEV), Err(DecodeError::Length(good.len())));
    // Text that the event does not refer to, and a text outside of it.
    put(&mut long, 0, &u32::try_from(good.len() + 8).unwrap().to_ne_bytes());
    assert_eq!(event(&long, DEV), Err(DecodeError::Length(good.len() + 8)));
    put(&mut long, offset_of!(Record, text_len), &3_u32.to_ne_bytes());
    assert!(event(&long, DEV).is_ok());
    put(&mut long, offset_of!(Record, texts) + 2, &4_u16.to_ne_bytes());
    assert_eq!(event(&long, DEV), Err(DecodeError::Length(good.len() + 8)));
    let mut other = good.clone();
    put(&mut other, 0, &7_u32.to_ne_bytes());
    assert_eq!(event(&other, DEV), Err(DecodeError::Length(7)));
    let mut newer = good.clone();
    put(&mut newer, 4, &(RECORD_VERSION + 1).to_ne_bytes());
    assert_eq!(event(&newer, DEV), Err(DecodeError::Version(RECORD_VERSION + 1)));
    assert_eq!(event(&blank(999), DEV), Err(DecodeError::Cause(999)));
    let mut deep = good;
    words(&mut deep, offset_of!(Record, pids), &[34]);
    assert_eq!(event(&deep, DEV), Err(DecodeError::Depth(34)));
}

#[test]
fn the_end_of_a_namespace() {
    let mut bytes = vec![0; size_of::<Freed>()];
    let size = u32::try_from(bytes.len()).unwrap();
    put(&mut bytes, 0, &size.to_ne_bytes());
    put(&mut bytes, 4, &RECORD_VERSION.to_ne_bytes());
    put(&mut bytes, 6, &cause::FREED.to_ne_bytes());
    put(&mut bytes, offset_of!(Freed, time_ns), &5_000_000_001_u64.to_ne_bytes());
    put(&mut bytes, offset_of!(Freed, ino), &u32::MAX.to_ne_bytes());
    put(&mut bytes, offset_of!(Freed, id), &77_u64.to_ne_bytes());
    let end = End { ino: u32::MAX.into(), mark: Mark::Id(77), since_boot: Duration::new(5, 1) };
    assert_eq!(record(&bytes, DEV), Ok(SourceItem::Freed(end)));
    let wrong = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        record(&bytes, DEV)
    };
    assert_eq!(wrong(0, 7), Err(DecodeError::Length(bytes.len())));
    assert_eq!(wrong(4, 255), Err(DecodeError::Version(255)));
    assert_eq!(wrong(6, 1), Err(DecodeError::Cause(1)));
    assert_eq!(record(&bytes[1..], DEV), Err(DecodeError::Length(bytes.len() - 1)));
}

#[test]
fn the_kernels_ids_of_namespaces() {
    let mut bytes = blank(cause::UNSHARE);
    let slot = NsSlot::In(NsKind::Net);
    put(&mut bytes, offset_of!(Record, before_ids) + 8 * slot.index(), &(1_u64 << 63).to_ne_bytes());
    put(&mut bytes, offset_of!(Record, after_ids) + 8 * slot.index(), &77_u64.to_ne_bytes());
    let marks = event(&bytes, DEV).unwrap().marks.unwrap();
    assert_eq!((*marks.before.get(slot), *marks.after.get(slot)), (Mark::Id(1 << 63), Mark::Id(77)));
    assert_eq!(*marks.after.of(NsKind::Uts), Mark::Unknown);
}
