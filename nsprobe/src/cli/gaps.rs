//! Reports on stderr what a snapshot lacks: one line, whatever the command.

use super::{Exit, METHOD, output};
use crate::kernel::advice::{AND, WITH_SUDO};
use crate::model::{Gap, GapKind};

/// The option by which gaps count as a finding.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Strict {
    /// Exit with 1 if anything could not be read
    #[arg(long, help_heading = METHOD)]
    strict: bool,
}

impl Strict {
    /// True if the option was given.
    pub(super) const fn is_set(self) -> bool {
        self.strict
    }

    /// The exit of a command that would end with `exit`, given these gaps.
    pub(super) fn exit(self, gaps: &[Gap], exit: Exit) -> Exit {
        if self.strict && !gaps.is_empty() { Exit::Findings } else { exit }
    }
}

/// Writes one message on stderr for all the gaps combined, if there are any. A missing source of namespaces is the
/// same at every run: it is reported where it matters (`all`), with `-v`, in JSON and by `doctor`.
pub(super) fn report(gaps: &[Gap], all: bool) {
    let all = all || log::log_enabled!(log::Level::Info);
    let reported: Vec<&Gap> = gaps.iter().filter(|gap| all || gap.kind != GapKind::Source).collect();
    if !reported.is_empty() {
        output::complain(&describe(&reported));
    }
}

/// Reports the number of namespaces for which it is not known whether a process is in them.
pub(super) fn report_unknown_orphans(count: usize) {
    if count > 0 {
        let namespaces = output::counted(count as u64, "namespace", "namespaces");
        output::complain(&format_args!(
            "whether a process is in {namespaces} more is not known: not all processes were seen, so none of them is listed"
        ));
    }
}

fn describe(gaps: &[&Gap]) -> String {
    let (mut unreadable, mut parts) = (Vec::new(), Vec::new());
    for gap in gaps {
        match thing(gap.kind, gap.count) {
            Some(thing) => unreadable.push(format!("{thing} ({})", gap.reason)),
            None => parts.push(gap.reason.clone()),
        }
    }
    if !unreadable.is_empty() {
        parts.insert(0, format!("not readable: {}", unreadable.join(", ")));
    }
    let remedies: Vec<&str> = gaps.iter().filter_map(|gap| gap.remedy.as_deref()).collect();
    if !remedies.is_empty() {
        parts.push(format!("to see more: {}", combined(&remedies)));
    }
    parts.join("; ")
}

/// The remedies, each once; those that name capabilities are combined.
fn combined(remedies: &[&str]) -> String {
    let (mut capabilities, mut others) = (Vec::new(), Vec::new());
    for remedy in remedies {
        let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let names: Option<Vec<&str>> = remedy.strip_prefix(WITH_SUDO).map(|names| names.split(AND).collect());
        let (list, parts) = match names.filter(|names| names.iter().all(is_name)) {
            Some(names) => (&mut capabilities, names),
            None => (&mut others, vec![*remedy]),
        };
        for part in parts {
            if !list.contains(&part) {
                list.push(part);
            }
        }
    }
    let with = (!capabilities.is_empty()).then(|| format!("{WITH_SUDO}{}", capabilities.join(AND)));
    let all: Vec<&str> = with.as_deref().into_iter().chain(others).collect();
    all.join("; ")
}

/// Names what is missing `count` times; `None` if the reason is enough.
fn thing(kind: GapKind, count: u64) -> Option<String> {
    let of = |what: &str, one: &str, many: &str| Some(format!("{what}{}", output::counted(count, one, many)));
    match kind {
        GapKind::ProcessNamespaces => of("the namespaces of ", "process", "processes"),
        GapKind::ProcessRoot => of("the roots of ", "process", "processes"),
        GapKind::ProcessStatus => of("", "process", "processes"),
        GapKind::ProcessArguments => of("the arguments of ", "process", "processes"),
        GapKind::PidForChildren => of("the pid namespaces for children of ", "process", "processes"),
        GapKind::ThreadNamespaces => of("the namespaces of ", "thread", "threads"),
        GapKind::ProcessIds => of("the inner process ids of ", "process", "processes"),
        GapKind::Descriptors => of("the descriptors of ", "process", "processes"),
        GapKind::Sockets => of("the network namespaces of ", "socket", "sockets"),
        GapKind::Mounts => of("the mounts of ", "mount namespace", "mount namespaces"),
        GapKind::Relations => of("the parents and owners of ", "namespace", "namespaces"),
        GapKind::PidNamespace | GapKind::HiddenProcesses | GapKind::Chroot | GapKind::Source => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_has_counts_reasons_and_remedies() {
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
            gap(GapKind::Mounts, 2, denied, Some("run with sudo, or with CAP_SYS_ADMIN and CAP_SYS_PTRACE")),
            gap(GapKind::PidNamespace, 1, "this /proc shows one pid namespace", Some("run on the host")),
            gap(GapKind::Source, 1, "no lists", Some("run with sudo, or with CAP_BPF, or use Linux 6.19")),
        ];
        insta::assert_snapshot!(
            describe(&gaps.iter().collect::<Vec<_>>()),
            @"not readable: the namespaces of 1 process (Permission denied), the descriptors of 1 process (Permission denied), the mounts of 2 mount namespaces (Permission denied); this /proc shows one pid namespace; no lists; to see more: run with sudo, or with CAP_SYS_PTRACE and CAP_SYS_ADMIN; run on the host; run with sudo, or with CAP_BPF, or use Linux 6.19"
        );
    }
}
