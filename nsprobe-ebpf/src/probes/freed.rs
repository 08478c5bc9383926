//! The end of a namespace: the kernel releases its inode number, last of all.
//!
//! fentry: `void proc_free_inum(unsigned int inum)`, which every kind calls (tried on 5.10 to 7.2). Entries of
//! /proc have numbers from the same source, so only namespaces seen before are reported.

use crate::{event, send, watched};
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use nsprobe_ebpf::{Freed, Header, cause};

#[fentry(function = "proc_free_inum")]
pub fn fentry_free_inum(context: FEntryContext) -> i32 {
    report(context.arg(0));
    0
}

#[inline(always)]
pub fn report(ino: u32) {
    if let Some(id) = watched::unwatch(ino) {
        let header = Header::of::<Freed>(cause::FREED);
        send::freed(&Freed { header, time_ns: event::now(), id, ino, reserved: 0 });
    }
}
