//! Choice of a trace's source: the first that works on this machine.

use super::TraceError;
use super::conditions::Wanted;
use super::ladder::{self, Refused, Rung};
use super::options::Options;
use super::plan::Choice;
use super::source::Source;
use super::source::perf::PerfSource;
use super::source::poll::PollSource;
use super::source::probe::ProbeSource;

/// Opens the first source that works on this machine, among those that the `options` admit.
pub fn open(options: &Options) -> Result<Box<dyn Source>, TraceError> {
    let mut refused = Vec::new();
    let mut last = None;
    while let Some((rung, reason)) = ladder::next(options.hooks, &refused) {
        let opened: Result<Box<dyn Source>, TraceError> = match rung {
            Rung::Probe => ProbeSource::open(options).map(|source| Box::new(source) as _),
            Rung::Perf | Rung::Poll if let Some(needs) = needs_probe(options) => {
                let forced = "leave out --hooks";
                let why = refused.first().map_or(forced, |refused: &Refused| refused.why.as_str());
                Err(TraceError::Refused(format!("{needs} by the probe only: {why}")))
            }
            Rung::Perf => PerfSource::open(options, reason).map(|source| Box::new(source) as _),
            Rung::Poll => PollSource::open(options, reason).map(|source| Box::new(source) as _),
        };
        match opened {
            Err(error) if error.is_refusal() => {
                refused.push(Refused { rung, why: error.to_string() });
                last = Some(error);
            }
            opened => return opened,
        }
    }
    if refused.len() > 1 && options.hooks != Choice::Auto {
        let whys: Vec<&str> = refused.iter().map(|refused| refused.why.as_str()).collect();
        return Err(TraceError::Refused(whys.join("; ")));
    }
    Err(last.unwrap_or_else(|| TraceError::Refused("no plan was tried".to_owned())))
}

/// Describes an option that only the probe supports, if one is used.
fn needs_probe(options: &Options) -> Option<&'static str> {
    let conditions = &options.conditions;
    if options.denied {
        Some("--denied: calls that seccomp stops are seen")
    } else if conditions.follow {
        Some("--follow is decided")
    } else if !conditions.cgroups.is_empty() {
        Some("--cgroup is decided")
    } else {
        (conditions.outcome == Some(Wanted::Failed)).then_some("--failed: calls that fail are seen")
    }
}
