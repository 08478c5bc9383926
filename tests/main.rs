//! Tests against a real kernel.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where, by panicking")]

mod btf;
mod diff;
mod docs;
mod doctor;
mod filter;
mod fixture;
mod given;
mod holders;
mod list;
mod schema;
mod sources;
mod sources_bpf;
mod sources_lists;
mod sources_mounts;
mod sources_threads;
mod support;
mod trace;
mod trace_calls;
mod trace_compat;
mod trace_cost;
mod trace_denied;
mod trace_ends;
mod trace_engines;
mod trace_errnos;
mod trace_filters;
mod trace_fuzz;
mod trace_lives;
mod trace_losses;
mod trace_poll;
mod trace_roots;
mod trace_rungs;
mod trace_targets;
mod trace_who;
mod tree;
