//! Counts what could not be read, by what and why.

use crate::kernel::advice::{exhausted, remedy};
use crate::kernel::capabilities::Capability;
use crate::model::{Gap, GapKind, errno_text};
use std::collections::BTreeMap;
use std::io;

/// The gaps found so far.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<(GapKind, String), (u64, Option<String>)>);

/// How many reasons are told for gaps of one kind: some name what a tenant has made.
const MOST_REASONS: usize = 64;

/// The reason of what is counted beyond those.
const FURTHER: &str = "further reasons, which are not told one by one";

impl Gaps {
    /// One more of `kind`, for `reason`; `remedy` says what would help.
    pub(super) fn add(&mut self, kind: GapKind, reason: impl Into<String>, remedy: Option<&str>) {
        let key = (kind, reason.into());
        if !self.0.contains_key(&key) && self.reasons(kind) >= MOST_REASONS {
            self.0.entry((kind, FURTHER.to_owned())).or_insert((0, None)).0 += 1;
            return;
        }
        self.0.entry(key).or_insert_with(|| (0, remedy.map(str::to_owned))).0 += 1;
    }

    /// How many reasons there are for gaps of `kind`.
    fn reasons(&self, kind: GapKind) -> usize {
        let of_kind = (kind, String::new())..;
        self.0.range(of_kind).take_while(|((other, _), _)| *other == kind).take(MOST_REASONS).count()
    }

    /// One more of `kind`, because of an error.
    pub(super) fn add_error(&mut self, kind: GapKind, error: &io::Error) {
        if let Some(exhausted) = exhausted(error) {
            return self.add(kind, exhausted, Some("raise it (ulimit -n)"));
        }
        if !super::denied(error) {
            return self.add(kind, in_words(error), None);
        }
        let remedies = needed(kind, error).iter().map(|&needed| remedy(needed));
        let reason = in_words(error);
        match remedies.flatten().next() {
            Some(remedy) => self.add(kind, reason, Some(&remedy)),
            None => self.add(kind, format!("{reason}, {}", all_the_same(kind)), None),
        }
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Why the first of them is one.
    pub(super) fn first_reason(&self) -> String {
        self.0.keys().next().map(|(_, reason)| reason.clone()).unwrap_or_default()
    }

    /// Those of another look as well.
    pub(super) fn merge(&mut self, other: Self) {
        for (gap, (count, remedy)) in other.0 {
            self.0.entry(gap).or_insert((0, remedy)).0 += count;
        }
    }

    /// The gaps, in the order of their kinds.
    pub(super) fn finish(self) -> Vec<Gap> {
        let gap = |((kind, reason), (count, remedy))| Gap { kind, count, reason, remedy };
        self.0.into_iter().map(gap).collect()
    }
}

/// The capabilities that may be the reason of `error`: the first of these groups that is not complete is. Files of
/// `/proc/PID` are denied with EACCES, and CAP_SYS_PTRACE opens them; what asks for CAP_SYS_ADMIN answers EPERM.
fn needed(kind: GapKind, error: &io::Error) -> &'static [&'static [Capability]] {
    use Capability::{DacReadSearch, SysAdmin, SysPtrace};
    match (kind, error.raw_os_error()) {
        // Only the owner may list `/proc/PID/fd`, whoever may trace the process.
        (GapKind::Descriptors, _) => &[&[SysPtrace, DacReadSearch]],
        (GapKind::Mounts | GapKind::Relations | GapKind::Source, Some(libc::EPERM)) => {
            &[&[SysAdmin], &[SysPtrace]]
        }
        (GapKind::Mounts | GapKind::Relations | GapKind::Source, _) => &[&[SysPtrace], &[SysAdmin]],
        _ => &[&[SysPtrace]],
    }
}

/// What may deny something to one who has all that is needed.
const fn all_the_same(kind: GapKind) -> &'static str {
    match kind {
        GapKind::Descriptors => {
            "even with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH: a security module or sandbox forbids it"
        }
        GapKind::Mounts | GapKind::Relations | GapKind::Source => {
            "even with CAP_SYS_ADMIN and CAP_SYS_PTRACE: a file system on the way (FUSE, NFS) or a security module"
        }
        _ => "even with CAP_SYS_PTRACE: a security module or sandbox forbids it",
    }
}

/// What the C library says of an error.
fn in_words(error: &io::Error) -> String {
    error.raw_os_error().and_then(errno_text).unwrap_or_else(|| error.to_string())
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
