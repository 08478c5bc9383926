//! A record of the probe → [`Event`]: a pure function of its bytes.

use crate::model::{
    Actor, CloneChild, Crossing, Event, NsId, NsKind, Outcome, PathText, Pid, SetnsTarget, Slots,
};
use nsprobe_ebpf::{
    COMM_LEN, Child, Event as Record, Header, NamespaceInodes, PATH_LEN, PID_LEVELS, Pids, RECORD_VERSION,
    Target, cause, event_flags,
};
use std::ffi::OsString;
use std::mem::offset_of;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Why a record was not understood. It is counted, and the others are read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the length of an event, or not the length that the record itself says.
    #[error("a record of {0} bytes is no event")]
    Length(usize),
    /// Written by a probe that is not this nsprobe's.
    #[error("record version {0} is unknown")]
    Version(u16),
    /// An event that this nsprobe does not know.
    #[error("cause {0} is unknown")]
    Cause(u16),
    /// More process ids than there can be pid namespaces.
    #[error("{0} process ids of one process")]
    Depth(u32),
}

/// The event in `bytes`, which are one whole record. `nsfs_dev` is the device that every namespace's file
/// is on.
pub fn event(bytes: &[u8], nsfs_dev: u64) -> Result<Event, DecodeError> {
    let record = View::new(bytes)?;
    let flags = record.u32(offset_of!(Record, flags));
    let time_ns = record.u64(offset_of!(Record, time_ns));
    let duration_ns = record.u64(offset_of!(Record, duration_ns));
    let outcome = outcome(record.i64(offset_of!(Record, result)));
    Ok(Event {
        since_boot: Duration::from_nanos(time_ns),
        duration: (duration_ns != 0).then(|| Duration::from_nanos(duration_ns)),
        process: actor(record)?,
        crossing: crossing(record, flags, nsfs_dev)?,
        outcome,
        before: namespaces(record, offset_of!(Record, before), nsfs_dev),
        after: namespaces(record, offset_of!(Record, after), nsfs_dev),
    })
}

fn actor(record: View) -> Result<Actor, DecodeError> {
    let comm: [u8; COMM_LEN] = record.bytes(offset_of!(Record, comm));
    Ok(Actor {
        pid: record.u32(offset_of!(Record, tgid)),
        tid: record.u32(offset_of!(Record, tid)),
        ppid: record.u32(offset_of!(Record, ppid)),
        pids: pids(record, offset_of!(Record, pids))?,
        comm: String::from_utf8_lossy(until_nul(&comm)).into_owned(),
        uid: record.u32(offset_of!(Record, uid)),
        gid: record.u32(offset_of!(Record, gid)),
        euid: record.u32(offset_of!(Record, euid)),
    })
}

fn crossing(record: View, flags: u32, nsfs_dev: u64) -> Result<Crossing, DecodeError> {
    let args = offset_of!(Record, args);
    let (first, second) = (record.u64(args), record.u64(args + size_of::<u64>()));
    Ok(match record.cause() {
        cause::CLONE => Crossing::Clone { flags: first, child: child(record)? },
        cause::UNSHARE => Crossing::Unshare { flags: first },
        cause::SETNS => Crossing::Setns {
            // An int in the kernel: what is above its 32 bits is not part of it.
            fd: ((first & 0xffff_ffff) as u32).cast_signed(),
            nstype: second & 0xffff_ffff,
            target: target(record, flags, second, nsfs_dev),
        },
        cause::CHROOT => Crossing::Chroot { path: path(record, flags, 0) },
        cause::PIVOT_ROOT => {
            Crossing::PivotRoot { new_root: path(record, flags, 0), put_old: path(record, flags, 1) }
        }
        other => return Err(DecodeError::Cause(other)),
    })
}

fn child(record: View) -> Result<Option<CloneChild>, DecodeError> {
    let at = offset_of!(Record, child);
    let tid = record.u32(at + offset_of!(Child, tid));
    if tid == 0 {
        return Ok(None);
    }
    let pid = record.u32(at + offset_of!(Child, tgid));
    Ok(Some(CloneChild { pid, tid, pids: pids(record, at + offset_of!(Child, pids))? }))
}

fn target(record: View, flags: u32, nstype: u64, nsfs_dev: u64) -> Option<SetnsTarget> {
    let at = offset_of!(Record, target);
    let ino = record.u32(at + offset_of!(Target, ino));
    if ino == 0 {
        return None;
    }
    let clone_flag = record.u32(at + offset_of!(Target, clone_flag));
    // Where the kernel's own word for the kind is not known, the caller's may be.
    let kind = NsKind::from_clone_flag(clone_flag.into())
        .or_else(|| NsKind::from_clone_flag(nstype & 0xffff_ffff))?;
    let walked = flags & event_flags::PATH_IS_WALK != 0 && flags & event_flags::PATH_CUT == 0;
    let path = walked.then(|| absolute(&record.path(0))).flatten();
    Some(SetnsTarget { id: NsId::new(kind, nsfs_dev, ino.into()), path })
}

/// The absolute path that ends in the first of `names` and begins with the last, each ended by a NUL;
/// `None` when there is no name.
fn absolute(names: &[u8]) -> Option<PathBuf> {
    let names: Vec<&[u8]> = names.split(|&byte| byte == 0).take_while(|name| !name.is_empty()).collect();
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    (!path.is_empty()).then(|| PathBuf::from(OsString::from_vec(path)))
}

fn path(record: View, flags: u32, index: usize) -> PathText {
    let (cut, fault) = if index == 0 {
        (event_flags::PATH_CUT, event_flags::PATH_FAULT)
    } else {
        (event_flags::SECOND_PATH_CUT, event_flags::SECOND_PATH_FAULT)
    };
    if flags & fault != 0 {
        return PathText::Unreadable;
    }
    let text = String::from_utf8_lossy(until_nul(&record.path(index))).into_owned();
    if flags & cut != 0 { PathText::Cut(text) } else { PathText::Whole(text) }
}

/// Negative results are minus errno.
fn outcome(result: i64) -> Outcome {
    match i32::try_from(result.unsigned_abs()) {
        Ok(errno) if result < 0 => Outcome::Failure(errno),
        _ => Outcome::Success(result),
    }
}

fn pids(record: View, at: usize) -> Result<Vec<Pid>, DecodeError> {
    let count = record.u32(at + offset_of!(Pids, count));
    if count as usize > PID_LEVELS {
        return Err(DecodeError::Depth(count));
    }
    let nr = at + offset_of!(Pids, nr);
    Ok((0..count as usize).map(|level| record.u32(nr + level * size_of::<u32>())).collect())
}

fn namespaces(record: View, at: usize, nsfs_dev: u64) -> Slots<Option<NsId>> {
    let inodes = at + offset_of!(NamespaceInodes, ino);
    Slots::from_fn(|slot| match record.u32(inodes + slot.index() * size_of::<u32>()) {
        0 => None,
        ino => Some(NsId::new(slot.kind(), nsfs_dev, ino.into())),
    })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
}

/// The bytes of one record of the right length and version. Offsets are those of [`Record`]'s fields.
#[derive(Clone, Copy)]
struct View<'a>(&'a [u8; size_of::<Record>()]);

impl<'a> View<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let record = Self(bytes.try_into().map_err(|_| DecodeError::Length(bytes.len()))?);
        let header = offset_of!(Record, header);
        let version = u16::from_ne_bytes(record.bytes(header + offset_of!(Header, version)));
        if version != RECORD_VERSION {
            return Err(DecodeError::Version(version));
        }
        let size = record.u32(header + offset_of!(Header, size)) as usize;
        if size != bytes.len() {
            return Err(DecodeError::Length(size));
        }
        Ok(record)
    }

    /// `N` bytes at `at`; zeros where the record has no more, which no offset of a field leads to.
    fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(at))
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(at))
    }

    fn i64(self, at: usize) -> i64 {
        i64::from_ne_bytes(self.bytes(at))
    }

    fn cause(self) -> u16 {
        u16::from_ne_bytes(self.bytes(offset_of!(Record, header) + offset_of!(Header, cause)))
    }

    fn path(self, index: usize) -> [u8; PATH_LEN] {
        self.bytes(offset_of!(Record, paths) + index * PATH_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NsSlot;

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
        words(&mut bytes, 48, &[100, 101, 99, 1000, 1001, 0]);
        put(&mut bytes, offset_of!(Record, comm), b"unshare\0\0\0\0\0\0\0\0\0");
        words(&mut bytes, offset_of!(Record, pids), &[2, 100, 1]);
        words(&mut bytes, offset_of!(Record, before), &[11, 12, 13, 14, 15, 16, 17, 18, 15, 16]);
        words(&mut bytes, offset_of!(Record, after), &[11, 12, 13, 24, 15, 0, 17, 18, 15, 0]);
        let event = event(&bytes, DEV).unwrap();
        assert_eq!(event.since_boot, Duration::new(5, 1));
        assert_eq!(event.duration, Some(Duration::from_nanos(1500)));
        assert_eq!(event.crossing, Crossing::Unshare { flags: 0x4000_0000 });
        assert_eq!(event.outcome, Outcome::Success(0));
        let actor = Actor {
            pid: 100,
            tid: 101,
            ppid: 99,
            pids: vec![100, 1],
            comm: "unshare".to_owned(),
            uid: 1000,
            gid: 1001,
            euid: 0,
        };
        assert_eq!(event.process, actor);
        assert_eq!(*event.before.of(NsKind::Net), Some(NsId::new(NsKind::Net, DEV, 14)));
        assert_eq!(*event.after.of(NsKind::Net), Some(NsId::new(NsKind::Net, DEV, 24)));
        assert_eq!(*event.before.get(NsSlot::TimeForChildren), Some(NsId::new(NsKind::Time, DEV, 16)));
        assert_eq!(*event.after.of(NsKind::Time), None);
    }

    #[test]
    fn a_clone_with_its_child_and_one_that_failed() {
        let mut bytes = blank(cause::CLONE);
        put(&mut bytes, 24, &200_i64.to_ne_bytes());
        put(&mut bytes, 32, &0x1_2000_0000_u64.to_ne_bytes());
        words(&mut bytes, offset_of!(Record, child), &[200, 200, 3, 200, 5, 1]);
        let made = event(&bytes, DEV).unwrap();
        let child = CloneChild { pid: 200, tid: 200, pids: vec![200, 5, 1] };
        assert_eq!(made.crossing, Crossing::Clone { flags: 0x1_2000_0000, child: Some(child) });
        assert_eq!((made.outcome, made.duration), (Outcome::Success(200), None));

        let mut bytes = blank(cause::CLONE);
        put(&mut bytes, 24, &(-28_i64).to_ne_bytes());
        let failed = event(&bytes, DEV).unwrap();
        assert_eq!(failed.crossing, Crossing::Clone { flags: 0, child: None });
        assert_eq!(failed.outcome, Outcome::Failure(28));
    }

    fn setns(target: [u32; 2], nstype: u64, flags: u32, names: &[u8]) -> Crossing {
        let mut bytes = blank(cause::SETNS);
        put(&mut bytes, 32, &(-1_i64).to_ne_bytes());
        put(&mut bytes, 40, &nstype.to_ne_bytes());
        put(&mut bytes, offset_of!(Record, flags), &flags.to_ne_bytes());
        words(&mut bytes, offset_of!(Record, target), &target);
        put(&mut bytes, offset_of!(Record, paths), names);
        event(&bytes, DEV).unwrap().crossing
    }

    #[test]
    fn setns_with_what_its_descriptor_stands_for() {
        let net = NsId::new(NsKind::Net, DEV, 77);
        let target = |path: Option<&str>| Some(SetnsTarget { id: net, path: path.map(PathBuf::from) });
        let expect = |nstype, target| Crossing::Setns { fd: -1, nstype, target };
        let (walk, cut) = (event_flags::PATH_IS_WALK, event_flags::PATH_CUT);
        // From the file up to the root, as the probe walks.
        let names = b"blue\0netns\0run\0";
        assert_eq!(setns([77, 0x4000_0000], 0, walk, names), expect(0, target(Some("/run/netns/blue"))));
        assert_eq!(setns([77, 0x4000_0000], 0, walk | cut, names), expect(0, target(None)));
        assert_eq!(setns([77, 0x4000_0000], 0, walk, b""), expect(0, target(None)));
        assert_eq!(setns([77, 0x4000_0000], 0, 0, b""), expect(0, target(None)));
        // The kind by the caller's word only, and not at all.
        assert_eq!(setns([77, 0], 0x4000_0000, 0, b""), expect(0x4000_0000, target(None)));
        assert_eq!(setns([77, 0], 0, 0, b""), expect(0, None));
        assert_eq!(setns([0, 0], 0x4000_0000, 0, b""), expect(0x4000_0000, None));
    }

    #[test]
    fn paths_that_are_whole_cut_unreadable_or_no_text() {
        let pivot = |flags: u32| {
            let mut bytes = blank(cause::PIVOT_ROOT);
            put(&mut bytes, offset_of!(Record, flags), &flags.to_ne_bytes());
            put(&mut bytes, offset_of!(Record, paths), b"/new\xff\0junk");
            let full = [b'x'; PATH_LEN];
            put(&mut bytes, offset_of!(Record, paths) + PATH_LEN, &full);
            event(&bytes, DEV).unwrap().crossing
        };
        let new = "/new\u{fffd}".to_owned();
        let old = "x".repeat(PATH_LEN);
        assert_eq!(
            pivot(event_flags::SECOND_PATH_CUT),
            Crossing::PivotRoot { new_root: PathText::Whole(new), put_old: PathText::Cut(old.clone()) }
        );
        assert_eq!(
            pivot(event_flags::PATH_FAULT),
            Crossing::PivotRoot { new_root: PathText::Unreadable, put_old: PathText::Whole(old) }
        );
        let Crossing::Chroot { path } = event(&blank(cause::CHROOT), DEV).unwrap().crossing else {
            panic!("a chroot")
        };
        assert_eq!(path, PathText::Whole(String::new()));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let good = blank(cause::CHROOT);
        for len in 0..good.len() {
            assert_eq!(event(&good[..len], DEV), Err(DecodeError::Length(len)));
        }
        let mut long = good.clone();
        long.extend([0; 8]);
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
}
