//! Admission of events to the ring buffer: each user and each control group has a share of it once it is more than half
//! full.
//!
//! A share is a multiple of the free space. So it shrinks as the buffer fills, never takes all of it, and needs no
//! count of the competitors: a lone user may hold most of the buffer, and one that holds little always finds room.

use crate::cgroup;
use crate::maps::{self, offset};
use crate::task::{self, read};
use aya_ebpf::bindings::BPF_RB_AVAIL_DATA;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use nsprobe_ebpf::share::{Held, Loser, ROWS, SLOTS, Settings, index};
use nsprobe_ebpf::{ABSENT, Counter, Event, Field, SLOTS as NAMESPACES, cause, event_flags};

/// The kernel's header of each record in the buffer.
const HEADER: u64 = 8;

/// Mapped into userspace's memory.
const MAPPED: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;

/// The bytes of the ring buffer that each user and each control group holds.
#[map]
static SHARES: Array<Held> = Array::with_max_entries((ROWS * SLOTS) as u32, MAPPED);

/// The number of lost events by owner. Those that find no room here are still in the total.
#[map]
static LOSERS: HashMap<Loser, u64> = HashMap::with_max_entries(nsprobe_ebpf::share::LOSERS as u32, 0);

#[unsafe(no_mangle)]
static SHARE: Settings = Settings { ring: 0, seeds: [0; 2], watches: 0, calls: 0 };

/// The most a user may hold for a call that fails or changes nothing, in multiples of the free space: three quarters of
/// the buffer, if alone.
pub const USER: u64 = 3;

/// The same for a call that changes something: seven eighths. The room left by a storm of failures is for these.
const USER_DOES: u64 = 7;

/// The same for a control group, whatever its members: twice as much, so that one user does not take the shares of
/// others in the same group.
pub const CGROUP: u64 = 15;

/// Returns the free bytes, if less than half of the buffer.
#[inline(always)]
pub fn crowded(events: &RingBuf) -> Option<u64> {
    // SAFETY: a valid static; volatile, because the value in this object is not the one that the program will find.
    let ring = unsafe { (&raw const SHARE.ring).read_volatile() };
    let held = events.query(u64::from(BPF_RB_AVAIL_DATA));
    let free = ring.saturating_sub(held);
    (held > free).then_some(free)
}

/// The user and the control group that an event of the running task is charged to.
pub struct Tenant {
    /// The keys of their slots; 0: none.
    keys: [u64; 2],
    uid: u32,
    cgroup: u64,
}

/// The deepest nesting of user namespaces.
const USER_DEPTH: usize = 33;

/// Returns the user: a key, and the id to name it by.
///
/// The owner of a user namespace has all the ids in it, so these are one user. A namespace that root created belongs to
/// a container with its own ids: also one user, but not root. Root itself is a separate user in each control group,
/// because there are containers without a user namespace.
#[inline(always)]
fn user(task: u64, cgroup: u64) -> (u64, u32) {
    /// Bits that keep the three sorts apart.
    const NAMESPACE: u64 = 1 << 32;
    const ROOT: u64 = 1 << 63;
    let cred: u64 = read(task, Field::TaskCred);
    let uid: u32 = read(cred, Field::CredUid);
    let mut namespace: u64 = read(cred, Field::CredUserNs);
    let mut level: u32 = read(namespace, Field::UserNsLevel);
    if level != 0 {
        for _ in 0..USER_DEPTH {
            if level <= 1 {
                break;
            }
            namespace = read(namespace, Field::UserNsParent);
            level -= 1;
        }
        let owner: u32 = read(namespace, Field::UserNsOwner);
        if owner != 0 {
            return (u64::from(owner), owner);
        }
        let ino: u32 = read(task::embedded(namespace, Field::UserNsCommon), Field::NsCommonInum);
        return (NAMESPACE | u64::from(ino), uid);
    }
    let key = if uid == 0 { ROOT | cgroup } else { u64::from(uid) };
    (key, uid)
}

/// The most nested control groups not owned by root. Deeper ones count as one.
const CGROUP_DEPTH: usize = 32;

/// Returns the control group that is charged, by its node; 0: none, because all tasks are in the root of the hierarchy,
/// or it is too deep. Groups that a user has created within a delegated group belong to that group.
#[inline(always)]
fn cgroup(task: u64) -> (u64, u64) {
    const TOO_DEEP: u64 = u64::MAX;
    let mut node = cgroup::node(task);
    let mut parent = cgroup::parent(node);
    if parent == 0 {
        return (0, read(node, Field::KernfsId));
    }
    // Usually root's: then this ends at once.
    let mut mine = owner(node) != 0;
    for _ in 0..CGROUP_DEPTH {
        if !mine {
            let id: u64 = read(node, Field::KernfsId);
            return (id, id);
        }
        let above = cgroup::parent(parent);
        mine = above != 0 && owner(parent) != 0;
        if mine {
            node = parent;
            parent = above;
        }
    }
    (TOO_DEEP, 0)
}

/// Returns the owner of a control group's directory; without attributes it was never changed.
#[inline(always)]
fn owner(node: u64) -> u32 {
    if offset(Field::KernfsIattr) == ABSENT {
        return 0;
    }
    let attributes: u64 = read(node, Field::KernfsIattr);
    if attributes == 0 { 0 } else { read(attributes, Field::KernfsIattrUid) }
}

#[inline(always)]
pub fn tenant() -> Tenant {
    let task = task::current();
    let (group, cgroup) = cgroup(task);
    let (user, uid) = user(task, group);
    Tenant { keys: [user, group], uid, cgroup }
}

/// Returns the slots of a key by either hash (multiplication by a random odd number; its top bits).
#[inline(always)]
fn slots(key: u64) -> [u16; 2] {
    const SHIFT: u32 = 64 - SLOTS.trailing_zeros();
    if key == 0 {
        return [0; 2];
    }
    // SAFETY: a valid static; volatile as in `crowded`.
    let seeds = unsafe { (&raw const SHARE.seeds).read_volatile() };
    [
        (key.wrapping_mul(seeds[0] | 1) >> SHIFT) as u16 + 1,
        (key.wrapping_mul(seeds[1] | 1) >> SHIFT) as u16 + 1,
    ]
}

/// Returns the slots of a tenant, by row.
#[inline(always)]
pub fn shares(tenant: &Tenant) -> [u16; ROWS] {
    let (users, cgroups) = (slots(tenant.keys[0]), slots(tenant.keys[1]));
    [users[0], users[1], cgroups[0], cgroups[1]]
}

/// Returns the number of namespaces that there is room for.
#[inline(always)]
pub fn watches() -> u64 {
    // SAFETY: a valid static; volatile as in `crowded`.
    unsafe { (&raw const SHARE.watches).read_volatile() }
}

/// Calls that the table of calls under way has room for.
#[inline(always)]
pub fn calls() -> u64 {
    // SAFETY: a valid static; volatile as in `crowded`.
    unsafe { (&raw const SHARE.calls).read_volatile() }
}

#[inline(always)]
fn held(row: usize, slot: u16) -> Option<&'static Held> {
    let index = index(row, slot)?;
    // SAFETY: the entry lives as long as the map, and is changed by atomic additions only.
    SHARES.get_ptr(index as u32).map(|held| unsafe { &*held })
}

/// Returns the bytes in the buffer charged in these slots of rows `row` and the next: the smaller of the two.
#[inline(always)]
fn holds(row: usize, slots: [u16; 2]) -> u64 {
    let mut least = u64::MAX;
    for (at, slot) in slots.into_iter().enumerate() {
        let Some(held) = held(row + at, slot) else { return 0 };
        // SAFETY: references are valid; volatile, because others change the values meanwhile.
        let (taken, sent) =
            unsafe { ((&raw const held.taken).read_volatile(), (&raw const held.sent).read_volatile()) };
        // Taken first: it never exceeds what had been sent by then.
        least = least.min(sent.saturating_sub(taken));
    }
    least
}

/// Adds to the bytes sent.
#[inline(always)]
fn add(shares: [u16; ROWS], bytes: u64) {
    for (row, slot) in shares.into_iter().enumerate() {
        if let Some(held) = held(row, slot) {
            // SAFETY: aligned, in a map that lives as long as this runs.
            unsafe { maps::add((&raw const held.sent).cast_mut(), bytes) };
        }
    }
}

/// Returns true if an event fails or changes nothing.
#[inline(always)]
fn is_idle(event: &Event) -> bool {
    if event.result < 0 {
        return true;
    }
    if !matches!(event.header.cause, cause::SETNS | cause::UNSHARE) {
        return false;
    }
    let mut difference = event.flags & event_flags::MOVED;
    for slot in 0..NAMESPACES {
        difference |= event.before.ino[slot] ^ event.after.ino[slot];
    }
    difference == 0
}

/// Charges an event of the running task, of this many bytes, if its user and its control group hold little enough with
/// this much `free`. Otherwise it is lost, which is counted.
#[inline(never)]
pub fn admit(event: &mut Event, bytes: u64, free: u64) -> bool {
    // Full: there is no room for anybody.
    if bytes + HEADER > free {
        return true;
    }
    let tenant = tenant();
    let slots = shares(&tenant);
    let most = if is_idle(event) { USER } else { USER_DOES };
    let is_admitted = holds(0, [slots[0], slots[1]]) + bytes <= free * most
        && holds(2, [slots[2], slots[3]]) + bytes <= free * CGROUP;
    if is_admitted {
        event.shares = slots;
        add(event.shares, bytes);
    } else {
        lose(Counter::Share, &tenant);
    }
    is_admitted
}

/// Handles an event that found no room: reverses its charge, and counts it.
#[inline(never)]
pub fn refused(event: &Event, bytes: u64) {
    add(event.shares, bytes.wrapping_neg());
    lose(Counter::RingFull, &tenant());
}

/// Counts a loss of this tenant's.
#[inline(always)]
pub fn lose(stage: Counter, tenant: &Tenant) {
    maps::count(stage);
    let loser = Loser { stage: stage as u32, uid: tenant.uid, cgroup: tenant.cgroup };
    for _ in 0..2 {
        if let Some(count) = LOSERS.get_ptr_mut(loser) {
            // SAFETY: aligned; the kernel keeps the memory for the length of this program, though the entry be removed.
            unsafe { maps::add(count, 1) };
            return;
        }
        // Refused, but present on the next attempt: another processor was first. Or there is no room.
        if LOSERS.insert(loser, 1, maps::NO_EXIST).is_ok() {
            return;
        }
    }
}
