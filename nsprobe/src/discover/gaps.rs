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

impl Gaps {
    /// One more of `kind`, for `reason`; `remedy` says what would help.
    pub(super) fn add(&mut self, kind: GapKind, reason: impl Into<String>, remedy: Option<&'static str>) {
        self.0.entry((kind, reason.into())).or_insert((0, remedy)).0 += 1;
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
