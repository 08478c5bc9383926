//! The option `--filter`, shared by the commands that have it.

use super::output;
use crate::filter::{Error, Field, Fields, Filter};
use anyhow::Context as _;

/// A filter, and the number of rows on which it could not be evaluated.
pub(super) struct Counting {
    filter: Filter,
    unevaluated: u64,
    first: Option<Error>,
}

impl Counting {
    pub(super) const fn new(filter: Filter) -> Self {
        Self { filter, unevaluated: 0, first: None }
    }

    /// True if the expression is true for a row. A row on which it cannot be evaluated is counted, and not shown.
    pub(super) fn admits(&mut self, row: &dyn Fields) -> bool {
        self.filter.matches(row).unwrap_or_else(|error| {
            self.unevaluated += 1;
            self.first.get_or_insert(error);
            false
        })
    }

    /// The number of rows on which it could not be evaluated.
    pub(super) const fn unevaluated(&self) -> u64 {
        self.unevaluated
    }

    /// Reports on stderr that it could not be evaluated on some `rows`, with the reason for the first; true if there
    /// were any.
    pub(super) fn report(&self, rows: &str) -> bool {
        if let Some(first) = &self.first {
            let count = self.unevaluated;
            output::complain(&format_args!(
                "--filter: {count} {rows} not shown: cannot be evaluated ({first})"
            ));
        }
        self.first.is_some()
    }

    /// Reports the same while the command goes on, once.
    pub(super) fn report_first(&self) {
        if let (Some(first), 1) = (&self.first, self.unevaluated) {
            output::complain(&format_args!(
                "--filter: cannot be evaluated on an event, which is not shown ({first}); the stream's end counts all such"
            ));
        }
    }
}

/// Compiles the filter that was given, before anything is read.
pub(super) fn compile(text: Option<&str>, fields: &'static [Field]) -> anyhow::Result<Option<Filter>> {
    text.map(|text| Filter::compile(text, fields)).transpose().context("--filter")
}

/// The help for filters: their syntax and fields.
pub(super) fn fields(fields: &[Field]) -> String {
    format!(
        "A filter is an expression in CEL, the Common Expression Language: ==, !=, <, <=, >, >=, &&, ||, !, `in`; \
         text.matches('regex'), .contains('…'), .startsWith('…'), .endsWith('…'); list.exists(x, …), .all(x, …); \
         size(…). A field that is not known equals null; any other test of it is false, and the negation of that is true.\n\
         Its fields: {}",
        names(fields),
    )
}

/// The names of the fields.
pub(super) fn names(fields: &[Field]) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    names.join(", ")
}
