//! Counts what could not be read, by kind and reason.

use super::errno::denied;
use crate::kernel::advice::{exhausted, remedy};
use crate::kernel::bounded::Stuck;
use crate::kernel::capabilities::Capability;
use crate::model::{Gap, GapKind, Pid, errno_text};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The gaps found so far.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// By kind and reason.
    counts: BTreeMap<(GapKind, String), (u64, Option<String>)>,
    /// Per kind, the number of reads that do not return, and their processes: they make one gap, however many they are.
    stuck: BTreeMap<GapKind, (u64, BTreeSet<Pid>)>,
}

/// The most reasons reported per kind: some contain names that a tenant chose.
const MOST_REASONS: usize = 64;

/// The reason under which the rest is counted.
const FURTHER: &str = "further reasons, not listed one by one";

impl Gaps {
    /// Counts one more of `kind`, for `reason`; `remedy` is what would help.
    pub(super) fn add(&mut self, kind: GapKind, reason: impl Into<String>, remedy: Option<&str>) {
        let key = (kind, reason.into());
        if !self.counts.contains_key(&key) && self.reasons(kind) >= MOST_REASONS {
            self.counts.entry((kind, FURTHER.to_owned())).or_insert((0, None)).0 += 1;
            return;
        }
        self.counts.entry(key).or_insert_with(|| (0, remedy.map(str::to_owned))).0 += 1;
    }

    /// Counts the reasons of gaps of `kind`.
    fn reasons(&self, kind: GapKind) -> usize {
        let of_kind = (kind, String::new())..;
        self.counts.range(of_kind).take_while(|((other, _), _)| *other == kind).take(MOST_REASONS).count()
    }

    /// Counts one more of `kind`, because reading a process does not return.
    pub(super) fn add_stuck(&mut self, kind: GapKind, stuck: Stuck) {
        let Stuck::Process(pid) = stuck else { return self.add(kind, stuck.to_string(), None) };
        let (count, pids) = self.stuck.entry(kind).or_default();
        *count += 1;
        pids.insert(pid);
    }

    /// Counts one more of `kind`, because of an error.
    pub(super) fn add_error(&mut self, kind: GapKind, error: &io::Error) {
        if let Some(stuck) = Stuck::behind(error) {
            return self.add_stuck(kind, stuck);
        }
        if let Some(exhausted) = exhausted(error) {
            return self.add(kind, exhausted, Some("raise it (ulimit -n)"));
        }
        if !denied(error) {
            return self.add(kind, error_text(error), None);
        }
        let remedies = needed(kind, error).iter().map(|&needed| remedy(needed));
        let reason = error_text(error);
        match remedies.flatten().next() {
            Some(remedy) => self.add(kind, reason, Some(&remedy)),
            None => self.add(kind, format!("{reason}, {}", despite_capabilities(kind)), None),
        }
    }

    /// Returns true if there are any gaps.
    pub(super) fn any(&self) -> bool {
        !self.counts.is_empty() || !self.stuck.is_empty()
    }

    /// Returns the reason of the first gap, with a remedy if there is one.
    pub(super) fn first_reason(&self) -> String {
        let stuck = || self.stuck.values().next().map(|(_, pids)| Stuck::several(pids));
        let counted = self.counts.iter().next().map(|((_, reason), (_, remedy))| match remedy {
            Some(remedy) => format!("{reason}: {remedy}"),
            None => reason.clone(),
        });
        counted.or_else(stuck).unwrap_or_default()
    }

    /// Adds the gaps of another pass.
    pub(super) fn merge(&mut self, other: Self) {
        for (gap, (count, remedy)) in other.counts {
            self.counts.entry(gap).or_insert((0, remedy)).0 += count;
        }
        for (kind, (count, pids)) in other.stuck {
            let (of_kind, known) = self.stuck.entry(kind).or_default();
            *of_kind += count;
            known.extend(pids);
        }
    }

    /// Returns the gaps, sorted by kind.
    pub(super) fn finish(self) -> Vec<Gap> {
        let Self { mut counts, stuck } = self;
        let stuck = stuck.into_iter();
        counts.extend(stuck.map(|(kind, (count, pids))| ((kind, Stuck::several(&pids)), (count, None))));
        let gap = |((kind, reason), (count, remedy))| Gap { kind, count, reason, remedy };
        counts.into_iter().map(gap).collect()
    }
}

/// The capabilities whose absence may explain `error`: the first group that is incomplete does. Files in `/proc/PID`
/// are denied with EACCES and need CAP_SYS_PTRACE; calls that need CAP_SYS_ADMIN fail with EPERM.
fn needed(kind: GapKind, error: &io::Error) -> &'static [&'static [Capability]] {
    use Capability::{DacReadSearch, SysAdmin, SysPtrace};
    match (kind, error.raw_os_error()) {
        // Only the owner may list `/proc/PID/fd`, even if others may trace the process.
        (GapKind::Descriptors, _) => &[&[SysPtrace, DacReadSearch]],
        (GapKind::Mounts | GapKind::Relations | GapKind::Source, Some(libc::EPERM)) => {
            &[&[SysAdmin], &[SysPtrace]]
        }
        (GapKind::Mounts | GapKind::Relations | GapKind::Source, _) => &[&[SysPtrace], &[SysAdmin]],
        _ => &[&[SysPtrace]],
    }
}

/// The likely cause of a denial in spite of all needed capabilities.
const fn despite_capabilities(kind: GapKind) -> &'static str {
    match kind {
        GapKind::Descriptors => {
            "even with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH: a security module or sandbox forbids it"
        }
        GapKind::Mounts | GapKind::Relations | GapKind::Source => {
            "even with CAP_SYS_ADMIN and CAP_SYS_PTRACE: a file system on the path (FUSE, NFS) or a security module"
        }
        _ => "even with CAP_SYS_PTRACE: a security module or sandbox forbids it",
    }
}

/// The C library's text for an error.
fn error_text(error: &io::Error) -> String {
    error.raw_os_error().and_then(errno_text).unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_processes_form_one_gap() {
        let (mut gaps, mut other) = (Gaps::default(), Gaps::default());
        gaps.add_stuck(GapKind::ProcessStatus, Stuck::Process(7));
        assert!(
            gaps.any()
                && gaps.first_reason().starts_with("reading /proc/7 does not return in time: the process ")
        );
        for pid in 100..120 {
            other.add_error(GapKind::ProcessStatus, &Stuck::Process(pid).into());
            other.add_error(GapKind::ProcessStatus, &Stuck::Tenant.into());
        }
        gaps.merge(other);
        let found = gaps.finish();
        let counts: Vec<u64> = found.iter().map(|gap| gap.count).collect();
        assert_eq!(counts, [21, 20]);
        let named =
            "reading /proc/PID of 7, 100, 101, 102, 103, 104, 105, 106, ... does not return in time: ";
        assert!(found[0].reason.starts_with(named), "{}", found[0].reason);
    }

    #[test]
    fn excess_reasons_are_counted_together() {
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
