//! Choice of a trace's source: the first that works on this machine.

use super::TraceError;
use super::conditions::OutcomeFilter;
use super::fallback::{self, Refused, SourceKind};
use super::options::Options;
use super::plan::Choice;
use super::source::Source;
use super::source::perf::PerfSource;
use super::source::probe::ProbeSource;
use super::source::proc::ProcSource;

/// Opens the first source that works on this machine, among those that the `options` admit.
pub fn open(options: &Options) -> Result<Box<dyn Source>, TraceError> {
    let mut refused = Vec::new();
    let mut last = None;
    while let Some((kind, reason)) = fallback::next(options.source, &refused) {
        let opened: Result<Box<dyn Source>, TraceError> = match kind {
            SourceKind::Probe => ProbeSource::open(options).map(|source| Box::new(source) as _),
            SourceKind::Perf | SourceKind::Proc if let Some(needs) = needs_probe(options) => {
                let forced = "leave out --source";
                let why = refused.first().map_or(forced, |refused: &Refused| refused.why.as_str());
                Err(TraceError::Refused(format!("{needs}: {why}")))
            }
            SourceKind::Perf => PerfSource::open(options, reason).map(|source| Box::new(source) as _),
            SourceKind::Proc => ProcSource::open(options, reason).map(|source| Box::new(source) as _),
        };
        match opened.map_err(TraceError::or_descriptors) {
            Err(error) if error.is_refusal() => {
                refused.push(Refused { kind, why: error.to_string() });
                last = Some(error);
            }
            opened => return opened,
        }
    }
    if refused.len() > 1 && options.source != Choice::Auto {
        let whys: Vec<&str> = refused.iter().map(|refused| refused.why.as_str()).collect();
        return Err(TraceError::Refused(whys.join("; ")));
    }
    Err(last.unwrap_or_else(|| TraceError::Refused("no source was tried".to_owned())))
}

/// Describes an option that only the probe supports, if one is used.
fn needs_probe(options: &Options) -> Option<&'static str> {
    let conditions = &options.conditions;
    if options.denied {
        Some("--denied: only the probe sees calls stopped by seccomp")
    } else if conditions.follow {
        Some("--follow: only the probe follows processes")
    } else if !conditions.cgroups.is_empty() {
        Some("--cgroup: only the probe knows control groups")
    } else {
        (conditions.outcome == Some(OutcomeFilter::Failed))
            .then_some("--failed: only the probe sees calls that fail")
    }
}
