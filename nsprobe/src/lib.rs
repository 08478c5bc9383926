//! nsprobe: which Linux namespaces exist, who is in them, what keeps them alive, and who crosses them.

pub mod cli;
pub mod diff;
pub mod discover;
pub mod doctor;
pub mod filter;
pub mod kernel;
pub mod model;
pub mod render;
pub mod trace;
