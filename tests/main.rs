//! Tests against a real kernel.

mod btf;
mod docs;
mod doctor;
mod fixture;
mod list;
mod support;
mod trace;
mod trace_calls;
mod trace_engines;
mod tree;
