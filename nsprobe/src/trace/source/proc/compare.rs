//! Two scans of the processes → the changes between them. No I/O.

use crate::model::{Directory, NsId, Pid, Process, ResolvedPath, Root, Slots};
use std::collections::HashMap;

/// The known processes, from all scans so far.
#[derive(Debug, Default)]
pub struct Known(HashMap<Pid, State>);

#[derive(Clone, Debug)]
struct State {
    start_ticks: u64,
    ppid: Pid,
    namespaces: Slots<Option<NsId>>,
    root: Root,
    followed: bool,
}

/// A process whose namespaces or root differ from its former ones or, if it is new, from its parent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its index among the processes of the later scan.
    pub index: usize,
    /// True if it did not exist before.
    pub is_new: bool,
    /// True if it descends from the followed process.
    pub followed: bool,
    /// The namespaces before. `None` also where a new process may have begun in either of two, because its parent moved
    /// between the scans.
    pub before: Slots<Option<NsId>>,
    /// The namespaces now.
    pub after: Slots<Option<NsId>>,
    /// The root directory, if it changed, and the former one is known.
    pub root: Option<Directory>,
}

impl Known {
    /// Compares with a later scan. Descendants of the process `follow` are followed. Known processes that are `unread`
    /// are unchanged.
    pub fn take(&mut self, processes: &[Process], unread: &[Pid], follow: Option<Pid>) -> Vec<Change> {
        let mut now: HashMap<Pid, State> = HashMap::with_capacity(processes.len());
        let mut was: HashMap<Pid, Option<State>> = HashMap::with_capacity(processes.len());
        for process in processes {
            let former = self.0.remove(&process.pid);
            let former = former.filter(|former| former.start_ticks == process.start_ticks);
            now.insert(process.pid, state(process, former.as_ref()));
            was.insert(process.pid, former);
        }
        for pid in unread {
            if let Some(former) = self.0.remove(pid) {
                now.insert(*pid, former.clone());
                was.insert(*pid, Some(former));
            }
        }
        // Parents may have higher pids than their children: repeat until nothing more is found.
        while let Some(pid) = processes
            .iter()
            .find(|process| is_followed_by_descent(process, &was, &now, follow))
            .map(|process| process.pid)
        {
            now.entry(pid).and_modify(|state| state.followed = true);
        }
        let changes = processes.iter().enumerate().filter_map(|(index, process)| {
            let state = now.get(&process.pid)?;
            let is_new = was.get(&process.pid).is_none_or(Option::is_none);
            let origins = origins(process.pid, &was, &now);
            let first = *origins.first()?;
            let has_moved = origins.iter().all(|origin| moved(&origin.root, &state.root).is_some());
            let has_one_root = origins.iter().all(|origin| origin.root == first.root);
            let is_elsewhere = state.namespaces.iter().any(|(slot, id)| {
                let is_other = |was: Option<NsId>| was.is_some() && was != *id;
                id.is_some() && origins.iter().all(|origin| is_other(*origin.namespaces.get(slot)))
            });
            (is_elsewhere || has_moved).then(|| Change {
                index,
                is_new,
                followed: state.followed,
                before: Slots::from_fn(|slot| {
                    let id = *first.namespaces.get(slot);
                    id.filter(|_| origins.iter().all(|origin| *origin.namespaces.get(slot) == id))
                }),
                after: state.namespaces,
                root: if has_one_root { moved(&first.root, &state.root) } else { None },
            })
        });
        let changes = changes.collect();
        self.0 = now;
        changes
    }
}

/// The maximum number of new ancestors to check.
const GENERATIONS: usize = 64;

/// The state of a process in the earlier scan. For a new process, all states it may have begun in: its parent's now and
/// before, and if the parent is new as well, those it may have begun in.
fn origins<'a>(
    pid: Pid,
    was: &'a HashMap<Pid, Option<State>>,
    now: &'a HashMap<Pid, State>,
) -> Vec<&'a State> {
    let former = |pid: Pid| was.get(&pid).and_then(Option::as_ref);
    if let Some(former) = former(pid) {
        return vec![former];
    }
    let mut origins = Vec::new();
    let mut parent = now.get(&pid).map(|state| state.ppid);
    // Each was read at a different time, so they might form a cycle.
    while let Some((pid, state)) = parent.and_then(|pid| Some((pid, now.get(&pid)?)))
        && origins.len() < GENERATIONS
    {
        origins.push(state);
        origins.extend(former(pid));
        parent = former(pid).is_none().then_some(state.ppid);
    }
    origins
}

/// The state of a process now. Data that is no longer visible is unchanged.
fn state(process: &Process, former: Option<&State>) -> State {
    let now = process.namespaces.unwrap_or_default();
    let namespaces = Slots::from_fn(|slot| {
        now.get(slot).or_else(|| former.and_then(|former| *former.namespaces.get(slot)))
    });
    let root = match (&process.root, former) {
        (Root::Unknown, Some(former)) => former.root.clone(),
        (root, _) => root.clone(),
    };
    let followed = former.is_some_and(|former| former.followed);
    State { start_ticks: process.start_ticks, ppid: process.ppid, namespaces, root, followed }
}

/// True if a new process is the child of a followed one, and not yet marked as followed.
fn is_followed_by_descent(
    process: &Process,
    was: &HashMap<Pid, Option<State>>,
    now: &HashMap<Pid, State>,
    follow: Option<Pid>,
) -> bool {
    let is_new = was.get(&process.pid).is_some_and(Option::is_none);
    let followed = |pid: Pid| now.get(&pid).is_some_and(|state| state.followed);
    follow.is_some()
        && is_new
        && !followed(process.pid)
        && (Some(process.ppid) == follow || followed(process.ppid))
}

fn moved(before: &Root, after: &Root) -> Option<Directory> {
    let at = |root: &Root| {
        let deleted = root.is_deleted()?;
        Some(ResolvedPath { path: root.path()?.clone(), deleted, ..ResolvedPath::default() })
    };
    let directory = || Some(Directory { moved: true, before: at(before)?, after: at(after)? });
    after.differs_from(before).then(directory)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NsKind, NsSlot};

    fn process(pid: Pid, ppid: Pid, net: u64) -> Process {
        let namespaces = Slots::from_fn(|slot| {
            let ino = if slot == NsSlot::In(NsKind::Net) { net } else { 1 };
            Some(NsId::new(slot.kind(), 4, ino))
        });
        Process { namespaces: Some(namespaces), root: Root::Whole, ..Process::staged(pid, ppid) }
    }

    /// Index, new, followed, net before and after.
    fn summary(changes: &[Change]) -> Vec<(usize, bool, bool, u64, u64)> {
        let net = |slots: &Slots<Option<NsId>>| slots.of(NsKind::Net).map_or(0, |id| id.ino);
        changes.iter().map(|it| (it.index, it.is_new, it.followed, net(&it.before), net(&it.after))).collect()
    }

    #[test]
    fn moved_and_new_processes_elsewhere_are_reported() {
        let mut known = Known::default();
        known.take(&[process(1, 0, 1), process(5, 1, 1), process(6, 1, 2)], &[], None);
        let later =
            [process(1, 0, 1), process(5, 1, 3), process(6, 1, 2), process(7, 6, 2), process(8, 6, 4)];
        assert_eq!(
            summary(&known.take(&later, &[], None)),
            [(1, false, false, 1, 3), (4, true, false, 2, 4)]
        );
        assert_eq!(summary(&known.take(&later, &[], None)), []);
        // A pid that was reused.
        let mut again = later.clone();
        (again[1].start_ticks, again[1].ppid) = (99, 8);
        assert_eq!(summary(&known.take(&again, &[], None)), [(1, true, false, 4, 3)]);
    }

    #[test]
    fn origin_of_a_child_is_unknown_if_its_parent_moved() {
        let mut known = Known::default();
        known.take(&[process(5, 1, 1)], &[], None);
        // It moves from 1 to 3, and has children before, after, and one that moves itself.
        let later = [process(5, 1, 3), process(9, 5, 1), process(10, 5, 3), process(11, 5, 4)];
        assert_eq!(
            summary(&known.take(&later, &[], None)),
            [(0, false, false, 1, 3), (3, true, false, 0, 4)]
        );
        // A new parent, which was where its own parent is when it had a child.
        let later = [process(5, 1, 3), process(20, 5, 6), process(21, 20, 3), process(22, 21, 7)];
        let changes = known.take(&later, &[], None);
        assert_eq!(summary(&changes), [(1, true, false, 3, 6), (3, true, false, 0, 7)]);
        assert_eq!(changes[1].before.of(NsKind::Uts).map(|id| id.ino), Some(1), "what nobody left");
        let mut circle = [process(30, 31, 1), process(31, 30, 2)];
        circle[0].root = Root::Chrooted("/srv".into());
        assert_eq!(summary(&known.take(&circle, &[], None)).len(), 0);
    }

    #[test]
    fn root_change_is_reported_and_unreadable_data_is_not() {
        let mut known = Known::default();
        known.take(&[process(5, 1, 1)], &[], None);
        let mut hidden = process(5, 1, 1);
        (hidden.namespaces, hidden.root) = (None, Root::Unknown);
        assert_eq!(known.take(&[hidden], &[], None), []);
        let mut jailed = process(5, 1, 1);
        jailed.root = Root::Chrooted("/srv".into());
        let [Change { root: Some(root), .. }] = &known.take(&[jailed], &[], None)[..] else {
            panic!("a root")
        };
        assert_eq!((root.before.path.clone(), root.after.path.clone()), ("/".into(), "/srv".into()));
    }

    #[test]
    fn new_pid_namespace_is_reported_with_its_first_child() {
        let mut known = Known::default();
        known.take(&[process(5, 1, 1)], &[], None);
        let slot = NsSlot::PidForChildren;
        let mut waiting = process(5, 1, 1);
        let with = |id| {
            let mut slots = waiting.namespaces.unwrap();
            *slots.get_mut(slot) = id;
            Some(slots)
        };
        let (none, some) = (with(None), with(Some(NsId::new(NsKind::Pid, 4, 9))));
        waiting.namespaces = none;
        assert_eq!(known.take(std::slice::from_ref(&waiting), &[], None), []);
        waiting.namespaces = some;
        assert_eq!(known.take(&[waiting], &[], None).len(), 1);
    }

    #[test]
    fn descendants_of_the_command_are_followed() {
        let mut known = Known::default();
        known.take(&[process(1, 0, 1), process(40, 1, 1)], &[], Some(40));
        // Grandchild 20 has a lower pid than its parent 50; 60 is not a descendant.
        let later =
            [process(1, 0, 1), process(20, 50, 3), process(40, 1, 1), process(50, 40, 2), process(60, 1, 2)];
        let changes = known.take(&later, &[], Some(40));
        // The parent was in 1 and is in 2: where the grandchild began is unknown.
        let seen = [(1, true, true, 0, 3), (3, true, true, 1, 2), (4, true, false, 1, 2)];
        assert_eq!(summary(&changes), seen);
        // Its parent has ended; it is still the command's descendant.
        let orphan = [process(1, 0, 1), process(20, 1, 4), process(40, 1, 1)];
        assert_eq!(summary(&known.take(&orphan, &[], Some(40))), [(1, false, true, 3, 4)]);
    }
}
