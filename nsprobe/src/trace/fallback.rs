//! Fallback between sources: the refusals so far → the next source to try. Trying happens elsewhere; [`super::plan`]
//! chooses the probe's hooks.

use super::hooks::Plan;
use super::plan::Choice;

/// A source of events, the most complete first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// BPF: fentry, fprobes or tracepoints.
    Probe,
    /// Records of perf_event_open(2).
    Perf,
    /// Scans of `/proc`.
    Proc,
}

impl SourceKind {
    /// The requirement of the source, in words.
    const fn means(self) -> &'static str {
        match self {
            Self::Probe => "BPF",
            Self::Perf => "perf",
            Self::Proc => "/proc",
        }
    }
}

/// A source that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The source.
    pub kind: SourceKind,
    /// The reason, in words.
    pub why: String,
}

/// The source to try after those that were `refused`, and the reason for it; `None` if none is left.
#[must_use]
pub fn next(choice: Choice, refused: &[Refused]) -> Option<(SourceKind, String)> {
    const ALL: [SourceKind; 3] = [SourceKind::Probe, SourceKind::Perf, SourceKind::Proc];
    let is_in = |kind: &SourceKind| match kind {
        SourceKind::Probe => !choice.in_probe().is_empty(),
        SourceKind::Perf => choice.has(Plan::Perf),
        SourceKind::Proc => choice.has(Plan::Proc),
    };
    let is_left = |kind: &SourceKind| refused.iter().all(|refused| refused.kind != *kind);
    let kind = ALL.into_iter().filter(is_in).find(is_left)?;
    let whys: Vec<String> =
        refused.iter().map(|Refused { kind, why }| format!("no {}: {why}", kind.means())).collect();
    let reason = if whys.is_empty() { "requested".to_owned() } else { whys.join("; ") };
    Some((kind, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: SourceKind, why: &str) -> Refused {
        Refused { kind, why: why.to_owned() }
    }

    #[test]
    fn refused_sources_give_the_reason() {
        let (probe, perf) =
            (refused(SourceKind::Probe, "no capability"), refused(SourceKind::Perf, "EACCES"));
        assert_eq!(next(Choice::Auto, &[]).map(|(kind, _)| kind), Some(SourceKind::Probe));
        assert_eq!(
            next(Choice::Auto, std::slice::from_ref(&probe)),
            Some((SourceKind::Perf, "no BPF: no capability".to_owned()))
        );
        assert_eq!(
            next(Choice::Auto, &[probe.clone(), perf.clone()]),
            Some((SourceKind::Proc, "no BPF: no capability; no perf: EACCES".to_owned()))
        );
        assert_eq!(next(Choice::Auto, &[probe, perf, refused(SourceKind::Proc, "no /proc")]), None);
    }

    #[test]
    fn nothing_beyond_a_list_is_tried() {
        let among = Choice::Among([Plan::Perf, Plan::Tracepoints].into_iter().collect());
        assert_eq!(among.in_probe(), [Plan::Tracepoints]);
        assert_eq!(next(among, &[]), Some((SourceKind::Probe, "requested".to_owned())));
        let probe = refused(SourceKind::Probe, "no capability");
        let perf = next(among, std::slice::from_ref(&probe));
        assert_eq!(perf, Some((SourceKind::Perf, "no BPF: no capability".to_owned())));
        assert_eq!(next(among, &[probe, refused(SourceKind::Perf, "EACCES")]), None);
        let both = Choice::Among([Plan::Tracepoints, Plan::Fentry].into_iter().collect());
        assert_eq!(both.in_probe(), [Plan::Fentry, Plan::Tracepoints]);
        assert_eq!(next(both, &[refused(SourceKind::Probe, "no")]), None);
    }

    #[test]
    fn only_the_requested_plan_is_tried() {
        for (plan, kind) in [
            (Plan::Fentry, SourceKind::Probe),
            (Plan::Fprobes, SourceKind::Probe),
            (Plan::Tracepoints, SourceKind::Probe),
            (Plan::Perf, SourceKind::Perf),
            (Plan::Proc, SourceKind::Proc),
        ] {
            assert_eq!(next(Choice::Only(plan), &[]), Some((kind, "requested".to_owned())));
            assert_eq!(next(Choice::Only(plan), &[refused(kind, "no")]), None);
        }
    }
}
