//! Tests against a real kernel.

mod fixture;
mod list;
mod support;
mod tree;
