//! The lines of `nsprobe doctor`: what this machine and these privileges allow.

/// One prerequisite of nsprobe, with its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The subject, in a word or two: `btf`, `capabilities`.
    pub subject: &'static str,
    /// The consequence for nsprobe.
    pub verdict: Verdict,
    /// The finding, and why it matters.
    pub finding: String,
    /// The remedy; `None` when all is well or nothing can be done.
    pub remedy: Option<String>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything that depends on it works.
    Good,
    /// nsprobe works around it, or shows less.
    Limited,
    /// Some feature of nsprobe does not work.
    Missing,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 3] = [Self::Good, Self::Limited, Self::Missing];

    /// The verdict's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}
