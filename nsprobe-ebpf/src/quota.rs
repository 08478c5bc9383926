//! How much of a table each user and each control group holds.
//!
//! As with the ring buffer ([`crate::admission`]): once the table is more than half full, what a user or a control group may
//! hold is a multiple of what is still free, the same as of the buffer. So it is never full for those who hold little.

use crate::admission::{self, tenant};
use crate::maps::add;
use aya_ebpf::maps::Array;
use nsprobe_ebpf::share::{ROWS, SLOTS, index};

/// Where all entries are counted.
const ALL: u32 = (ROWS * SLOTS) as u32;

/// How many numbers [`Quota::held`] has.
pub const NUMBERS: u32 = ALL + 1;

/// Who holds how much of a table.
#[derive(Clone, Copy)]
pub struct Quota {
    /// Entries by the slots of who is charged, and at the end all of them.
    pub held: &'static Array<u64>,
    /// Entries that the table has room for.
    pub room: u64,
}

impl Quota {
    #[inline(always)]
    fn number(self, index: u32) -> u64 {
        // SAFETY: the entry lives as long as the map; volatile, because others change it meanwhile.
        self.held.get_ptr(index).map_or(0, |value| unsafe { value.read_volatile() })
    }

    #[inline(always)]
    fn change(self, index: u32, by: u64) {
        if let Some(value) = self.held.get_ptr_mut(index) {
            // SAFETY: aligned, in a map that lives as long as this runs.
            unsafe { add(value, by) };
        }
    }

    /// Returns how many are charged in these slots of rows `row` and the next: the lesser of the two.
    #[inline(always)]
    fn holds(self, row: usize, slots: [u16; 2]) -> u64 {
        match (index(row, slots[0]), index(row + 1, slots[1])) {
            (Some(one), Some(other)) => self.number(one as u32).min(self.number(other as u32)),
            _ => 0,
        }
    }

    #[inline(always)]
    fn charge(self, shares: [u16; ROWS], by: u64) {
        for (row, slot) in shares.into_iter().enumerate() {
            if let Some(index) = index(row, slot) {
                self.change(index as u32, by);
            }
        }
        self.change(ALL, by);
    }

    /// Charges one entry to the running task's user and control group, in slots that come to `shares`, unless they hold too
    /// much. What was charged is to be given back when the entry is removed, or could not be made.
    #[inline(always)]
    pub fn admit(self, shares: &mut [u16; ROWS]) -> bool {
        let held = self.number(ALL);
        let free = self.room.saturating_sub(held);
        *shares = [0; ROWS];
        if held > free {
            let slots = admission::shares(&tenant());
            if self.holds(0, [slots[0], slots[1]]) >= free * admission::USER
                || self.holds(2, [slots[2], slots[3]]) >= free * admission::CGROUP
            {
                return false;
            }
            *shares = slots;
        }
        self.charge(*shares, 1);
        true
    }

    /// Takes back the charge for one entry.
    #[inline(always)]
    pub fn give_back(self, shares: [u16; ROWS]) {
        self.charge(shares, 1_u64.wrapping_neg());
    }
}
