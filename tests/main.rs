//! Tests against a real kernel.

mod support;
mod tree;
