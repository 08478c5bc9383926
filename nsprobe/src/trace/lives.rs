//! The lives of namespaces: made by a call, ended by the kernel.

use crate::model::{Created, Crossing, Destroyed, Event, NsId, NsKind, NsSlot, Outcome};
use std::collections::HashMap;
use std::time::Duration;

/// The namespaces whose end may come, by inode; with when they were made, where that was seen.
#[derive(Debug, Default)]
pub struct Lives(HashMap<u64, (NsId, Option<Duration>)>);

impl Lives {
    /// Takes what a call made and joined, and gives what it made.
    pub fn take(&mut self, event: &Event) -> Vec<Created> {
        let created = created(event);
        for (_, _, joined) in event.changed_slots() {
            self.0.entry(joined.ino).or_insert((joined, None));
        }
        for made in &created {
            self.0.insert(made.id.ino, (made.id, Some(event.since_boot)));
        }
        created
    }

    /// The end of the namespace with this inode; `None` when nothing was told of it.
    pub fn end(&mut self, ino: u64, now: Duration) -> Option<Destroyed> {
        let (id, made) = self.0.remove(&ino)?;
        Some(Destroyed { id, age: made.map(|made| now.saturating_sub(made)) })
    }
}

/// The namespaces that a call made: its flags say the kinds, and where each is then.
fn created(event: &Event) -> Vec<Created> {
    let (flags, of_children) = match (&event.crossing, event.outcome) {
        (Crossing::Clone { flags: Some(flags), .. }, Outcome::Success(_)) => (*flags, false),
        (Crossing::Unshare { flags }, Outcome::Success(_)) => (*flags, true),
        _ => return Vec::new(),
    };
    let made = NsKind::ALL.into_iter().filter(|kind| flags & kind.clone_flag() != 0).filter_map(|kind| {
        // The caller of unshare does not enter these itself; the child of a clone does.
        let slot = match kind {
            NsKind::Pid if of_children => NsSlot::PidForChildren,
            NsKind::Time if of_children => NsSlot::TimeForChildren,
            kind => NsSlot::In(kind),
        };
        let (_, _, id) = event.changed_slots().find(|(changed, ..)| *changed == slot)?;
        let owners = if kind == NsKind::User { &event.before } else { &event.after };
        let owner = *owners.of(NsKind::User);
        Some(Created { id, owner, by: event.crossing.name(), pid: event.process.pid })
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Slots};

    /// An unshare of the net namespace, after `seconds`, that ends in the namespace `ino`.
    fn unshare(seconds: u64, ino: u64) -> Event {
        let before = Slots::from_fn(|slot| Some(NsId::new(slot.kind(), 4, 1)));
        let mut after = before;
        *after.get_mut(NsSlot::In(NsKind::Net)) = Some(NsId::new(NsKind::Net, 4, ino));
        let crossing = Crossing::Unshare { flags: NsKind::Net.clone_flag() };
        Event {
            since_boot: Duration::from_secs(seconds),
            duration: None,
            process: Actor::new(7, 7),
            crossing,
            compat: Some(false),
            outcome: Outcome::Success(0),
            before,
            after,
            root: None,
            cwd: None,
        }
    }

    #[test]
    fn a_number_that_is_used_again_is_another_life() {
        let mut lives = Lives::default();
        let id = NsId::new(NsKind::Net, 4, 50);
        let owner = Some(NsId::new(NsKind::User, 4, 1));
        assert_eq!(lives.take(&unshare(10, 50)), [Created { id, owner, by: "unshare", pid: 7 }]);
        let ended = |age| Some(Destroyed { id, age: Some(Duration::from_secs(age)) });
        assert_eq!(lives.end(50, Duration::from_secs(13)), ended(3));
        assert_eq!(lives.end(50, Duration::from_secs(14)), None);
        lives.take(&unshare(20, 50));
        assert_eq!(lives.end(50, Duration::from_secs(21)), ended(1));
        // One that was joined, and one whose making failed.
        let mut joined = unshare(30, 51);
        joined.crossing = Crossing::Setns { fd: 3, nstype: 0, target: None };
        assert_eq!(lives.take(&joined), []);
        let id = NsId::new(NsKind::Net, 4, 51);
        assert_eq!(lives.end(51, Duration::from_secs(31)), Some(Destroyed { id, age: None }));
        let mut failed = unshare(40, 1);
        failed.outcome = Outcome::Failure(1);
        assert_eq!(lives.take(&failed), []);
    }
}
