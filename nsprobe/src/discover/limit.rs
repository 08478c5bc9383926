//! Limits the holders kept of a namespace: one process alone may be any number of them.

use crate::model::Holder;

/// The most holders reported of one kind and owner, such as the descriptors of one process or the mounts in one mount
/// namespace: the others add nothing, and are counted. The excess of one owner takes nothing from another.
pub(super) const MOST_OF_ONE: usize = 64;

/// Returns the owner of a holder. (A namespace that holds another does so once.)
fn owner_of(holder: &Holder) -> (&'static str, u64) {
    let owner = match holder {
        Holder::BindMount { mount_namespace, .. } | Holder::Mount { mount_namespace, .. } => {
            mount_namespace.ino
        }
        Holder::Ancestor { of } => of.ino,
        other => other.pid().map_or(0, u64::from),
    };
    (holder.name(), owner)
}

/// Drops the excess holders of each owner from `holders`, which are sorted; returns how many.
pub(super) fn holders(holders: &mut Vec<Holder>) -> u64 {
    let before = holders.len();
    let (mut last, mut count) = (None, 0);
    holders.retain(|holder| {
        let owner = Some(owner_of(holder));
        count = if last == owner { count + 1 } else { 1 };
        last = owner;
        count <= MOST_OF_ONE
    });
    (before - holders.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_holders_of_one_owner_spare_others() {
        let of = |pid, count| (0..count).map(move |fd| Holder::Descriptor { pid, tid: None, fd });
        let mut all: Vec<Holder> = of(7, 1000).chain(of(8, 2)).chain(of(9, 65)).collect();
        all.push(Holder::Socket { pid: 9, tid: None, fd: 70 });
        all.sort();
        assert_eq!(holders(&mut all), 936 + 1);
        let count = |pid| all.iter().filter(|holder| holder.pid() == Some(pid)).count();
        assert_eq!((count(7), count(8), count(9)), (64, 2, 65));
    }
}
