//! Records of a walk over the kernel's own list of namespaces of one kind, decoded from bytes; this file makes no
//! system call.

use super::records::{is_whole, long, word};
use nsprobe_ebpf::{Listed, WALK_STEPS, Walk, cause, outcome};
use std::io;
use std::mem::offset_of;

/// The result of some steps of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) outcome: Outcome,
    /// True if the head of the list has been passed since the walk began.
    pub(super) head: bool,
    /// The namespaces found, by the kernel's id and by inode.
    pub(super) found: Vec<(u64, u32)>,
}

/// The continuation of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on from the current position.
    More,
    /// It has come round.
    End,
    /// It cannot go on.
    Lost,
}

impl Outcome {
    /// Decodes an outcome.
    pub(super) const fn of(code: u32) -> Option<Self> {
        Some(match code {
            outcome::MORE => Self::More,
            outcome::END => Self::End,
            outcome::LOST => Self::Lost,
            _ => return None,
        })
    }
}

/// The number of attempts at a walk that loses its position.
pub(super) const ATTEMPTS: u32 = 16;

/// The most runs of one walk; no list is longer.
const RUNS: u32 = 1 << 20;

/// Walks the kernel's list of `what` to its end. `walk` goes some steps, from the start (true) or from where it
/// stopped; `take` decodes their record, with the same flag, and returns the outcome, or `None` if it does not
/// understand the record.
pub(super) fn to_end(
    what: &str,
    mut walk: impl FnMut(bool) -> io::Result<Vec<u8>>,
    mut take: impl FnMut(&[u8], bool) -> Option<Outcome>,
) -> Result<(), String> {
    for _ in 0..ATTEMPTS {
        for begin in (0..RUNS).map(|run| run == 0) {
            let record = walk(begin).map_err(|error| format!("running the BPF program: {error}"))?;
            match take(&record, begin) {
                None => return Err("a record of the probe has an unexpected layout".to_owned()),
                Some(Outcome::More) => {}
                Some(Outcome::End) => return Ok(()),
                Some(Outcome::Lost) => break,
            }
        }
    }
    Err(format!("the kernel's list of {what} changes too fast to be read, or has an unknown layout"))
}

/// Decodes the steps in one record; `None` if it does not have the layout of this nsprobe's probe.
pub(super) fn steps(record: &[u8]) -> Option<Steps> {
    let (word, long) = (|at| word(record, at), |at| long(record, at));
    let count = word(offset_of!(Walk, count))? as usize;
    if !is_whole::<Walk>(record, cause::WALK) || count > WALK_STEPS {
        return None;
    }
    let mut found = Vec::with_capacity(count);
    for index in 0..count {
        let at = offset_of!(Walk, found) + index * size_of::<Listed>();
        let (id, ino) = (long(at + offset_of!(Listed, id))?, word(at + offset_of!(Listed, ino))?);
        let references = word(at + offset_of!(Listed, references))?;
        // It is being destroyed, or not fully created.
        if id != 0 && ino != 0 && references != 0 {
            found.push((id, ino));
        }
    }
    let outcome = Outcome::of(word(offset_of!(Walk, outcome))?)?;
    Some(Steps { outcome, head: word(offset_of!(Walk, heads))? != 0, found })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use nsprobe_ebpf::RECORD_VERSION;

    /// The record of a run with this outcome that found these: id, inode, references.
    pub(in crate::discover) fn record(outcome: u32, heads: u32, found: &[(u64, u32, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(size_of::<Walk>()).unwrap().to_ne_bytes());
        bytes.extend(RECORD_VERSION.to_ne_bytes());
        bytes.extend(cause::WALK.to_ne_bytes());
        for word in [outcome, u32::try_from(found.len()).unwrap(), heads, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([0; 16]);
        for &(id, ino, references) in found {
            bytes.extend(id.to_ne_bytes());
            bytes.extend(ino.to_ne_bytes());
            bytes.extend(references.to_ne_bytes());
        }
        bytes.resize(size_of::<Walk>(), 0xff);
        bytes
    }

    #[test]
    fn dying_namespaces_are_skipped() {
        // Removed; without a reference; without an inode.
        let found = [(3, 4_026_531_833, 2), (0, 4_026_532_177, 1), (10, 4_026_532_178, 0), (11, 0, 1)];
        let steps = steps(&record(outcome::END, 1, &found)).unwrap();
        assert_eq!(steps, Steps { outcome: Outcome::End, head: true, found: vec![(3, 4_026_531_833)] });
        assert!(!super::steps(&record(outcome::MORE, 0, &[])).unwrap().head);
    }

    #[test]
    fn foreign_record_is_rejected() {
        let good = record(outcome::LOST, 0, &[(3, 4, 5)]);
        assert_eq!(steps(&good).unwrap().outcome, Outcome::Lost);
        assert_eq!(steps(&good[..good.len() - 1]), None);
        assert_eq!(steps(&[]), None);
        // Its size, version, cause, outcome and count.
        for at in [0, 4, 6, 8, 12] {
            let mut other = good.clone();
            other[at] = other[at].wrapping_add(77);
            assert_eq!(steps(&other), None, "byte {at}");
        }
    }
}
