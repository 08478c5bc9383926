//! Puts records in chronological order.
//!
//! A record's timestamp is taken slightly before it is placed in the buffer, so records of two processors may be
//! swapped: by microseconds, and by more if one is interrupted in between. Records held back for [`WINDOW`] are sorted;
//! those that arrive later are passed on and counted. Records of one task arrive in order, and keep it whatever their
//! timestamps.

use std::collections::VecDeque;
use std::time::Duration;

/// The time for which a record is held back.
pub(super) const WINDOW: Duration = Duration::from_millis(5);

/// The maximum number held back; beyond that, the oldest are passed on at once.
const MOST: usize = 4096;

struct Held<T> {
    time: Duration,
    task: Option<u32>,
    item: T,
}

/// The records held back, by time.
pub(super) struct ReorderBuffer<T> {
    held: VecDeque<Held<T>>,
    /// The latest time passed on.
    passed: Duration,
    late: u64,
}

impl<T> Default for ReorderBuffer<T> {
    fn default() -> Self {
        Self { held: VecDeque::new(), passed: Duration::ZERO, late: 0 }
    }
}

impl<T> ReorderBuffer<T> {
    /// Adds a record with this time after boot, and its `task`, if any.
    pub(super) fn push(&mut self, time: Duration, task: Option<u32>, item: T) {
        self.late += u64::from(time < self.passed);
        // Nearly always at the end, or close to it.
        let before = |held: &Held<T>| held.time <= time || task.is_some() && held.task == task;
        let index = self.held.iter().rposition(before).map_or(0, |last| last + 1);
        // The clock of its task must not delay the others.
        let former = index.checked_sub(1).and_then(|last| self.held.get(last)).map(|held| held.time);
        let time = former.map_or(time, |former| former.max(time));
        self.held.insert(index, Held { time, task, item });
    }

    /// Removes the next record that has been held back long enough at `now`.
    pub(super) fn pop(&mut self, now: Duration) -> Option<T> {
        let front = self.held.front()?;
        // Later than now: the record's clock is wrong, so there is nothing to wait for.
        let is_due = now.saturating_sub(front.time) >= WINDOW || front.time > now + WINDOW;
        if is_due || self.held.len() > MOST { self.pop_any() } else { None }
    }

    /// Removes the next record, however new.
    pub(super) fn pop_any(&mut self) -> Option<T> {
        let held = self.held.pop_front()?;
        self.passed = self.passed.max(held.time);
        Some(held.item)
    }

    /// True if none is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The number of records that arrived later than one passed on before.
    pub(super) const fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    fn all(order: &mut ReorderBuffer<u64>, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| order.pop(ms(now))).collect()
    }

    #[test]
    fn records_of_several_tasks_are_in_order_of_time() {
        let mut order = ReorderBuffer::default();
        for (time, task) in [(12, 1), (11, 2), (13, 1), (10, 3), (12, 2)] {
            order.push(ms(time), Some(task), time * 10 + u64::from(task));
        }
        assert_eq!(all(&mut order, 14), [0; 0]);
        assert_eq!(all(&mut order, 17), [103, 112, 121, 122]);
        assert_eq!(all(&mut order, 18), [131]);
        assert_eq!((order.is_empty(), order.late()), (true, 0));
    }

    #[test]
    fn late_record_is_passed_on_and_counted() {
        let mut order = ReorderBuffer::default();
        order.push(ms(20), Some(1), 20);
        assert_eq!(all(&mut order, 25), [20]);
        order.push(ms(21), Some(1), 21);
        order.push(ms(19), Some(2), 19);
        assert_eq!(all(&mut order, 25), [19]);
        assert_eq!(order.late(), 1);
        assert_eq!(order.pop_any(), Some(21));
    }

    #[test]
    fn a_task_keeps_its_order_when_the_clock_steps_back() {
        let mut order = ReorderBuffer::default();
        for (time, task, item) in [(50, Some(1), 1), (40, Some(2), 2), (30, Some(1), 3), (45, None, 4)] {
            order.push(ms(time), task, item);
        }
        // The second record of task 1 has an earlier time than the first, but stays behind it.
        assert_eq!(all(&mut order, 60), [2, 4, 1, 3]);
        // Or to a time in the future: it is not held back until then.
        order.push(ms(1_000_000), Some(1), 5);
        assert_eq!(all(&mut order, 61), [5]);
    }

    #[test]
    fn held_records_are_bounded() {
        let mut order = ReorderBuffer::default();
        let many = MOST as u64 + 3;
        for item in 0..many {
            order.push(ms(10), None, item);
        }
        assert_eq!(all(&mut order, 11), [0, 1, 2]);
        assert_eq!(std::iter::from_fn(|| order.pop_any()).count(), MOST);
    }
}
