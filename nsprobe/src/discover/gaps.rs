//! Counts what could not be read, by what and why.

use crate::kernel::capabilities::is_root;
use crate::model::{Gap, GapKind};
use std::collections::BTreeMap;
use std::io;

/// The gaps found so far.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<(GapKind, String), (u64, Option<&'static str>)>);

/// What makes a process's links readable.
pub(super) const READ_OTHERS: &str = "run as root, with CAP_SYS_PTRACE";

/// How many reasons are told for gaps of one kind: some name what a tenant has made.
const MOST_REASONS: usize = 64;

/// The reason of what is counted beyond those.
const FURTHER: &str = "further reasons, which are not told one by one";

impl Gaps {
    /// One more of `kind`, for `reason`; `remedy` says what would help.
    pub(super) fn add(&mut self, kind: GapKind, reason: impl Into<String>, remedy: Option<&'static str>) {
        let key = (kind, reason.into());
        if !self.0.contains_key(&key) && self.reasons(kind) >= MOST_REASONS {
            self.0.entry((kind, FURTHER.to_owned())).or_insert((0, None)).0 += 1;
            return;
        }
        self.0.entry(key).or_insert((0, remedy)).0 += 1;
    }

    /// How many reasons there are for gaps of `kind`.
    fn reasons(&self, kind: GapKind) -> usize {
        let of_kind = (kind, String::new())..;
        self.0.range(of_kind).take_while(|((other, _), _)| *other == kind).take(MOST_REASONS).count()
    }

    /// One more of `kind`, because of an error.
    pub(super) fn add_error(&mut self, kind: GapKind, error: &io::Error) {
        if super::denied(error) && is_root() {
            self.add(kind, format!("{error}, even to root: a security module or sandbox forbids it"), None);
        } else {
            self.add(kind, error.to_string(), super::denied(error).then_some(READ_OTHERS));
        }
    }

    /// Those of another look as well.
    pub(super) fn merge(&mut self, other: Self) {
        for (gap, (count, remedy)) in other.0 {
            self.0.entry(gap).or_insert((0, remedy)).0 += count;
        }
    }

    /// The gaps, in the order of their kinds.
    pub(super) fn finish(self) -> Vec<Gap> {
        let gap = |((kind, reason), (count, remedy)): ((_, _), (_, Option<&str>))| Gap {
            kind,
            count,
            reason,
            remedy: remedy.map(str::to_owned),
        };
        self.0.into_iter().map(gap).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_without_end_are_counted_as_one() {
        let mut gaps = Gaps::default();
        for number in 0..1000 {
            gaps.add(GapKind::Mounts, format!("the mount {number:04}"), None);
        }
        gaps.add(GapKind::Mounts, "the mount 0001", None);
        gaps.add(GapKind::Sockets, "another", None);
        let found = gaps.finish();
        assert_eq!(found.len(), MOST_REASONS + 2);
        assert_eq!(found.iter().map(|gap| gap.count).sum::<u64>(), 1002);
        assert!(found.iter().any(|gap| gap.reason == FURTHER && gap.count == 1000 - MOST_REASONS as u64));
    }
}
