//! One file per traced thing.

mod chroot;
mod clone;
mod compat;
mod connections;
pub mod denied;
mod exit;
mod files;
mod fprobes;
mod freed;
mod held;
mod namespaces;
mod pivot_root;
mod present;
mod returned;
mod setns;
mod superblocks;
mod tasks;
mod unshare;
