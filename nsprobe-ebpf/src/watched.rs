//! The namespaces whose end is reported. Each user and each control group has a share of the table ([`Quota`]).

use crate::admission;
use crate::maps::{NO_EXIST, count};
use crate::quota::{self, Quota};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use nsprobe_ebpf::share::ROWS;
use nsprobe_ebpf::{Counter, Watched};

/// With [`nsprobe_ebpf::config::LIFECYCLE`], those that a call was seen to create or join, by inode. Userspace sets the
/// size.
#[map]
static NAMESPACES: HashMap<u32, Watched> = HashMap::with_max_entries(1, 0);

/// Those that userspace has found, likewise. Namespaces created by calls take none of their room.
#[map]
static FOUND: HashMap<u32, Watched> = HashMap::with_max_entries(1, 0);

/// The number of entries in [`NAMESPACES`].
#[map]
static WATCHED: Array<u64> = Array::with_max_entries(quota::NUMBERS, 0);

#[inline(always)]
fn quota() -> Quota {
    Quota { held: &WATCHED, room: admission::watches() }
}

/// Returns true if there is room for one more; its charge is stored in `shares`.
#[inline(never)]
fn admit(shares: &mut [u16; ROWS]) -> bool {
    quota().admit(shares)
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
    if let Err(error) = NAMESPACES.insert(ino, watched, NO_EXIST) {
        quota().give_back(watched.shares);
        if error != EXISTS {
            count(Counter::NamespacesFull);
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
        quota().give_back(watched.shares);
        let _ = FOUND.remove(ino);
        return Some(watched.id);
    }
    // SAFETY: as above.
    let id = FOUND.get_ptr(ino).map(|watched| unsafe { (*watched).id })?;
    FOUND.remove(ino).is_ok().then_some(id)
}
