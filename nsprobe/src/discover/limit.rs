//! What is kept of the holders of a namespace, of which one process may be any number.

use crate::model::Holder;

/// How many descriptors, say, of one process, or mounts in one mount namespace, are told as holders of a namespace: the
/// others hold it no better, and counting them is enough. What one holder has too many of takes nothing from another.
pub(super) const MOST_OF_ONE: usize = 64;

/// Whose a holder is; a namespace that holds another holds it once.
fn whose(holder: &Holder) -> (&'static str, u64) {
    let whose = match holder {
        Holder::BindMount { mount_namespace, .. } | Holder::Mount { mount_namespace, .. } => {
            mount_namespace.ino
        }
        Holder::Ancestor { of } => of.ino,
        other => other.pid().map_or(0, u64::from),
    };
    (holder.name(), whose)
}

/// Drops of `holders`, which are in order, what one has too many of; gives how many those are.
pub(super) fn holders(holders: &mut Vec<Holder>) -> u64 {
    let before = holders.len();
    let (mut last, mut count) = (None, 0);
    holders.retain(|holder| {
        let whose = Some(whose(holder));
        count = if last == whose { count + 1 } else { 1 };
        last = whose;
        count <= MOST_OF_ONE
    });
    (before - holders.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_too_many_of_takes_nothing_from_another() {
        let of = |pid, count| (0..count).map(move |fd| Holder::Descriptor { pid, tid: None, fd });
        let mut all: Vec<Holder> = of(7, 1000).chain(of(8, 2)).chain(of(9, 65)).collect();
        all.push(Holder::Socket { pid: 9, tid: None, fd: 70 });
        all.sort();
        assert_eq!(holders(&mut all), 936 + 1);
        let count = |pid| all.iter().filter(|holder| holder.pid() == Some(pid)).count();
        assert_eq!((count(7), count(8), count(9)), (64, 2, 65));
    }
}
