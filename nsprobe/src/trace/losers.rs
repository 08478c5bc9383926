//! The owners of events that were lost in the probe.
//!
//! The probe's table holds a limited number of users and control groups, and tenants decide how many there are. So when
//! it is half full, entries that have not changed for a while are removed from it and kept here, where there is more
//! room. Losses without room in either are counted, but without an owner.

use crate::model::{Lost, Owner, OwnerCgroup, Text};
use nsprobe_ebpf::share::{LOSERS, Loser};
use std::collections::BTreeMap;

/// The maximum number of owners.
const MOST: usize = 4096;

/// An owner's losses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    /// The total of lost events.
    count: u64,
    /// The count in the probe's table when last read.
    seen: u64,
}

/// The owners of all lost events.
#[derive(Debug, Default)]
pub struct Ledger {
    kept: BTreeMap<(u32, u32, u64), Kept>,
    /// The paths of their control groups.
    paths: BTreeMap<u64, Option<Text>>,
}

impl Ledger {
    /// Adds the contents of the probe's table, and returns the entries that may be removed from it.
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
            // Less than before: the entry was removed, and added again.
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

    /// The owners of the events lost at a `stage`; `path` returns the path of a control group by its id.
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

/// The losses in `now` that are not in `before`, both counted from the beginning.
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
    use crate::model::Stage;

    fn loser(uid: u32) -> Loser {
        Loser { stage: 6, uid, cgroup: 7 }
    }

    fn counts(ledger: &mut Ledger) -> Vec<(u32, u64)> {
        ledger.owners(6, |_| None).iter().map(|owner| (owner.uid, owner.count)).collect()
    }

    #[test]
    fn counts_add_up_when_entries_are_removed() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take(&[(loser(1), 5), (loser(2), 6)]), []);
        assert_eq!(ledger.take(&[(loser(1), 8), (loser(2), 6)]), []);
        assert_eq!(counts(&mut ledger), [(1, 8), (2, 6)]);
        assert!(ledger.owners(0, |_| None).is_empty());
        // Crowded: entries that have changed stay, and so do new ones.
        let all: Vec<_> = (1..300).map(|uid| (loser(uid), if uid == 1 { 9 } else { 6 })).collect();
        assert_eq!(ledger.take(&all), [loser(2)]);
        // Added again.
        ledger.take(&[(loser(1), 9), (loser(2), 4)]);
        assert_eq!(counts(&mut ledger)[..2], [(1, 9), (2, 10)]);
    }

    #[test]
    fn ledger_is_bounded() {
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
    fn new_losses_are_reported_by_owner() {
        let owner = |uid, count| Owner { uid, cgroup: None, count };
        let lost = |count, owners| Lost { stage: Stage::Share, count, owners };
        let before = lost(10, vec![owner(1, 4), owner(2, 5)]);
        let now = lost(15, vec![owner(1, 4), owner(2, 7), owner(3, 1)]);
        assert_eq!(news(&now, &before), lost(5, vec![owner(2, 2), owner(3, 1)]));
    }
}
