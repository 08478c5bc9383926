//! What this kernel, these privileges and this environment allow: facts in one file, what they mean in
//! another. Looking changes nothing: what is loaded or mounted to find out is gone when [`Facts::gather`]
//! returns.

mod facts;
mod judge;

pub use facts::{Bpf, Facts};
pub use judge::judge;
