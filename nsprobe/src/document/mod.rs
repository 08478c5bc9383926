//! The JSON documents: one definition of each, which rendering writes, `diff` reads, and `schema/` is generated from.
//!
//! A doc comment here is the description of its field in the schema. With the feature `schema`, `cargo xtask schema`
//! writes the schemas.

pub mod doctor;
#[cfg(feature = "schema")]
pub mod generate;
pub mod schemas;
mod word;

pub use word::{Word, Words};
