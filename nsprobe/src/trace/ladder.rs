//! Fallback between sources: the refusals so far → the next source to try. Trying happens elsewhere; [`super::plan`]
//! chooses the probe's hooks.

use super::hooks::Plan;
use super::plan::Choice;

/// A source of events, the most complete first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// BPF: functions or tracepoints.
    Probe,
    /// Records of perf_event_open(2).
    Perf,
    /// Scans of `/proc`.
    Poll,
}

impl Rung {
    /// The requirement of the source, in words.
    const fn means(self) -> &'static str {
        match self {
            Self::Probe => "BPF",
            Self::Perf => "perf",
            Self::Poll => "/proc",
        }
    }
}

/// A source that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The source.
    pub rung: Rung,
    /// The reason, in words.
    pub why: String,
}

/// The source to try after those that were `refused`, and the reason for it; `None` if none is left.
#[must_use]
pub fn next(choice: Choice, refused: &[Refused]) -> Option<(Rung, String)> {
    let among;
    let order: &[Rung] = match choice {
        Choice::Auto => &[Rung::Probe, Rung::Perf, Rung::Poll],
        Choice::Among(plans) => {
            let is_in = |rung: &Rung| match rung {
                Rung::Probe => Plan::OF_PROBE.into_iter().any(|plan| plans.has(plan)),
                Rung::Perf => plans.has(Plan::Perf),
                Rung::Poll => plans.has(Plan::Poll),
            };
            among = [Rung::Probe, Rung::Perf, Rung::Poll].into_iter().filter(is_in).collect::<Vec<_>>();
            &among
        }
        Choice::Only(Plan::Functions | Plan::Fprobes | Plan::Tracepoints) => &[Rung::Probe],
        Choice::Only(Plan::Perf) => &[Rung::Perf],
        Choice::Only(Plan::Poll) => &[Rung::Poll],
    };
    let rung = *order.iter().find(|&&rung| refused.iter().all(|refused| refused.rung != rung))?;
    let whys: Vec<String> =
        refused.iter().map(|Refused { rung, why }| format!("no {}: {why}", rung.means())).collect();
    let reason = if whys.is_empty() { "asked for".to_owned() } else { whys.join("; ") };
    Some((rung, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rung: Rung, why: &str) -> Refused {
        Refused { rung, why: why.to_owned() }
    }

    #[test]
    fn each_rung_that_is_left_out_says_why() {
        let (probe, perf) = (refused(Rung::Probe, "no capability"), refused(Rung::Perf, "EACCES"));
        assert_eq!(next(Choice::Auto, &[]).map(|(rung, _)| rung), Some(Rung::Probe));
        assert_eq!(
            next(Choice::Auto, std::slice::from_ref(&probe)),
            Some((Rung::Perf, "no BPF: no capability".to_owned()))
        );
        assert_eq!(
            next(Choice::Auto, &[probe.clone(), perf.clone()]),
            Some((Rung::Poll, "no BPF: no capability; no perf: EACCES".to_owned()))
        );
        assert_eq!(next(Choice::Auto, &[probe, perf, refused(Rung::Poll, "no /proc")]), None);
    }

    #[test]
    fn nothing_beyond_a_list_is_tried() {
        let among = Choice::Among([Plan::Perf, Plan::Tracepoints].into_iter().collect());
        assert_eq!(among.in_probe(), [Plan::Tracepoints]);
        assert_eq!(next(among, &[]), Some((Rung::Probe, "asked for".to_owned())));
        let probe = refused(Rung::Probe, "no capability");
        let perf = next(among, std::slice::from_ref(&probe));
        assert_eq!(perf, Some((Rung::Perf, "no BPF: no capability".to_owned())));
        assert_eq!(next(among, &[probe, refused(Rung::Perf, "EACCES")]), None);
        let both = Choice::Among([Plan::Tracepoints, Plan::Functions].into_iter().collect());
        assert_eq!(both.in_probe(), [Plan::Functions, Plan::Tracepoints]);
        assert_eq!(next(both, &[refused(Rung::Probe, "no")]), None);
    }

    #[test]
    fn what_is_asked_for_is_tried_and_nothing_else() {
        for (plan, rung) in [
            (Plan::Functions, Rung::Probe),
            (Plan::Fprobes, Rung::Probe),
            (Plan::Tracepoints, Rung::Probe),
            (Plan::Perf, Rung::Perf),
            (Plan::Poll, Rung::Poll),
        ] {
            assert_eq!(next(Choice::Only(plan), &[]), Some((rung, "asked for".to_owned())));
            assert_eq!(next(Choice::Only(plan), &[refused(rung, "no")]), None);
        }
    }
}
