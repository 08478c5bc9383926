//! Paths: those a process handed over, and those the kernel has.

use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use nsprobe_ebpf::{Event, PATH_LEN, event_flags};

/// Which flags a path of an event has, by its index.
const FLAGS: [(u32, u32); 2] = [
    (event_flags::PATH_CUT, event_flags::PATH_FAULT),
    (event_flags::SECOND_PATH_CUT, event_flags::SECOND_PATH_FAULT),
];

/// Reads path `INDEX` of the event from the caller's memory, where `args[INDEX]` points.
#[inline(always)]
pub fn read_user<const INDEX: usize>(event: &mut Event) {
    let (cut, fault) = FLAGS[INDEX];
    let address = event.args[INDEX];
    let path = &mut event.paths[INDEX];
    // SAFETY: the destination is as long as told. The helper checks the source.
    let length =
        unsafe { bpf_probe_read_user_str(path.as_mut_ptr().cast(), PATH_LEN as u32, address as *const _) };
    if length < 0 {
        event.flags |= fault;
    } else {
        event.flags &= !fault;
        // A path that fills the buffer to the last byte looks the same as one that was cut there.
        if length == PATH_LEN as i64 && user_byte(address + PATH_LEN as u64 - 1) != 0 {
            event.flags |= cut;
        }
    }
}

/// Reads path `INDEX` again when it could not be read at entry: the call itself has paged it in by now.
#[inline(always)]
pub fn read_user_again<const INDEX: usize>(event: &mut Event) {
    if event.flags & FLAGS[INDEX].1 != 0 {
        read_user::<INDEX>(event);
    }
}

/// The byte at `address` in the caller's memory; 0 when it cannot be read.
#[inline(always)]
fn user_byte(address: u64) -> u8 {
    let mut byte = 0;
    // SAFETY: the destination is one byte long. The helper checks the source.
    unsafe { bpf_probe_read_user((&raw mut byte).cast(), 1, address as *const _) };
    byte
}
