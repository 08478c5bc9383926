//! The compiled programs.

/// The object with all programs.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/nsprobe.bpf.o");
