//! The return of any call but a clone, if fentry is refused.
//!
//! A tracepoint's program belongs to no tracepoint until it is attached: this one is loaded once for all of them,
//! because it takes the verifier the longest.

use crate::call::how;
use crate::syscall::number;
use crate::{call, hook};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use nsprobe_ebpf::cause;

#[tracepoint]
pub fn exit_call(context: TracePointContext) -> u32 {
    let cause = match hook::number(&context) as u32 {
        number::UNSHARE => cause::UNSHARE,
        number::SETNS => cause::SETNS,
        number::CHROOT => cause::CHROOT,
        number::PIVOT_ROOT => cause::PIVOT_ROOT,
        _ => return 0,
    };
    call::complete(cause.into(), hook::result(&context), 0, 0, how::TRACEPOINT);
    0
}
