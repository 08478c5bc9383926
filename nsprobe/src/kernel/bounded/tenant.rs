//! Owners of processes: ids mapped in one user namespace belong together, because one user may have created them all.

use std::ops::RangeInclusive;

/// The last id for the system's own users; subordinate ids (subuid(5)) are above it.
const LAST_OF_SYSTEM: u32 = 65_535;

/// The size of a range of subordinate ids. A smaller range is part of one whose rest may be mapped elsewhere.
const RANGE: u32 = 1 << 16;

/// A map of more ids than this is not a tenant's.
const MOST_OF_A_MAP: u64 = 1 << 31;

/// Classes of users with separate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Root,
    /// Users in the system's range.
    System,
    /// All others: one user may have many of these ids.
    Outside,
}

/// A user, with all ids of the same tenant, as far as its user namespace shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    uid: u32,
    /// The ids mapped in the same user namespace; none for the reader's own.
    mapped: Vec<RangeInclusive<u32>>,
}

impl Tenant {
    /// A user with nothing else known.
    pub(super) const fn user(uid: u32) -> Self {
        Self { uid, mapped: Vec::new() }
    }

    /// A user in the user namespace with this `uid_map` (user_namespaces(7)).
    pub(super) fn new(uid: u32, map: &[u8]) -> Self {
        let lines = std::str::from_utf8(map).unwrap_or_default().lines();
        let extents = lines.filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().skip(1).map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
        let extents: Vec<(u32, u32)> = extents.collect();
        let holds = |&(first, count): &(u32, u32)| (first..first.saturating_add(count)).contains(&uid);
        let all: u64 = extents.iter().map(|&(_, count)| u64::from(count)).sum();
        // The initial user namespace maps every id. Root is whoever has its id, in any namespace; a map without the
        // user is another reader's view.
        if uid == 0 || all > MOST_OF_A_MAP || !extents.iter().any(holds) {
            return Self::user(uid);
        }
        // Root's own id is mapped only by those whom root permits to.
        let foreign = extents.into_iter().filter(|&(first, count)| first > 0 && count > 0);
        Self { uid, mapped: foreign.map(|(first, count)| range(first, count)).collect() }
    }

    pub(super) const fn class(&self) -> Class {
        match self.uid {
            0 => Class::Root,
            1..=LAST_OF_SYSTEM => Class::System,
            _ => Class::Outside,
        }
    }

    /// Returns true if both may belong to one tenant.
    pub(super) fn is_with(&self, other: &Self) -> bool {
        self.uid == other.uid
            || self.maps(other.uid)
            || other.maps(self.uid)
            || self.mapped.iter().any(|one| other.mapped.iter().any(|two| overlap(one, two)))
    }

    fn maps(&self, uid: u32) -> bool {
        self.mapped.iter().any(|range| range.contains(&uid))
    }
}

/// Returns the ids of an extent. For a part of a range of subordinate ids: the whole range that it may be part of.
const fn range(first: u32, count: u32) -> RangeInclusive<u32> {
    if first > LAST_OF_SYSTEM && count < RANGE {
        let whole = first & !(RANGE - 1);
        let last = first.saturating_add(count - 1);
        return whole..=(last | (RANGE - 1));
    }
    first..=first.saturating_add(count - 1)
}

fn overlap(one: &RangeInclusive<u32>, two: &RangeInclusive<u32>) -> bool {
    one.start() <= two.end() && two.start() <= one.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_map_groups_users_of_a_tenant() {
        let together = |one: &Tenant, two: &Tenant| {
            assert_eq!(one.is_with(two), two.is_with(one));
            one.is_with(two)
        };
        let whole = Tenant::new(1000, b"0 0 4294967295\n");
        assert_eq!(whole, Tenant::user(1000));
        // Another user's map, which does not include this one; and malformed texts.
        for map in [&b"0 700000 65536\n"[..], b"", b"x", b"0 1000", b"0 1000 x\n", b"\xff", b"0 1000 0\n"] {
            assert_eq!(Tenant::new(1000, map), Tenant::user(1000), "{map:?}");
        }
        let own = Tenant::new(1000, b"0 1000 1\n");
        assert!(together(&own, &whole) && !together(&own, &Tenant::user(1001)));
        // One id each of a subordinate range.
        let parts = [700_001, 700_002].map(|uid| Tenant::new(uid, format!("0 {uid} 1\n").as_bytes()));
        assert!(together(&parts[0], &parts[1]) && !together(&parts[0], &whole));
        // Ranges assigned by useradd(8) are adjacent, but belong to two tenants.
        let neighbours =
            [100_000, 165_536].map(|uid| Tenant::new(uid, format!("0 {uid} 65536\n").as_bytes()));
        assert!(!together(&neighbours[0], &neighbours[1]));
        assert_eq!(Tenant::new(0, b"0 0 1\n1 700000 65536\n"), Tenant::user(0));
        assert!(!together(&Tenant::user(0), &Tenant::new(700_000, b"0 0 1\n1 700000 65536\n")));
        let last = Tenant::new(u32::MAX - 1, b"0 4294967294 65536\n");
        assert!(together(&last, &last.clone()));
    }
}
