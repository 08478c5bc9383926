//! Reads arguments and results for each kind of hook.

use crate::task;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::{FExitContext, TracePointContext};
use nsprobe_ebpf::Field;

/// Returns the syscall number in a tracepoint, at byte 8. For a call without arguments (`sys_enter_fork`) nothing
/// follows its four bytes.
#[inline(always)]
pub fn number(context: &TracePointContext) -> u64 {
    // SAFETY: the verifier checks that this is within the context. Volatile, so that no more is read than this.
    u64::from(unsafe { context.as_ptr().cast::<u32>().add(2).read_volatile() })
}

/// Returns argument `index` of the system call in a `syscalls:sys_enter_*` or `raw_syscalls:sys_enter` tracepoint: an
/// array of `u64` at byte 16, after the common fields and the syscall number.
#[inline(always)]
pub fn argument(context: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the verifier checks that this is within the context.
    unsafe { context.as_ptr().cast::<u64>().add(2 + index).read() }
}

/// Returns the result of the system call in the exit tracepoint, at byte 16.
#[inline(always)]
pub fn result(context: &TracePointContext) -> i64 {
    // SAFETY: the verifier checks that this is within the context.
    unsafe { context.as_ptr().cast::<i64>().add(2).read() }
}

/// Returns the first two arguments of a system call whose function takes `const struct pt_regs *`, as `__x64_sys_*` do
/// since 4.17.
#[inline(always)]
pub fn registers(registers: u64) -> [u64; 2] {
    [task::read(registers, Field::PtRegsFirst), task::read(registers, Field::PtRegsSecond)]
}

/// Returns the first two arguments of a 32-bit system call, from its `struct pt_regs`: `__ia32_sys_*` take one like
/// `__x64_sys_*` do. They are 32 bits wide, whatever else the registers contain.
#[inline(always)]
pub fn registers32(registers: u64) -> [u64; 2] {
    let [first, second]: [u64; 2] =
        [task::read(registers, Field::PtRegsFirst32), task::read(registers, Field::PtRegsSecond32)];
    [first & 0xffff_ffff, second & 0xffff_ffff]
}

/// Returns the result of a function with one argument that returns `long`. The value follows the arguments; the helper
/// that returns it by name exists only since 5.17.
#[inline(always)]
pub fn returned(context: &FExitContext) -> i64 {
    context.arg(1)
}

/// Returns the result of a function with one argument that returns `int`; the upper half of the register is undefined.
#[inline(always)]
pub fn returned_int(context: &FExitContext) -> i64 {
    i64::from(context.arg::<i32>(1))
}
