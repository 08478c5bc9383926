//! Whose events were lost in the probe.
//!
//! Its table has room for so many users and control groups, and tenants decide how many there are. So what has not changed
//! for a while is taken out of it when it is half full, and kept here, where there is more room. Of what has no room
//! anywhere the number is known, and not whose it was.

use crate::model::{Lost, Owner, OwnerCgroup, Text};
use nsprobe_ebpf::share::{LOSERS, Loser};
use std::collections::BTreeMap;

/// How many are kept at most.
const MOST: usize = 4096;

/// What is kept of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    /// How many events it has lost.
    count: u64,
    /// How many the probe's table had of them at the last look.
    seen: u64,
}

/// All that is known of whose events were lost.
#[derive(Debug, Default)]
pub struct Ledger {
    kept: BTreeMap<(u32, u32, u64), Kept>,
    /// The paths of their control groups.
    paths: BTreeMap<u64, Option<Text>>,
}

impl Ledger {
    /// Takes what the probe's table has, and gives what may be removed from it.
    pub fn take(&mut self, table: &[(Loser, u64)]) -> Vec<Loser> {
        let is_crowded = table.len() * 2 > LOSERS;
        let mut stale = Vec::new();
        for &(loser, count) in table {
            let key = (loser.stage, loser.uid, loser.cgroup);
            if !self.kept.contains_key(&key) && self.kept.len() >= MOST {
                stale.push(loser);
                continue;
            }
            let kept = self.kept.entry(key).or_default();
            // Less than before: it was removed, and has come again.
            let more = if count < kept.seen { count } else { count - kept.seen };
            kept.count += more;
            kept.seen = count;
            if more == 0 && is_crowded {
                kept.seen = 0;
                stale.push(loser);
            }
        }
        stale
    }

    /// Whose the events were that were lost at a `stage`; `path` finds the path of a control group by its id.
    pub fn owners(&mut self, stage: u32, path: impl Fn(u64) -> Option<Text>) -> Vec<Owner> {
        let paths = &mut self.paths;
        let of_stage = self.kept.range((stage, 0, 0)..(stage + 1, 0, 0));
        let owners = of_stage.map(|(&(_, uid, id), kept)| {
            let mut path = || paths.entry(id).or_insert_with(|| path(id)).clone();
            let cgroup = (id != 0).then(|| OwnerCgroup { id, path: path() });
            Owner { uid, cgroup, count: kept.count }
        });
        owners.collect()
    }
}

/// What of `now` is not in `before`, both counted from the beginning.
#[must_use]
pub fn news(now: &Lost, before: &Lost) -> Lost {
    let key = |owner: &Owner| (owner.uid, owner.cgroup.as_ref().map(|cgroup| cgroup.id));
    let known: BTreeMap<_, u64> = before.owners.iter().map(|owner| (key(owner), owner.count)).collect();
    let more = |owner: &Owner| owner.count.saturating_sub(known.get(&key(owner)).copied().unwrap_or(0));
    let owners = now.owners.iter().map(|owner| Owner { count: more(owner), ..owner.clone() });
    Lost {
        stage: now.stage,
        count: now.count.saturating_sub(before.count),
        owners: owners.filter(|owner| owner.count > 0).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loser(uid: u32) -> Loser {
        Loser { stage: 6, uid, cgroup: 7 }
    }

    fn counts(ledger: &mut Ledger) -> Vec<(u32, u64)> {
        ledger.owners(6, |_| None).iter().map(|owner| (owner.uid, owner.count)).collect()
    }

    #[test]
    fn counts_add_up_though_the_table_is_emptied() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take(&[(loser(1), 5), (loser(2), 6)]), []);
        assert_eq!(ledger.take(&[(loser(1), 8), (loser(2), 6)]), []);
        assert_eq!(counts(&mut ledger), [(1, 8), (2, 6)]);
        assert!(ledger.owners(0, |_| None).is_empty());
        // Crowded: what has changed stays, and so does what is new.
        let all: Vec<_> = (1..300).map(|uid| (loser(uid), if uid == 1 { 9 } else { 6 })).collect();
        assert_eq!(ledger.take(&all), [loser(2)]);
        // It has come again.
        ledger.take(&[(loser(1), 9), (loser(2), 4)]);
        assert_eq!(counts(&mut ledger)[..2], [(1, 9), (2, 10)]);
    }

    #[test]
    fn there_is_no_room_for_more_than_some() {
        let mut ledger = Ledger::default();
        let most = u32::try_from(MOST).unwrap();
        for first in (0..most).step_by(256) {
            let table: Vec<_> = (first..first + 256).map(|uid| (loser(uid), 1)).collect();
            assert_eq!(ledger.take(&table), []);
        }
        assert_eq!(ledger.take(&[(loser(1 << 20), 1)]), [loser(1 << 20)]);
        assert_eq!(counts(&mut ledger).len(), MOST);
    }

    #[test]
    fn what_is_new_is_told_by_whose_it_is() {
        let owner = |uid, count| Owner { uid, cgroup: None, count };
        let lost = |count, owners| Lost { stage: "share", count, owners };
        let before = lost(10, vec![owner(1, 4), owner(2, 5)]);
        let now = lost(15, vec![owner(1, 4), owner(2, 7), owner(3, 1)]);
        assert_eq!(news(&now, &before), lost(5, vec![owner(2, 2), owner(3, 1)]));
    }
}
