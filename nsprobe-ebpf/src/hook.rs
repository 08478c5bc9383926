//! Where each kind of hook finds arguments and results.

use crate::task;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::{FExitContext, TracePointContext};
use nsprobe_ebpf::Field;

/// The number of the system call that a tracepoint tells of, from byte 8 on. Of a call without arguments
/// (`sys_enter_fork`) nothing follows its four bytes.
#[inline(always)]
pub fn number(context: &TracePointContext) -> u64 {
    // SAFETY: the verifier checks that this is within the context. Volatile, so that no more is read than this.
    u64::from(unsafe { context.as_ptr().cast::<u32>().add(2).read_volatile() })
}

/// Argument `index` of the system call that a `syscalls:sys_enter_*` or `raw_syscalls:sys_enter` tracepoint tells
/// of: an array of `u64` from byte 16 on, after the common fields and the call's number.
#[inline(always)]
pub fn argument(context: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the verifier checks that this is within the context.
    unsafe { context.as_ptr().cast::<u64>().add(2 + index).read() }
}

/// What the system call returned that a tracepoint tells of the same way, from byte 16 on.
#[inline(always)]
pub fn result(context: &TracePointContext) -> i64 {
    // SAFETY: the verifier checks that this is within the context.
    unsafe { context.as_ptr().cast::<i64>().add(2).read() }
}

/// The first two arguments of a system call whose function takes `const struct pt_regs *`, as
/// `__x64_sys_*` do since 4.17.
#[inline(always)]
pub fn registers(registers: u64) -> [u64; 2] {
    [task::read(registers, Field::PtRegsFirst), task::read(registers, Field::PtRegsSecond)]
}

/// The first two arguments of a 32-bit system call, from its `struct pt_regs`: `__ia32_sys_*` take one as
/// `__x64_sys_*` do. They are 32 bits wide, whatever else the registers hold.
#[inline(always)]
pub fn registers32(registers: u64) -> [u64; 2] {
    let [first, second]: [u64; 2] =
        [task::read(registers, Field::PtRegsFirst32), task::read(registers, Field::PtRegsSecond32)];
    [first & 0xffff_ffff, second & 0xffff_ffff]
}

/// What a function of one argument that returns `long` returned. The value follows the arguments; the helper
/// that gives it by name came with 5.17 only.
#[inline(always)]
pub fn returned(context: &FExitContext) -> i64 {
    context.arg(1)
}

/// What a function of one argument that returns `int` returned; the upper half of the register is no part of it.
#[inline(always)]
pub fn returned_int(context: &FExitContext) -> i64 {
    i64::from(context.arg::<i32>(1))
}
