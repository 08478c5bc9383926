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

/// One line on stderr for all the gaps together; nothing when there are none.
pub(super) fn report(gaps: &[Gap]) {
    if !gaps.is_empty() {
        output::complain(&describe(gaps));
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

fn describe(gaps: &[Gap]) -> String {
    let mut parts: Vec<String> = gaps.iter().map(part).collect();
    let mut remedies: Vec<&str> = gaps.iter().filter_map(|gap| gap.remedy.as_deref()).collect();
    remedies.sort_unstable();
    remedies.dedup();
    if !remedies.is_empty() {
        parts.push(format!("to see more: {}", remedies.join("; ")));
    }
    parts.join("; ")
}

fn part(gap: &Gap) -> String {
    let Gap { count, reason, .. } = gap;
    let plural = |one: &str, many: &str| format!("{count} {}", if *count == 1 { one } else { many });
    let what = match gap.kind {
        GapKind::ProcessNamespaces => {
            plural("process whose namespaces are not readable", "processes whose namespaces are not readable")
        }
        GapKind::ProcessRoot => {
            plural("process whose root is not readable", "processes whose roots are not readable")
        }
        GapKind::ProcessStatus => plural("process not readable", "processes not readable"),
        GapKind::PidForChildren => plural(
            "pid namespace made for children is not known",
            "pid namespaces made for children are not known",
        ),
        GapKind::ThreadNamespaces => {
            plural("thread whose namespaces are not readable", "threads whose namespaces are not readable")
        }
        GapKind::ProcessIds => plural(
            "process whose ids inside its pid namespaces are not known",
            "processes whose ids inside their pid namespaces are not known",
        ),
        GapKind::Descriptors => plural(
            "process whose descriptors are not readable",
            "processes whose descriptors are not readable",
        ),
        GapKind::Sockets => plural(
            "socket whose network namespace is not readable",
            "sockets whose network namespaces are not readable",
        ),
        GapKind::Mounts => plural(
            "mount namespace whose mounts are not readable",
            "mount namespaces whose mounts are not readable",
        ),
        GapKind::Relations => plural(
            "namespace whose parent and owner are not readable",
            "namespaces whose parents and owners are not readable",
        ),
        GapKind::PidNamespace | GapKind::HiddenProcesses | GapKind::Source => return reason.clone(),
    };
    format!("{what} ({reason})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_how_many_why_and_what_to_do() {
        let gap = |kind, count, reason: &str, remedy: Option<&str>| Gap {
            kind,
            count,
            reason: reason.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let denied = "Permission denied (os error 13)";
        insta::assert_snapshot!(
            describe(&[
                gap(GapKind::ProcessNamespaces, 1, denied, Some("run as root")),
                gap(GapKind::Mounts, 2, denied, Some("run as root")),
                gap(GapKind::PidNamespace, 1, "this /proc shows one pid namespace", None),
            ]),
            @"1 process whose namespaces are not readable (Permission denied (os error 13)); 2 mount namespaces whose mounts are not readable (Permission denied (os error 13)); this /proc shows one pid namespace; to see more: run as root"
        );
    }
}
