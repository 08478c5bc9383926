//! The JSON documents: one definition of each, which rendering writes, `diff` reads, and `schema/` is generated from.
//!
//! A doc comment here is the description of its field in the schema. With the feature `schema`, `cargo xtask schema`
//! writes the schemas.

pub mod diff;
pub mod doctor;
#[cfg(feature = "schema")]
pub mod generate;
pub mod holder;
pub mod list;
pub mod namespace;
pub mod process;
pub mod reference;
pub mod schemas;
pub mod trace;
pub mod tree;
pub mod values;
pub mod word;
