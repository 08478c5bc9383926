//! The records of files that hold namespaces without standing for them, from bytes; nothing here asks the kernel.

use super::records::{is, long, records, word};
use crate::model::{HeldBy, Pid};
use nsprobe_ebpf::{Held, cause, how};
use std::mem::offset_of;

/// A file that holds a namespace, as its record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldFacts {
    /// The kernel's number of the namespace.
    pub(super) kernel_id: u64,
    pub(super) by: HeldBy,
    pub(super) pid: Pid,
    /// The thread whose descriptor it is, where that has a table of its own.
    pub(super) tid: Option<Pid>,
    /// What tells its table from others; `None` when that is gone.
    pub(super) table: Option<u64>,
    pub(super) fd: u32,
}

/// Gives `each` every file in `bytes`, records one after the other, and the number of those that were not understood.
pub(super) fn files(bytes: &[u8], mut each: impl FnMut(HeldFacts)) -> u64 {
    records(bytes, |record| {
        // Without a number in the reader's pid namespace the process is not to be named.
        file(record).map(|facts| {
            if facts.pid != 0 {
                each(facts);
            }
        })
    })
}

/// The file in one whole record; `None` when it is not of the form that this nsprobe's probe writes.
fn file(record: &[u8]) -> Option<HeldFacts> {
    if !is(record, cause::HELD) || record.len() != size_of::<Held>() {
        return None;
    }
    let (pid, tid) = (word(record, offset_of!(Held, tgid))?, word(record, offset_of!(Held, tid))?);
    Some(HeldFacts {
        kernel_id: long(record, offset_of!(Held, id))?,
        by: match word(record, offset_of!(Held, how))? {
            how::TUN => HeldBy::Tun,
            how::PIDFD => HeldBy::Pidfd,
            how::PROC_FILE => HeldBy::ProcFile,
            how::FILE_SYSTEM => HeldBy::FileSystem,
            how::CREDENTIALS => HeldBy::Credentials,
            how::PEER_CREDENTIALS => HeldBy::PeerCredentials,
            how::PEER_PROCESS => HeldBy::PeerProcess,
            how::SIGNALS => HeldBy::Signals,
            how::MOUNT_LIST => HeldBy::MountList,
            how::PROC_NET => HeldBy::ProcNet,
            _ => return None,
        },
        pid,
        tid: (tid != pid).then_some(tid),
        table: Some(long(record, offset_of!(Held, table))?).filter(|&table| table != 0),
        fd: word(record, offset_of!(Held, fd))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsprobe_ebpf::RECORD_VERSION;

    /// A record as the probe writes it: the words in the order of the struct.
    fn record(tgid: u32, tid: u32, how: u32) -> Vec<u8> {
        let head =
            (u64::from(RECORD_VERSION) | u64::from(cause::HELD) << 16) << 32 | size_of::<Held>() as u64;
        let mut bytes: Vec<u8> = [head, 77, 99].iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend([tgid, tid, 5, how].iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn a_record_says_which_file_holds_what_and_how() {
        let mut found = Vec::new();
        let whole = [record(7, 7, how::TUN), record(7, 9, how::PROC_NET), record(0, 0, how::TUN)].concat();
        assert_eq!(files(&whole, |facts| found.push(facts)), 0);
        let facts = |by, tid| HeldFacts { kernel_id: 77, by, pid: 7, tid, table: Some(99), fd: 5 };
        assert_eq!(found, [facts(HeldBy::Tun, None), facts(HeldBy::ProcNet, Some(9))]);
        for end in 1..size_of::<Held>() {
            assert_eq!(files(&whole[..end], |_| unreachable!()), 1, "{end} bytes");
        }
    }

    #[test]
    fn every_way_has_a_number_of_its_own_and_no_other_number_is_one() {
        let mut ways = Vec::new();
        for how in 0..=64 {
            let before = ways.len();
            let unknown = files(&record(7, 7, how), |facts| ways.push(facts.by));
            assert_eq!(ways.len() - before + usize::try_from(unknown).unwrap(), 1, "{how}");
        }
        ways.sort();
        assert_eq!(ways, HeldBy::ALL);
    }
}
