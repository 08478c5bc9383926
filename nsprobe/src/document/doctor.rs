//! The document of `nsprobe doctor --json`.

use super::schemas::{self, Document, Schema, SchemaName};
use super::word::Word;
use crate::model::{self, Verdict};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Findings about what this kernel, these privileges and this environment allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "nsprobe doctor --json"))]
pub struct Doctor<'a> {
    /// Name and version of the schema that this output follows.
    pub schema: SchemaName<'a>,
    /// Checks, one for each prerequisite of nsprobe.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub checks: Vec<Check<'a>>,
}

impl Document for Doctor<'_> {
    const SCHEMA: Schema = schemas::DOCTOR;
}

impl<'a> From<&'a [model::Check]> for Doctor<'a> {
    fn from(checks: &'a [model::Check]) -> Self {
        Self { schema: schemas::DOCTOR.into(), checks: checks.iter().map(Into::into).collect() }
    }
}

/// A prerequisite of nsprobe, with its state on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check<'a> {
    /// Subject of the check, in a word or two.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub subject: Cow<'a, str>,
    /// Consequence for nsprobe. good: everything that depends on the prerequisite works. limited: nsprobe works
    /// around a limitation, or shows less. missing: some feature of nsprobe does not work.
    pub verdict: Word<Verdict>,
    /// Finding, and why it matters.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub finding: Cow<'a, str>,
    /// Remedy for the finding. Null if all is well, if nothing can be done, or if an earlier check has the same
    /// remedy.
    pub remedy: Option<Cow<'a, str>>,
}

impl<'a> From<&'a model::Check> for Check<'a> {
    fn from(check: &'a model::Check) -> Self {
        Self {
            subject: check.subject.into(),
            verdict: Word(check.verdict),
            finding: (&check.finding).into(),
            remedy: check.remedy.as_ref().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_read_as_it_was_written() {
        let checks = [Verdict::Good, Verdict::Missing].map(|verdict| model::Check {
            subject: "btf",
            verdict,
            finding: "\"found\"\n".to_owned(),
            remedy: (verdict != Verdict::Good).then(|| "a newer kernel".to_owned()),
        });
        let document = Doctor::from(checks.as_slice());
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Doctor>(&json).unwrap(), document);
    }
}
