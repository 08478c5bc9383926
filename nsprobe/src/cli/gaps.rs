//! Says on stderr what a snapshot does not hold: one line, whatever the command.

use super::{Exit, METHOD, output};
use crate::model::{Gap, GapKind};

/// Whether gaps are taken for a finding.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Strict {
    /// Exit with 1 if anything could not be read
    #[arg(long, help_heading = METHOD)]
    strict: bool,
}

impl Strict {
    /// Whether it was asked for.
    pub(super) const fn is_set(self) -> bool {
        self.strict
    }

    /// How a command that would end as `exit` says ends with these gaps.
    pub(super) fn exit(self, gaps: &[Gap], exit: Exit) -> Exit {
        if self.strict && !gaps.is_empty() { Exit::Findings } else { exit }
    }
}

/// One message on stderr for all the gaps together; nothing when there are none. A way to find namespaces that is not there
/// is the same at every run: it is reported where it matters (`all`), with `-v`, in JSON and by `doctor`.
pub(super) fn report(gaps: &[Gap], all: bool) {
    let all = all || log::log_enabled!(log::Level::Info);
    let told: Vec<&Gap> = gaps.iter().filter(|gap| all || gap.kind != GapKind::Source).collect();
    if !told.is_empty() {
        output::complain(&describe(&told));
    }
}

/// Says of how many namespaces nobody knows whether a process is in them.
pub(super) fn report_unknown_orphans(count: usize) {
    let of = if count == 1 { "1 namespace" } else { &format!("{count} namespaces") };
    if count > 0 {
        output::complain(&format_args!(
            "whether a process is in {of} more is not known: not all processes were seen, so none of them is listed"
        ));
    }
}

fn describe(gaps: &[&Gap]) -> String {
    let (things, sentences): (Vec<_>, Vec<_>) =
        gaps.iter().map(|gap| (thing(gap.kind, gap.count), gap)).partition(|(thing, _)| thing.is_some());
    let things: Vec<String> =
        things.into_iter().filter_map(|(thing, gap)| Some(format!("{} ({})", thing?, gap.reason))).collect();
    let mut parts = Vec::new();
    if !things.is_empty() {
        parts.push(format!("not readable: {}", things.join(", ")));
    }
    parts.extend(sentences.into_iter().map(|(_, gap)| gap.reason.clone()));
    let remedies: Vec<&str> = gaps.iter().filter_map(|gap| gap.remedy.as_deref()).collect();
    if !remedies.is_empty() {
        parts.push(format!("to see more: {}", together(remedies)));
    }
    parts.join("; ")
}

/// The remedies, each once; those that name capabilities as one.
fn together(remedies: Vec<&str>) -> String {
    const SUDO: &str = "run with sudo, or with ";
    let (mut with, mut others) = (Vec::new(), Vec::new());
    for remedy in remedies {
        let (list, one) = match remedy.strip_prefix(SUDO) {
            Some(capabilities) => (&mut with, capabilities),
            None => (&mut others, remedy),
        };
        if !list.contains(&one) {
            list.push(one);
        }
    }
    let sudo = (!with.is_empty()).then(|| format!("{SUDO}{}", with.join(" and ")));
    let all: Vec<&str> = sudo.as_deref().into_iter().chain(others).collect();
    all.join("; ")
}

/// What is missing `count` times; `None` where the reason says it all.
fn thing(kind: GapKind, count: u64) -> Option<String> {
    let of = |what: &str, one: &str, many: &str| {
        Some(format!("{what}{count} {}", if count == 1 { one } else { many }))
    };
    match kind {
        GapKind::ProcessNamespaces => of("the namespaces of ", "process", "processes"),
        GapKind::ProcessRoot => of("the roots of ", "process", "processes"),
        GapKind::ProcessStatus => of("", "process", "processes"),
        GapKind::PidForChildren => of("the pid namespaces for children of ", "process", "processes"),
        GapKind::ThreadNamespaces => of("the namespaces of ", "thread", "threads"),
        GapKind::ProcessIds => of("the inner process ids of ", "process", "processes"),
        GapKind::Descriptors => of("the descriptors of ", "process", "processes"),
        GapKind::Sockets => of("the network namespaces of ", "socket", "sockets"),
        GapKind::Mounts => of("the mounts of ", "mount namespace", "mount namespaces"),
        GapKind::Relations => of("the parents and owners of ", "namespace", "namespaces"),
        GapKind::PidNamespace | GapKind::HiddenProcesses | GapKind::Source => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_says_how_many_why_and_what_to_do() {
        let gap = |kind, count, reason: &str, remedy: Option<&str>| Gap {
            kind,
            count,
            reason: reason.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let denied = "Permission denied";
        let gaps = [
            gap(GapKind::ProcessNamespaces, 1, denied, Some("run with sudo, or with CAP_SYS_PTRACE")),
            gap(GapKind::Descriptors, 1, denied, Some("run with sudo, or with CAP_SYS_PTRACE")),
            gap(GapKind::Mounts, 2, denied, Some("run with sudo, or with CAP_SYS_ADMIN")),
            gap(GapKind::PidNamespace, 1, "this /proc shows one pid namespace", Some("run on the host")),
        ];
        insta::assert_snapshot!(
            describe(&gaps.iter().collect::<Vec<_>>()),
            @"not readable: the namespaces of 1 process (Permission denied), the descriptors of 1 process (Permission denied), the mounts of 2 mount namespaces (Permission denied); this /proc shows one pid namespace; to see more: run with sudo, or with CAP_SYS_PTRACE and CAP_SYS_ADMIN; run on the host"
        );
    }
}
