//! Common parts of the help texts: `-h` fits a screen, `--help` has examples and details.
//!
//! Paragraphs are single lines, because clap wraps them to the terminal. Examples are at most 78 columns wide, and
//! are not wrapped.

use super::filters;
use crate::filter::Field;

/// The last lines of `-h`.
pub(super) const MORE: &str = "--help adds examples, what each option means, and the fields of --filter.";

/// The end of `--help`: paragraphs, then the syntax of filters and their fields.
pub(super) fn long(text: &str, fields: &[Field]) -> String {
    format!("{text}\n\n{}", filters::fields(fields))
}
