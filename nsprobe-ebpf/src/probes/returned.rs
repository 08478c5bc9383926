//! The return of any call but a clone, where functions are refused.
//!
//! A tracepoint's program belongs to no tracepoint until it is attached: this one is loaded once for all of them,
//! because it is what the verifier takes longest for.

use crate::{call, hook};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

#[tracepoint]
pub fn exit_call(context: TracePointContext) -> u32 {
    call::complete(hook::result(&context));
    0
}
