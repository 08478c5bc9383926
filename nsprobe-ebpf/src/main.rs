//! The BPF programs.
//!
//! Each file in `probes` traces one thing, with up to two sets of hooks: kernel functions (fentry, fexit), which cost
//! nothing elsewhere, and if the kernel refuses those, the tracepoints at system call entry and exit. Both begin an
//! event at entry and complete it at return ([`call`]); they differ only in where the arguments are. 32-bit calls
//! (`__ia32_sys_…`) use other registers and set [`event_flags::COMPAT`], and are otherwise the same.
//!
//! [`event_flags::COMPAT`]: nsprobe_ebpf::event_flags::COMPAT
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    reason = "the verifier knows what a caller has checked only in code that is part of the caller"
)]
#![expect(clippy::needless_pass_by_value, reason = "the macros of aya-ebpf pass contexts by value")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "sizes and helpers' results in the helpers' types; a checked conversion is a branch for the verifier"
)]

mod admission;
mod call;
mod cgroup;
mod directories;
mod event;
mod hook;
mod maps;
mod path;
mod pending;
mod probes;
mod program;
mod quota;
mod send;
mod state;
mod syscall;
mod target;
mod task;
mod wanted;
mod watched;

/// The license that the kernel requires before a program may use helpers reserved to the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier accepts no program that reaches it, but the language requires it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
