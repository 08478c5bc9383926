//! The built programs.

/// The object, with every program.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/nsprobe.bpf.o");
