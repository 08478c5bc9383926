//! The capabilities of this kernel, these privileges and this environment: the facts in one file, the findings in
//! another. Collecting changes nothing: programs and mounts made for it are gone when [`Facts::gather`] returns.

mod facts;
mod judge;

pub use facts::{Bpf, Facts};
pub use judge::judge;
