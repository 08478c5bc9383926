//! Records of the iterators over tasks and files, decoded from bytes; this file makes no system call.

use crate::model::{NsId, NsKind, NsSlot, Pid, Slots, Text};
use nsprobe_ebpf::{
    COMM_LEN, Descriptor, Header, NamespaceInodes, PID_LEVELS, Pids, RECORD_VERSION, Task, cause, task_flags,
};
use std::collections::HashMap;
use std::mem::offset_of;

/// A task, as decoded from its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskFacts {
    pub(super) pid: Pid,
    pub(super) tid: Pid,
    pub(super) ppid: Pid,
    pub(super) pids: Vec<Pid>,
    pub(super) start_ticks: u64,
    pub(super) threads: u32,
    pub(super) uid: u32,
    pub(super) comm: Text,
    pub(super) leader: bool,
    pub(super) kernel_thread: bool,
    pub(super) root: RootFacts,
    pub(super) namespaces: Slots<Option<NsId>>,
}

/// The root directory, as far as the record describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootFacts {
    /// The task no longer has one.
    None,
    /// The root of its mount namespace, or the reader's own root.
    Whole,
    /// Possibly a different one.
    Elsewhere,
}

/// A clock tick of `/proc/PID/stat`: `USER_HZ` is 100 on every architecture that has BPF.
const TICK_NS: u64 = 10_000_000;

/// A descriptor that leads to a namespace, as decoded from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DescriptorFacts {
    pub(super) pid: Pid,
    /// The thread that owns the descriptor, if it has a table of its own.
    pub(super) tid: Option<Pid>,
    /// The identity of its descriptor table; `None` if the table is gone.
    pub(super) table: Option<u64>,
    pub(super) fd: u32,
    pub(super) leads_to: LeadsTo,
}

/// The descriptor tables of threads: by process and table, the thread seen first.
#[derive(Debug, Default)]
pub(super) struct Tables(HashMap<(Pid, u64), Option<Pid>>);

impl Tables {
    /// Returns true if this thread is the first, or only, one of its process with this table. The iterator skips only
    /// the threads that share their process's table, and a process has none once its first thread has ended.
    pub(super) fn is_first(&mut self, pid: Pid, tid: Option<Pid>, table: Option<u64>) -> bool {
        table.is_none_or(|table| *self.0.entry((pid, table)).or_insert(tid) == tid)
    }
}

/// The target of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeadsTo {
    /// A namespace, by its file.
    Namespace(NsId),
    /// The network namespace of a socket.
    Socket(SocketNamespace),
}

/// The network namespace of a socket, as decoded from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketNamespace {
    pub(super) id: NsId,
    /// The kernel's id of it, if it has one.
    pub(super) kernel_id: Option<u64>,
    pub(super) owner: NsId,
    /// The kernel's id of the owner, if it has one.
    pub(super) owner_kernel_id: Option<u64>,
}

/// Passes `each` every task in `bytes`, a sequence of records, and returns the number of records that were not
/// understood. `nsfs_dev` is the device of all namespace files.
pub(super) fn tasks(bytes: &[u8], nsfs_dev: u64, mut each: impl FnMut(TaskFacts)) -> u64 {
    records(bytes, |record| {
        // Without a pid in the reader's pid namespace, it ended while being read.
        task(record, nsfs_dev).map(|facts| {
            if facts.pid != 0 && !facts.pids.is_empty() {
                each(facts);
            }
        })
    })
}

/// Passes `each` every descriptor in `bytes`, as [`tasks`] does.
pub(super) fn descriptors(bytes: &[u8], nsfs_dev: u64, mut each: impl FnMut(DescriptorFacts)) -> u64 {
    records(bytes, |record| {
        descriptor(record, nsfs_dev).map(|facts| {
            if facts.pid != 0 {
                each(facts);
            }
        })
    })
}

/// Passes `read` every record in `bytes`, and returns the number of records that were not understood.
pub(super) fn records(bytes: &[u8], mut read: impl FnMut(&[u8]) -> Option<()>) -> u64 {
    let mut unknown = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = word(rest, offset_of!(Header, size)).map_or(0, |size| size as usize);
        let Some((record, next)) =
            (size >= size_of::<Header>()).then(|| rest.split_at_checked(size)).flatten()
        else {
            // Without the end of this record, the next cannot be found.
            return unknown + 1;
        };
        unknown += u64::from(read(record).is_none());
        rest = next;
    }
    unknown
}

/// Returns true if a record is a whole `T`, with this version and cause.
pub(super) fn is_whole<T>(record: &[u8], cause: u16) -> bool {
    is(record, cause)
        && record.len() == size_of::<T>()
        && word(record, offset_of!(Header, size)) == u32::try_from(size_of::<T>()).ok()
}

/// Returns true if a record has this version and cause.
fn is(record: &[u8], cause: u16) -> bool {
    let half = |at: usize| record.get(at..).and_then(<[u8]>::first_chunk).copied().map(u16::from_ne_bytes);
    half(offset_of!(Header, version)) == Some(RECORD_VERSION)
        && half(offset_of!(Header, cause)) == Some(cause)
}

/// Decodes the descriptor in one whole record; `None` if it does not have the layout of this nsprobe's probe.
fn descriptor(record: &[u8], nsfs_dev: u64) -> Option<DescriptorFacts> {
    if !is(record, cause::DESCRIPTOR) || record.len() != size_of::<Descriptor>() {
        return None;
    }
    let (pid, tid) =
        (word(record, offset_of!(Descriptor, tgid))?, word(record, offset_of!(Descriptor, tid))?);
    let inode = |at| Some(u64::from(word(record, at)?));
    let optional_id = |at| Some(Some(long(record, at)?).filter(|&id| id != 0));
    let ino = inode(offset_of!(Descriptor, ino))?;
    let kernel_id = optional_id(offset_of!(Descriptor, id))?;
    let leads_to = match word(record, offset_of!(Descriptor, clone_flag))? {
        0 => LeadsTo::Socket(SocketNamespace {
            id: NsId::new(NsKind::Net, nsfs_dev, ino),
            kernel_id,
            owner: NsId::new(NsKind::User, nsfs_dev, inode(offset_of!(Descriptor, owner_ino))?),
            owner_kernel_id: optional_id(offset_of!(Descriptor, owner_id))?,
        }),
        flag => {
            let kind = NsKind::ALL.into_iter().find(|kind| kind.clone_flag() == u64::from(flag))?;
            LeadsTo::Namespace(NsId::new(kind, nsfs_dev, ino))
        }
    };
    let fd = word(record, offset_of!(Descriptor, fd))?;
    let table = optional_id(offset_of!(Descriptor, table))?;
    Some(DescriptorFacts { pid, tid: (tid != pid).then_some(tid), table, fd, leads_to })
}

/// Decodes the task in one whole record; `None` if it does not have the layout of this nsprobe's probe.
fn task(record: &[u8], nsfs_dev: u64) -> Option<TaskFacts> {
    if !is(record, cause::TASK) {
        return None;
    }
    let at = offset_of!(Task, pids);
    let count = word(record, at + offset_of!(Pids, count))? as usize;
    // The record of a task with one pid ends after it.
    let slots = if record.len() == size_of::<Task>() { PID_LEVELS } else { 1 };
    if count > slots || record.len() != at + offset_of!(Pids, nr) + 4 * slots {
        return None;
    }
    let pids: Option<Vec<Pid>> =
        (0..count).map(|index| word(record, at + offset_of!(Pids, nr) + 4 * index)).collect();
    let inode = |slot: NsSlot| {
        word(record, offset_of!(Task, namespaces) + offset_of!(NamespaceInodes, ino) + 4 * slot.index())
    };
    let comm = record.get(offset_of!(Task, comm)..)?.get(..COMM_LEN)?;
    let comm = comm.split(|&byte| byte == 0).next().unwrap_or_default();
    let start = long(record, offset_of!(Task, start_ns))?;
    let flags = word(record, offset_of!(Task, flags))?;
    let has = |flag| flags & flag != 0;
    Some(TaskFacts {
        pid: word(record, offset_of!(Task, tgid))?,
        tid: word(record, offset_of!(Task, tid))?,
        ppid: word(record, offset_of!(Task, ppid))?,
        pids: pids?,
        start_ticks: start / TICK_NS,
        threads: word(record, offset_of!(Task, threads))?,
        uid: word(record, offset_of!(Task, euid))?,
        comm: comm.into(),
        leader: has(task_flags::LEADER),
        kernel_thread: has(task_flags::KERNEL_THREAD),
        root: match (has(task_flags::NO_ROOT), has(task_flags::WHOLE_ROOT)) {
            (true, _) => RootFacts::None,
            (false, true) => RootFacts::Whole,
            (false, false) => RootFacts::Elsewhere,
        },
        namespaces: Slots::from_fn(|slot| {
            inode(slot).filter(|&ino| ino != 0).map(|ino| NsId::new(slot.kind(), nsfs_dev, ino.into()))
        }),
    })
}

pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NsKind;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A record as the probe writes it: the words in struct order.
    fn record() -> Vec<u8> {
        let head =
            (u64::from(RECORD_VERSION) | u64::from(cause::TASK) << 16) << 32 | size_of::<Task>() as u64;
        let mut bytes: Vec<u8> = [head, 12_345_678_901].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let words = [4711, 4711, 4242, 1000, 3, task_flags::LEADER | task_flags::WHOLE_ROOT];
        bytes.extend(words.iter().flat_map(|word: &u32| word.to_ne_bytes()));
        bytes.extend(*b"a name\0garbage\0\0");
        bytes
            .extend((0..10_u32).flat_map(|slot| if slot == 5 { [0; 4] } else { (100 + slot).to_ne_bytes() }));
        bytes.extend([2_u32, 4711, 7].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.resize(size_of::<Task>(), 0);
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<TaskFacts>, u64) {
        let mut found = Vec::new();
        let unknown = tasks(bytes, 4, |facts| found.push(facts));
        (found, unknown)
    }

    #[test]
    fn task_record_is_decoded() {
        let (found, unknown) = read(&[record(), record()].concat());
        assert_eq!((found.len(), unknown), (2, 0));
        let facts = &found[1];
        assert_eq!((facts.pid, facts.tid, facts.ppid, facts.uid, facts.threads), (4711, 4711, 4242, 1000, 3));
        assert_eq!(
            (facts.start_ticks, &*facts.comm.lossy(), &facts.pids[..]),
            (1234, "a name", &[4711, 7][..])
        );
        assert_eq!((facts.leader, facts.kernel_thread, facts.root), (true, false, RootFacts::Whole));
        assert_eq!(*facts.namespaces.of(NsKind::Cgroup), Some(NsId::new(NsKind::Cgroup, 4, 100)));
        assert_eq!(*facts.namespaces.of(NsKind::Time), None);
        let last = *facts.namespaces.get(NsSlot::TimeForChildren);
        assert_eq!(last, Some(NsId::new(NsKind::Time, 4, 109)));
    }

    #[test]
    fn unknown_records_are_counted_and_skipped() {
        let mut newer = record();
        newer[offset_of!(Header, version)] += 1;
        let mut other = record();
        other[offset_of!(Header, cause)] = 1;
        let mut deep = record();
        deep[offset_of!(Task, pids)] = 34;
        let mut longer = [record(), vec![0; 8]].concat();
        longer[0] += 8;
        let (found, unknown) = read(&[record(), newer, other, deep, longer, record()].concat());
        assert_eq!((found.len(), unknown), (2, 4));
    }

    #[test]
    fn truncated_record_is_unknown() {
        let whole = record();
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), (Vec::new(), 1), "{end} bytes");
        }
        assert_eq!(read(&[0; 64]), (Vec::new(), 1), "a record of no length");
        assert_eq!(read(&[]), (Vec::new(), 0));
    }

    #[test]
    fn task_with_one_pid_has_a_shorter_record() {
        let short = offset_of!(Task, pids) + offset_of!(Pids, nr) + 4;
        let mut one = record();
        one[offset_of!(Task, pids)] = 1;
        one.truncate(short);
        one[0] = u8::try_from(short).unwrap();
        let (found, unknown) = read(&[one.clone(), record(), one.clone()].concat());
        assert_eq!((found.len(), unknown), (3, 0));
        assert_eq!(found[2].pids, [4711]);
        one[offset_of!(Task, pids)] = 2;
        assert_eq!(read(&one), (Vec::new(), 1), "two ids where there is room for one");
    }

    fn descriptor(tid: u32, clone_flag: u32) -> Vec<u8> {
        let head = (u64::from(RECORD_VERSION) | u64::from(cause::DESCRIPTOR) << 16) << 32
            | size_of::<Descriptor>() as u64;
        let mut bytes: Vec<u8> = [head, 77, 0, 99].iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(
            [4711, tid, 5, clone_flag, 4_026_532_001, 4_026_531_837]
                .iter()
                .flat_map(|word| word.to_ne_bytes()),
        );
        bytes
    }

    #[test]
    fn descriptor_record_is_decoded() {
        let mut found = Vec::new();
        let (file, socket, other) =
            (descriptor(4711, 0x0400_0000), descriptor(4712, 0), descriptor(4711, 0x0001_0000));
        let whole = [file, socket, other].concat();
        assert_eq!(descriptors(&whole, 4, |facts| found.push(facts)), 1, "of no kind that is known");
        let id = |kind, ino| NsId::new(kind, 4, ino);
        let socket = SocketNamespace {
            id: id(NsKind::Net, 4_026_532_001),
            kernel_id: Some(77),
            owner: id(NsKind::User, 4_026_531_837),
            owner_kernel_id: None,
        };
        let of_uts = LeadsTo::Namespace(id(NsKind::Uts, 4_026_532_001));
        assert_eq!(
            found,
            [
                DescriptorFacts { pid: 4711, tid: None, table: Some(99), fd: 5, leads_to: of_uts },
                DescriptorFacts {
                    pid: 4711,
                    tid: Some(4712),
                    table: Some(99),
                    fd: 5,
                    leads_to: LeadsTo::Socket(socket)
                },
            ]
        );
        for end in 1..size_of::<Descriptor>() {
            assert_eq!(descriptors(&whole[..end], 4, |_| unreachable!()), 1, "{end} bytes");
        }
    }

    #[test]
    fn task_without_a_pid_is_gone() {
        let mut gone = record();
        gone[offset_of!(Task, pids)] = 0;
        assert_eq!(read(&gone), (Vec::new(), 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// A corrupt record affects no other, as long as its size is intact.
        #[test]
        fn what_is_not_spoilt_is_read(spoils in vec(vec((4_usize.., any::<u8>()), 0..4), 1..12)) {
            let mut bytes = Vec::new();
            for spoil in &spoils {
                let mut record = record();
                for &(at, value) in spoil {
                    let at = 4 + (at - 4) % (record.len() - 4);
                    record[at] = value;
                }
                bytes.extend(record);
            }
            let (found, unknown) = read(&bytes);
            let (whole, _) = read(&record());
            let untouched = spoils.iter().filter(|spoil| spoil.is_empty()).count();
            prop_assert!(found.iter().filter(|facts| **facts == whole[0]).count() >= untouched);
            prop_assert!(found.len() as u64 + unknown <= spoils.len() as u64);
            prop_assert!(found.iter().all(|facts| facts.pids.len() <= PID_LEVELS));
        }

        #[test]
        fn any_bytes_at_all_make_no_panic(bytes in vec(any::<u8>(), 0..600)) {
            let unknown = tasks(&bytes, 4, |_| {}) + descriptors(&bytes, 4, |_| {});
            prop_assert_eq!(unknown == 0, bytes.is_empty());
        }
    }
}
