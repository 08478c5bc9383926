//! The namespaces of every task: records in chronological order → changes. No I/O.

use super::record::{Record, Task, What};
use crate::discover::proc_reader::Thread;
use crate::model::{NsId, NsSlot, Pid, Slots, Text};
use std::collections::HashMap;
use std::time::Duration;

/// Every existing task, by its thread id.
#[derive(Debug, Default)]
pub struct Table {
    tasks: HashMap<Pid, Known>,
    /// The process whose descendants are followed.
    follow: Option<Pid>,
}

/// The known data of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    pid: Pid,
    comm: Text,
    namespaces: Slots<Option<NsId>>,
    followed: bool,
    /// The time when `/proc` was read for it: the namespaces are not those before earlier records.
    read: Duration,
}

/// The meaning of a record of namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The caller.
    pub task: Task,
    /// Its name; empty if unknown.
    pub comm: Text,
    /// True if it descends from the followed process.
    pub followed: bool,
    /// The child, if it called clone; `None` for unshare or setns.
    pub child: Option<Task>,
    /// The caller's namespaces before, as far as known.
    pub before: Slots<Option<NsId>>,
    /// The child's namespaces, or the caller's after the call.
    pub after: Slots<Option<NsId>>,
}

/// True if `PERF_RECORD_NAMESPACES` has this slot.
const fn is_reported(slot: NsSlot) -> bool {
    !matches!(slot, NsSlot::In(crate::model::NsKind::Time) | NsSlot::PidForChildren | NsSlot::TimeForChildren)
}

impl Table {
    /// An empty table, in which the descendants of the process `follow` are marked.
    #[must_use]
    pub fn new(follow: Option<Pid>) -> Self {
        Self { follow, ..Self::default() }
    }

    /// Takes all tasks from `/proc`, read no later than `read`. Tasks that are missing there have ended, unless a later
    /// record is about them.
    pub fn fill(&mut self, threads: Vec<Thread>, read: Duration) {
        let mut former = std::mem::take(&mut self.tasks);
        let mut parents = Vec::new();
        for Thread { pid, tid, ppid, comm, namespaces } in threads {
            let mut namespaces = namespaces.unwrap_or_default();
            for slot in NsSlot::ALL.into_iter().filter(|&slot| !is_reported(slot)) {
                *namespaces.get_mut(slot) = None;
            }
            let former = former.remove(&tid).filter(|former| former.pid == pid);
            if former.is_none() && self.follow.is_some() {
                parents.push((tid, if tid == pid { ppid } else { pid }));
            }
            let followed = former.is_some_and(|former| former.followed);
            self.tasks.insert(tid, Known { pid, comm, namespaces, followed, read });
        }
        // Tasks without a record are followed if their parents are, in whatever order.
        let is_followed = |tasks: &HashMap<Pid, Known>, pid: Pid| {
            self.follow == Some(pid) || tasks.get(&pid).is_some_and(|known| known.followed)
        };
        while let Some(at) = parents.iter().position(|&(_, parent)| is_followed(&self.tasks, parent)) {
            let (tid, _) = parents.swap_remove(at);
            self.tasks.entry(tid).and_modify(|known| known.followed = true);
        }
    }

    /// Forgets the namespaces and names of all tasks after records were lost, until a record or `/proc` has them.
    pub fn invalidate(&mut self) {
        for known in self.tasks.values_mut() {
            known.namespaces = Slots::default();
            known.comm.clear();
        }
    }

    /// Processes a record, and returns its meaning if it is a call.
    pub fn take(&mut self, record: Record) -> Option<Seen> {
        let Record { time, writer, what } = record;
        match what {
            What::Fork { task, parent } => self.fork(task, parent),
            What::Exit(task) => _ = self.tasks.remove(&task.tid),
            What::Name { task, comm, exec } => self.name(task, comm, exec),
            What::Namespaces { task, namespaces } if task.tid != 0 => {
                return Some(self.namespaces(time, writer, task, *namespaces));
            }
            What::Namespaces { .. } | What::Lost(_) => {}
        }
        None
    }

    fn fork(&mut self, task: Task, parent: Task) {
        if task.tid == 0 {
            return;
        }
        let followed = self.follow == Some(parent.pid);
        let inherited = self.tasks.get(&parent.tid).cloned().unwrap_or_default();
        let known = Known { pid: task.pid, followed: followed || inherited.followed, ..inherited };
        self.tasks.insert(task.tid, known);
    }

    fn name(&mut self, task: Task, comm: Text, exec: bool) {
        // A thread that executes a program replaces its process's first thread, which has ended by now.
        if exec && task.pid == task.tid && !self.tasks.contains_key(&task.tid) {
            let other = self.tasks.iter().find(|(_, known)| known.pid == task.pid).map(|(&tid, _)| tid);
            if let Some(known) = other.and_then(|tid| self.tasks.remove(&tid)) {
                self.tasks.insert(task.tid, known);
            }
        }
        if let Some(known) = self.tasks.get_mut(&task.tid) {
            known.comm = comm;
        }
    }

    fn namespaces(&mut self, time: Duration, writer: Task, task: Task, after: Slots<Option<NsId>>) -> Seen {
        // The kernel writes a new task's namespaces while its parent runs, others' while they run themselves.
        let is_clone = writer.tid != task.tid;
        let caller = if is_clone { writer } else { task };
        let known = self.tasks.get(&caller.tid).cloned().unwrap_or_default();
        let before = if known.read > time { Slots::default() } else { known.namespaces };
        let entry = self.tasks.entry(task.tid).or_insert_with(|| Known { pid: task.pid, ..known.clone() });
        entry.namespaces = after;
        Seen {
            task: caller,
            comm: known.comm,
            followed: known.followed,
            child: is_clone.then_some(task),
            before,
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NsKind;

    const SHELL: Task = Task { pid: 10, tid: 10 };
    const CHILD: Task = Task { pid: 20, tid: 20 };

    fn slots(net: u64) -> Slots<Option<NsId>> {
        let mut slots = Slots::default();
        *slots.get_mut(NsSlot::In(NsKind::Net)) = Some(NsId::new(NsKind::Net, 4, net));
        slots
    }

    fn thread(task: Task, net: u64) -> Thread {
        Thread { pid: task.pid, tid: task.tid, ppid: 1, comm: "sh".into(), namespaces: Some(slots(net)) }
    }

    fn at(seconds: u64, writer: Task, what: What) -> Record {
        Record { time: Duration::from_secs(seconds), writer, what }
    }

    fn namespaces(seconds: u64, writer: Task, task: Task, net: u64) -> Record {
        at(seconds, writer, What::Namespaces { task, namespaces: Box::new(slots(net)) })
    }

    #[test]
    fn child_starts_in_the_namespaces_of_its_parent() {
        let mut table = Table::new(None);
        table.fill(vec![thread(SHELL, 1)], Duration::from_secs(1));
        assert_eq!(table.take(at(2, SHELL, What::Fork { task: CHILD, parent: SHELL })), None);
        let born = table.take(namespaces(2, SHELL, CHILD, 2)).unwrap();
        assert_eq!((born.task, born.child, born.comm.lossy().as_ref()), (SHELL, Some(CHILD), "sh"));
        assert_eq!((born.before, born.after), (slots(1), slots(2)));
        table.take(at(3, CHILD, What::Name { task: CHILD, comm: "ip".into(), exec: true }));
        let moved = table.take(namespaces(4, CHILD, CHILD, 3)).unwrap();
        assert_eq!((moved.task, moved.child, moved.comm.lossy().as_ref()), (CHILD, None, "ip"));
        assert_eq!((moved.before, moved.after), (slots(2), slots(3)));
        // Another task that gets its pid is not mistaken for it.
        table.take(at(5, CHILD, What::Exit(CHILD)));
        assert_eq!(table.take(namespaces(6, CHILD, CHILD, 4)).unwrap().before, Slots::default());
    }

    #[test]
    fn only_descendants_of_the_command_are_followed() {
        let mut table = Table::new(Some(7));
        let own = Task { pid: 7, tid: 7 };
        let own_thread = Thread { ppid: 1, ..thread(own, 1) };
        table.fill(vec![own_thread, thread(SHELL, 1)], Duration::ZERO);
        table.take(at(1, own, What::Fork { task: CHILD, parent: own }));
        let grandchild = Task { pid: 30, tid: 30 };
        table.take(at(2, CHILD, What::Fork { task: grandchild, parent: CHILD }));
        table.take(at(3, CHILD, What::Exit(CHILD)));
        for (task, followed) in [(own, false), (SHELL, false), (grandchild, true)] {
            assert_eq!(table.take(namespaces(4, task, task, 2)).unwrap().followed, followed, "{task:?}");
        }
        // Still so after a loss, when everything is read again.
        let (child, thread_of) = (Task { pid: 29, tid: 29 }, Task { pid: 29, tid: 28 });
        let new = |task, ppid| Thread { ppid, ..thread(task, 2) };
        let threads = vec![new(thread_of, 30), new(child, 30), new(SHELL, 1), thread(grandchild, 2)];
        table.fill(threads, Duration::from_secs(5));
        for (task, followed) in [(grandchild, true), (child, true), (thread_of, true), (SHELL, false)] {
            assert_eq!(table.take(namespaces(6, task, task, 3)).unwrap().followed, followed, "{task:?}");
        }
    }

    #[test]
    fn thread_that_executes_a_program_takes_the_pid() {
        let mut table = Table::new(None);
        let second = Task { pid: 10, tid: 11 };
        table.fill(vec![thread(SHELL, 1), thread(second, 2)], Duration::ZERO);
        table.take(at(1, SHELL, What::Exit(SHELL)));
        table.take(at(2, SHELL, What::Name { task: SHELL, comm: "new".into(), exec: true }));
        let seen = table.take(namespaces(3, SHELL, SHELL, 3)).unwrap();
        assert_eq!((seen.before, seen.comm.lossy().as_ref()), (slots(2), "new"));
        assert_eq!(table.tasks.len(), 1);
    }

    #[test]
    fn tasks_without_a_pid_here_are_not_confused() {
        let mut table = Table::new(None);
        table.fill(vec![thread(SHELL, 1)], Duration::ZERO);
        // A task outside of the pid namespace: one creates another, and one creates a visible child.
        let outside = Task { pid: 0, tid: 0 };
        table.take(at(1, SHELL, What::Fork { task: outside, parent: SHELL }));
        assert_eq!(table.take(namespaces(1, SHELL, outside, 5)), None);
        table.take(at(2, outside, What::Fork { task: CHILD, parent: outside }));
        let born = table.take(namespaces(2, outside, CHILD, 6)).unwrap();
        assert_eq!((born.task, born.child, born.before), (outside, Some(CHILD), Slots::default()));
    }

    #[test]
    fn after_a_loss_the_state_before_is_unknown() {
        let mut table = Table::new(None);
        table.fill(vec![thread(SHELL, 1)], Duration::ZERO);
        table.invalidate();
        let first = table.take(namespaces(1, SHELL, SHELL, 3)).unwrap();
        assert_eq!((first.before, first.comm.lossy().as_ref()), (Slots::default(), ""));
        assert_eq!(table.take(namespaces(2, SHELL, SHELL, 4)).unwrap().before, slots(3));
    }

    #[test]
    fn later_read_is_not_used_as_the_state_before() {
        let mut table = Table::new(None);
        table.fill(vec![thread(SHELL, 2)], Duration::from_secs(5));
        assert_eq!(table.take(namespaces(4, SHELL, SHELL, 2)).unwrap().before, Slots::default());
        assert_eq!(table.take(namespaces(6, SHELL, SHELL, 3)).unwrap().before, slots(2));
    }
}
