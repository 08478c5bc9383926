//! Sends the records for userspace into the ring buffer.

use crate::admission;
use crate::maps::count;
use crate::pending::Pending;
use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use nsprobe_ebpf::share::ROWS;
use nsprobe_ebpf::{Counter, Event, Freed, TEXT_LEN};

/// Records for userspace. Userspace sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Returns the size of the record of a pending event.
#[inline(always)]
fn size_of_record(pending: &Pending) -> usize {
    // SAFETY: a valid reference; volatile, because what was read before has no limits any more after a call (6.12).
    let length = unsafe { (&raw const pending.event.text_len).read_volatile() };
    // Its length is in the record, whose content is unknown to the verifier, so the limits are applied here.
    size_of::<Event>() + (length as usize & (TEXT_LEN - 1)).next_multiple_of(8)
}

/// Sends a pending event with its text.
#[inline(always)]
pub fn event(pending: &mut Pending) {
    let size = size_of_record(pending);
    pending.event.header.size = size as u32;
    pending.event.shares = [0; ROWS];
    if let Some(free) = admission::crowded(&EVENTS)
        && !admission::admit(&mut pending.event, size as u64, free)
    {
        return;
    }
    let size = size_of_record(pending);
    // SAFETY: the event and its text lie one behind the other, and the text is no longer than its room.
    let record = unsafe { core::slice::from_raw_parts((&raw const *pending).cast::<u8>(), size) };
    if EVENTS.output::<[u8]>(record, 0).is_err() {
        admission::refused(&pending.event, size_of_record(pending) as u64);
    }
}

/// Sends the end of a namespace.
#[inline(always)]
pub fn freed(freed: &Freed) {
    if EVENTS.output::<Freed>(freed, 0).is_err() {
        count(Counter::RingFull);
    }
}
