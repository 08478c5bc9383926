//! What this machine and these privileges allow: the lines of `nsprobe doctor`.

/// One thing that nsprobe relies on, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a word or two: `btf`, `capabilities`.
    pub subject: &'static str,
    /// What it means for nsprobe.
    pub verdict: Verdict,
    /// What was found, and why it matters.
    pub finding: String,
    /// What to do about it; `None` when all is well or nothing can be done.
    pub remedy: Option<String>,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything that depends on it works.
    Good,
    /// nsprobe works around it, or shows less.
    Limited,
    /// Something that nsprobe offers does not work.
    Missing,
}

impl Verdict {
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
