//! Snapshots and events → text; one file per format. Imports [`crate::model`] and
//! [`crate::document`], and nothing else of this crate.

mod bytes;
pub mod checks;
pub mod diff;
pub mod event;
pub mod event_json;
mod grid;
pub mod holders;
#[cfg(test)]
mod hostile;
pub mod json;
pub mod losses;
pub mod style;
pub mod table;
pub mod tree;
pub mod wrap;
