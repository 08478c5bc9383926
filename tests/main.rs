//! Tests against a real kernel.
