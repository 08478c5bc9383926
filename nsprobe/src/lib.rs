//! nsprobe: lists the Linux namespaces, their members and holders, and traces the calls that change namespaces.

pub mod cli;
pub mod diff;
pub mod discover;
pub mod doctor;
pub mod document;
pub mod filter;
pub mod kernel;
pub mod model;
pub mod render;
pub mod trace;
