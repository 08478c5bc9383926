//! The option `--filter`, shared by the commands that have it.

use crate::filter::{Field, Filter};
use anyhow::Context as _;

/// The filter asked for, before anything is read.
pub(super) fn compile(text: Option<&str>, fields: &'static [Field]) -> anyhow::Result<Option<Filter>> {
    text.map(|text| Filter::compile(text, fields)).transpose().context("--filter")
}

/// For the help: how a filter is written, and the fields there are.
pub(super) fn fields(fields: &[Field]) -> String {
    format!(
        "A filter is an expression in CEL, the Common Expression Language: ==, !=, <, <=, >, >=, &&, ||, !, `in`; \
         text.matches('regex'), .contains('…'), .startsWith('…'), .endsWith('…'); list.exists(x, …), .all(x, …); \
         size(…). What is not known equals null.\nIts fields: {}",
        names(fields)
    )
}

/// The fields by name.
pub(super) fn names(fields: &[Field]) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    names.join(", ")
}
