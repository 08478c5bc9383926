//! Parses records of the kernel: `enum perf_event_type` in `<linux/perf_event.h>`.

use crate::model::{self, NsId, NsKind, NsSlot, Pid, Slots};
use std::time::Duration;

/// One record: its content, its writer, and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `CLOCK_BOOTTIME`.
    pub time: Duration,
    /// The task that was running: for a fork, the parent.
    pub writer: Task,
    /// The content.
    pub what: What,
}

/// A task: process and thread id, in the reader's pid namespace; 0 if it is not in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id.
    pub pid: Pid,
    /// Thread id.
    pub tid: Pid,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `parent` has created `task`.
    Fork {
        /// The new task.
        task: Task,
        /// The caller, which need not become its parent.
        parent: Task,
    },
    /// The task has ended.
    Exit(Task),
    /// The task has a new name.
    Name {
        /// The task.
        task: Task,
        /// The name.
        comm: model::Text,
        /// True if by executing a program.
        exec: bool,
    },
    /// The namespaces of a task: written when it is created, and after its successful calls of unshare and setns.
    Namespaces {
        /// The task.
        task: Task,
        /// Its namespaces of the seven kinds that are reported.
        namespaces: Box<Slots<Option<NsId>>>,
    },
    /// The number of records without room.
    Lost(u64),
}

/// A record that is shorter than its type requires, or than its own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// The kinds in the order of `PERF_RECORD_NAMESPACES`.
const KINDS: [NsKind; 7] =
    [NsKind::Net, NsKind::Uts, NsKind::Ipc, NsKind::Pid, NsKind::User, NsKind::Mnt, NsKind::Cgroup];

/// Type, misc and size.
const HEADER: usize = 8;
/// Pid, tid and time of the writer, at the end of each record.
const TRAILER: usize = 16;

/// Parses the records in `bytes`, which are complete. Data after an invalid length is not parsed: it yields one
/// `Broken`. Unknown types are skipped.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record, Broken>> {
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            let size = bytes.get(6..8).and_then(|size| Some(u16::from_ne_bytes(size.try_into().ok()?)));
            let size = usize::from(size.unwrap_or(0));
            let Some((record, rest)) =
                bytes.split_at_checked(size).filter(|_| size >= HEADER && size.is_multiple_of(8))
            else {
                bytes = &[];
                return Some(Err(Broken));
            };
            bytes = rest;
            if let Some(parsed) = parse(record).transpose() {
                return Some(parsed);
            }
        }
        None
    })
}

/// Parses one complete record; `None` for an unknown type.
fn parse(bytes: &[u8]) -> Result<Option<Record>, Broken> {
    let kind = View(bytes).u32(0)?;
    let misc = View(bytes).u32(4)? & 0xffff;
    let body = bytes.get(HEADER..bytes.len().saturating_sub(TRAILER)).ok_or(Broken)?;
    let trailer = View(&bytes[HEADER + body.len()..]);
    let body = View(body);
    let what = match kind {
        2 => What::Lost(body.u64(8)?),
        3 => What::Name {
            task: body.task(0, 4)?,
            comm: text(body.0.get(8..).ok_or(Broken)?),
            exec: misc & COMM_EXEC != 0,
        },
        4 => What::Exit(body.task(0, 8)?),
        7 => What::Fork { task: body.task(0, 8)?, parent: body.task(4, 12)? },
        16 => What::Namespaces { task: body.task(0, 4)?, namespaces: Box::new(body.namespaces()?) },
        _ => return Ok(None),
    };
    let time = Duration::from_nanos(trailer.u64(8)?);
    Ok(Some(Record { time, writer: trailer.task(0, 4)?, what }))
}

/// `PERF_RECORD_MISC_COMM_EXEC`.
const COMM_EXEC: u32 = 1 << 13;

/// The bytes up to the terminating NUL.
fn text(bytes: &[u8]) -> model::Text {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes[..end].into()
}

struct View<'a>(&'a [u8]);

impl View<'_> {
    fn part<const N: usize>(&self, at: usize) -> Result<[u8; N], Broken> {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Broken)
    }

    fn u32(&self, at: usize) -> Result<u32, Broken> {
        self.part(at).map(u32::from_ne_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64, Broken> {
        self.part(at).map(u64::from_ne_bytes)
    }

    fn task(&self, pid: usize, tid: usize) -> Result<Task, Broken> {
        Ok(Task { pid: self.u32(pid)?, tid: self.u32(tid)? })
    }

    /// Parses a count after the task, and that many pairs of device and inode.
    fn namespaces(&self) -> Result<Slots<Option<NsId>>, Broken> {
        let mut slots = Slots::default();
        let count = usize::try_from(self.u64(8)?).map_err(|_| Broken)?;
        for (index, kind) in KINDS.into_iter().enumerate().take(count) {
            let at = 16 + index * 16;
            let (dev, ino) = (self.u64(at)?, self.u64(at + 8)?);
            // The kernel lacks the kind, or the task is exiting.
            if ino != 0 {
                *slots.get_mut(NsSlot::In(kind)) = Some(NsId::new(kind, dev, ino));
            }
        }
        Ok(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A record of this type, with this body, written by task 7 of process 6 at 5.000000001 s.
    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let size = u16::try_from(HEADER + body.len() + TRAILER).unwrap();
        [
            &kind.to_ne_bytes()[..],
            &misc.to_ne_bytes(),
            &size.to_ne_bytes(),
            body,
            &words(&[6, 7]),
            &5_000_000_001_u64.to_ne_bytes(),
        ]
        .concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn longs(longs: &[u64]) -> Vec<u8> {
        longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
    }

    fn read(bytes: &[u8]) -> Vec<Result<What, Broken>> {
        records(bytes).map(|record| record.map(|record| record.what)).collect()
    }

    const TASK: Task = Task { pid: 10, tid: 11 };

    #[test]
    fn tasks_begin_and_end_and_get_names() {
        let parent = Task { pid: 8, tid: 9 };
        let bytes = [
            record(7, 0, &[words(&[10, 8, 11, 9]), longs(&[1])].concat()),
            record(3, 1 << 13, &[words(&[10, 11]), b"sle\xffep\0\0".to_vec()].concat()),
            record(3, 0, &[words(&[10, 11]), b"exactly8".to_vec()].concat()),
            record(4, 0, &[words(&[10, 8, 11, 9]), longs(&[1])].concat()),
        ];
        assert_eq!(
            read(&bytes.concat()),
            [
                Ok(What::Fork { task: TASK, parent }),
                Ok(What::Name { task: TASK, comm: b"sle\xffep"[..].into(), exec: true }),
                Ok(What::Name { task: TASK, comm: "exactly8".into(), exec: false }),
                Ok(What::Exit(TASK)),
            ]
        );
        let first = records(&bytes[0]).next().unwrap().unwrap();
        assert_eq!((first.time, first.writer), (Duration::new(5, 1), Task { pid: 6, tid: 7 }));
    }

    #[test]
    fn namespaces_of_seven_kinds_in_their_slots() {
        let pairs = [4, 101, 4, 102, 4, 103, 4, 104, 4, 105, 4, 106, 0, 0];
        let bytes = record(16, 0, &[words(&[10, 11]), longs(&[7]), longs(&pairs)].concat());
        let [Ok(What::Namespaces { task: TASK, namespaces })] = &read(&bytes)[..] else {
            panic!("{:?}", read(&bytes))
        };
        for (kind, ino) in [
            (NsKind::Net, 101),
            (NsKind::Uts, 102),
            (NsKind::Ipc, 103),
            (NsKind::Pid, 104),
            (NsKind::User, 105),
            (NsKind::Mnt, 106),
        ] {
            assert_eq!(*namespaces.of(kind), Some(NsId::new(kind, 4, ino)));
        }
        assert_eq!(namespaces.iter().filter(|(_, id)| id.is_some()).count(), 6);
        // A later kernel may report more than seven, whatever they are.
        let more = record(16, 0, &[words(&[10, 11]), longs(&[9]), longs(&[4; 18])].concat());
        assert!(read(&more)[0].is_ok());
    }

    #[test]
    fn broken_records_are_reported_and_the_rest_is_read() {
        let exit = record(4, 0, &[words(&[10, 8, 11, 9]), longs(&[1])].concat());
        let lost = record(2, 0, &longs(&[3, 44]));
        // A record shorter than its type, and one of an unknown type.
        let bytes = [record(16, 0, &words(&[10, 11])), record(99, 0, &[]), lost, exit.clone()].concat();
        assert_eq!(read(&bytes), [Err(Broken), Ok(What::Lost(44)), Ok(What::Exit(TASK))]);
        // Fewer pairs than its count.
        let few = record(16, 0, &[words(&[10, 11]), longs(&[7]), longs(&[4; 6])].concat());
        assert_eq!(read(&few), [Err(Broken)]);
        // Cut anywhere; with an invalid length.
        for cut in 1..exit.len() {
            assert_eq!(read(&exit[..cut]), [Err(Broken)], "{cut}");
        }
        for size in [0_u16, 4, 9, 23] {
            let mut bytes = [exit.clone(), exit.clone()].concat();
            bytes[6..8].copy_from_slice(&size.to_ne_bytes());
            assert_eq!(read(&bytes), [Err(Broken)], "{size}");
        }
        assert_eq!(read(&[]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// A corrupt record does not affect the others if its length is intact.
        #[test]
        fn corrupt_records_do_not_affect_others(spoils in vec(vec((any::<u8>(), any::<u8>()), 0..4), 1..12)) {
            let whole = record(7, 0, &[words(&[10, 8, 11, 9]), longs(&[1])].concat());
            let mut bytes = Vec::new();
            for spoil in &spoils {
                let mut record = whole.clone();
                for &(at, value) in spoil {
                    // The length is the last two bytes of the header.
                    let at = usize::from(at) % (record.len() - 2);
                    record[if at < 6 { at } else { at + 2 }] = value;
                }
                bytes.extend(record);
            }
            let found = read(&bytes);
            let untouched = spoils.iter().filter(|spoil| spoil.is_empty()).count();
            let like_it = Ok(What::Fork { task: TASK, parent: Task { pid: 8, tid: 9 } });
            prop_assert!(found.iter().filter(|record| **record == like_it).count() >= untouched);
            prop_assert!(found.len() <= spoils.len());
        }

        #[test]
        fn any_bytes_at_all_make_no_panic(bytes in vec(prop_oneof![Just(0), 1_u8..40, any::<u8>()], 0..400)) {
            prop_assert!(records(&bytes).count() <= bytes.len().div_ceil(HEADER));
        }
    }
}
