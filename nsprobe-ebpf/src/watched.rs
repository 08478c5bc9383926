//! The namespaces whose end is reported, and the part of the table that each user and each control group holds.
//!
//! As with the ring buffer ([`crate::admission`]): once the table is more than half full, a user or a control group may
//! hold a multiple of what is still free. So it is never full for those who hold little.

use crate::admission::{self, tenant};
use crate::maps::{NO_EXIST, add, count};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use nsprobe_ebpf::share::{ROWS, SLOTS, index};
use nsprobe_ebpf::{Counter, Watched};

/// With [`nsprobe_ebpf::config::LIVES`], those that a call was seen to create or join, by inode. Userspace sets the
/// size.
#[map]
static NAMESPACES: HashMap<u32, Watched> = HashMap::with_max_entries(1, 0);

/// Those that userspace has found, likewise. Namespaces created by calls take none of their room.
#[map]
static FOUND: HashMap<u32, Watched> = HashMap::with_max_entries(1, 0);

/// The number of entries in [`NAMESPACES`]: charged ones by slot, and finally the total.
#[map]
static WATCHED: Array<u64> = Array::with_max_entries((ROWS * SLOTS) as u32 + 1, 0);

/// The index of the total.
const ALL: u32 = (ROWS * SLOTS) as u32;

/// The most a user may hold, in multiples of what is free: three quarters of the table, if alone.
const USER: u64 = 3;

/// The same for a control group, whatever its members.
const CGROUP: u64 = 15;

#[inline(always)]
fn number(place: u32) -> u64 {
    // SAFETY: the entry lives as long as the map; volatile, because others change it meanwhile.
    WATCHED.get_ptr(place).map_or(0, |value| unsafe { value.read_volatile() })
}

#[inline(always)]
fn change(place: u32, by: u64) {
    if let Some(value) = WATCHED.get_ptr_mut(place) {
        // SAFETY: aligned, in a map that lives as long as this runs.
        unsafe { add(value, by) };
    }
}

/// Returns the number charged in these slots of rows `row` and the next: the smaller of the two.
#[inline(always)]
fn holds(row: usize, slots: [u16; 2]) -> u64 {
    match (index(row, slots[0]), index(row + 1, slots[1])) {
        (Some(one), Some(other)) => number(one as u32).min(number(other as u32)),
        _ => 0,
    }
}

#[inline(always)]
fn charge(shares: [u16; ROWS], by: u64) {
    for (row, slot) in shares.into_iter().enumerate() {
        if let Some(index) = index(row, slot) {
            change(index as u32, by);
        }
    }
}

/// Returns true if there is room for one more; its charge is stored in `shares`.
#[inline(never)]
fn admit(shares: &mut [u16; ROWS]) -> bool {
    let (held, room) = (number(ALL), admission::watches());
    let free = room.saturating_sub(held);
    if held <= free {
        return true;
    }
    let slots = admission::shares(&tenant());
    let is_admitted =
        holds(0, [slots[0], slots[1]]) < free * USER && holds(2, [slots[2], slots[3]]) < free * CGROUP;
    if is_admitted {
        *shares = slots;
        charge(slots, 1);
    }
    is_admitted
}

/// Reports the end of the namespace with this inode from now on. A created one replaces a former one with the same
/// inode.
#[inline(always)]
pub fn watch(ino: u32, watched: &Watched) {
    if watched.made_ns != 0 {
        // In case the end of those was missed.
        unwatch(ino);
    } else if FOUND.get_ptr(ino).is_some() || NAMESPACES.get_ptr(ino).is_some() {
        return;
    }
    let mut watched = *watched;
    if !admit(&mut watched.shares) {
        return count(Counter::NamespacesFull);
    }
    match NAMESPACES.insert(ino, watched, NO_EXIST) {
        Ok(()) => change(ALL, 1),
        Err(error) => {
            charge(watched.shares, 1_u64.wrapping_neg());
            if error != EXISTS {
                count(Counter::NamespacesFull);
            }
        }
    }
}

/// `EEXIST`: another task has just joined it.
const EXISTS: i32 = -17;

/// Stops reporting its end; returns its id (0 for none) if its end was to be reported.
#[inline(always)]
pub fn unwatch(ino: u32) -> Option<u64> {
    // SAFETY: nothing else removes the entry while it exists: an inode number is released once.
    let of_call = NAMESPACES.get_ptr(ino).map(|watched| unsafe { *watched });
    if let Some(watched) = of_call
        && NAMESPACES.remove(ino).is_ok()
    {
        change(ALL, 1_u64.wrapping_neg());
        charge(watched.shares, 1_u64.wrapping_neg());
        let _ = FOUND.remove(ino);
        return Some(watched.id);
    }
    // SAFETY: as above.
    let id = FOUND.get_ptr(ino).map(|watched| unsafe { (*watched).id })?;
    FOUND.remove(ino).is_ok().then_some(id)
}
