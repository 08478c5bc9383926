//! Reads of other processes, each bounded in time.
//!
//! A process decides how long readers of its `/proc/PID` wait: in execve(2) the kernel holds one of its locks while it
//! closes files, whose file system's server may not answer; in munmap(2) it holds another one likewise. Whoever waits
//! for those waits until the process goes on, or until killed: a thread cannot be interrupted. So separate threads read
//! processes, and the caller watches them. One that makes no progress is abandoned, what it was reading is [`Stuck`],
//! and another thread continues with the rest.
//!
//! Nobody waits for an abandoned thread: it ends with nsprobe, because these waits of the kernel end with a fatal
//! signal.

mod excuse;
mod registry;
mod tenant;
mod threads;

use super::allowance;
use registry::{Activity, Slot};
pub use registry::{Stuck, begin, enter};
use std::any::Any;
use std::cell::LazyCell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// The interval at which unfinished threads are checked, unless little of the allowance is left.
const TICK: Duration = Duration::from_millis(20);

/// The shortest such interval.
const SHORTEST_TICK: Duration = Duration::from_millis(4);

/// The weight of a tick in which a thread sleeps and nobody is known to wait for a processor meanwhile. Other ticks have
/// the weight 1. A thread is abandoned when the sum reaches the allowance: at first after a quarter of a second, or half a
/// second.
const CALM: u32 = 3;

/// Returns the current interval.
fn tick() -> Duration {
    (allowance::left() / 32).clamp(SHORTEST_TICK, TICK)
}

/// The number of items that justify a thread: starting it costs as much as reading two processes.
const WORTH_A_THREAD: usize = 128;

/// The most threads started; more would only contend for memory.
const MOST_THREADS: usize = 8;

/// The most threads at work on the items of one reading, whether they make progress or not.
const MOST_AT_ONCE: usize = 32;

/// Returns the results of `work` for each of the `items`, in order. It gets a scratch buffer. Only abandoned threads
/// keep `work` and the items alive after the return.
pub fn each<T: Send + Sync + 'static, R: Send + 'static>(
    items: Vec<T>,
    work: impl Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
) -> Vec<Result<R, Stuck>> {
    let mut reading = Reading::begin(items, work);
    while !reading.wait(Duration::MAX) {}
    reading.take()
}

/// Returns the result of `work` for a single item.
pub fn one<R: Send + 'static>(work: impl Fn(&mut Vec<u8>) -> R + Send + Sync + 'static) -> Result<R, Stuck> {
    let mut results = each(vec![()], move |(), buffer| work(buffer));
    results.pop().unwrap_or(Err(Stuck::Others))
}

/// Work in progress, in threads of its own.
pub struct Reading<R> {
    job: Arc<Job<R>>,
    last: Instant,
}

impl<R: Send + 'static> Reading<R> {
    /// Starts it.
    pub fn begin<T: Send + Sync + 'static>(
        items: Vec<T>,
        work: impl Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
    ) -> Self {
        let threads = match items.len() / WORTH_A_THREAD {
            // Reading the number of processors takes more calls than reading a process.
            0 | 1 => 1,
            worth => worth.min(MOST_THREADS).min(available_parallelism().map_or(1, NonZeroUsize::get)),
        };
        Self::in_threads(items, threads, work)
    }

    fn in_threads<T: Send + Sync + 'static>(
        items: Vec<T>,
        threads: usize,
        work: impl Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
    ) -> Self {
        let count = items.len();
        let results = items.iter().map(|_| None).collect();
        let work: Work<R> = Arc::new(move |item, buffer| work(&items[item], buffer));
        let state = State { next: 0, work: Some(work), results, workers: Vec::new(), panic: None };
        let job = Arc::new(Job { count, threads, state: Mutex::new(state), over: Condvar::new() });
        job.start();
        Self { job, last: Instant::now() }
    }

    /// Waits for its end, but no longer than `limit`; returns true if it was reached.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let (since, tick) = (self.last.elapsed(), tick());
        let is_over = self.job.wait(limit.min(tick.saturating_sub(since)));
        if !is_over && self.last.elapsed() >= tick {
            self.last = Instant::now();
            return self.job.watch(tick);
        }
        is_over
    }

    /// Returns the results, in the order of the items. Those that are missing are stuck.
    #[must_use]
    pub fn take(self) -> Vec<Result<R, Stuck>> {
        let mut state = self.job.state();
        if let Some(panic) = state.panic.take() {
            drop(state);
            resume_unwind(panic);
        }
        let results = std::mem::take(&mut state.results);
        results.into_iter().map(|result| result.unwrap_or(Err(Stuck::Others))).collect()
    }
}

impl<R> Drop for Reading<R> {
    fn drop(&mut self) {
        let mut state = self.job.state();
        // Items not taken yet are not started.
        state.next = self.job.count;
        let work = state.work.take();
        // It may close files, which nobody should wait for.
        drop(state);
        drop(work);
    }
}

/// The work on the item with an index.
type Work<R> = Arc<dyn Fn(usize, &mut Vec<u8>) -> R + Send + Sync>;

struct Job<R> {
    /// Number of items.
    count: usize,
    threads: usize,
    state: Mutex<State<R>>,
    /// Notified when no thread works on it any longer.
    over: Condvar,
}

struct State<R> {
    /// The next item to be taken.
    next: usize,
    /// For threads that start: each has its own reference, and drops it before it leaves. `None` once nobody waits for
    /// the results.
    work: Option<Work<R>>,
    /// Empty once they have been taken.
    results: Vec<Option<Result<R, Stuck>>>,
    workers: Vec<Worker>,
    /// The payload of a thread's panic.
    panic: Option<Box<dyn Any + Send>>,
}

/// The state of one thread.
#[derive(Default)]
struct Worker {
    slot: Arc<Slot>,
    status: Status,
    /// Its current item, and the one it had at the last check.
    item: Option<usize>,
    seen: Option<usize>,
    /// Weighted time that it has been asleep since it took the item.
    still: Duration,
    /// Number of times it had gone to sleep, at the last check.
    sleeps: Option<u64>,
    /// Whether the process that it reads is runnable: then it may not be a file server that holds it up.
    may_run: excuse::Question,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Working,
    Done,
    Abandoned,
}

impl<R> Job<R> {
    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Send + 'static> Job<R> {
    /// Starts its threads. If none can be started, the calling thread does the work, without a bound.
    fn start(self: &Arc<Self>) {
        for number in 0..self.threads {
            let mut state = self.state();
            if state.next >= self.count {
                return;
            }
            if !self.start_one(&mut state) {
                drop(state);
                if number == 0 {
                    self.serve_here();
                }
                return;
            }
        }
    }

    fn serve_here(&self) {
        let mut state = self.state();
        let Some(work) = state.work.clone() else { return };
        let worker = state.add_worker();
        drop(state);
        self.serve(worker, work);
    }

    fn start_one(self: &Arc<Self>, state: &mut State<R>) -> bool {
        let Some(work) = state.work.clone() else { return false };
        let worker = state.add_worker();
        let job = Arc::clone(self);
        let started = threads::run(Box::new(move || job.serve(worker, work)));
        if !started {
            state.workers.pop();
        }
        started
    }

    /// Works on items until none are left. Has dropped `work` when it leaves.
    fn serve(&self, number: usize, work: Work<R>) {
        let slot = Arc::clone(&self.state().workers[number].slot);
        let worked = slot.run(|| {
            catch_unwind(AssertUnwindSafe(move || {
                let (mut buffer, mut done) = (Vec::new(), None);
                while let Some(item) = self.exchange(number, done) {
                    done = Some(work(item, &mut buffer));
                }
            }))
        });
        let mut state = self.state();
        if let Err(panic) = worked {
            state.panic = Some(panic);
            state.next = self.count;
        }
        self.leave(number, &mut state);
    }

    /// Stores the result of the previous item, and takes the next.
    fn exchange(&self, number: usize, done: Option<R>) -> Option<usize> {
        let mut state = self.state();
        let State { next, results, workers, .. } = &mut *state;
        let worker = &mut workers[number];
        if worker.status == Status::Abandoned {
            return None;
        }
        if let (Some(done), Some(item)) = (done, worker.item)
            && let Some(result) = results.get_mut(item)
        {
            *result = Some(Ok(done));
        }
        if *next >= self.count {
            return None;
        }
        worker.item = Some(*next);
        *next += 1;
        worker.item
    }

    fn leave(&self, number: usize, state: &mut State<R>) {
        if state.workers[number].status == Status::Working {
            state.workers[number].status = Status::Done;
        }
        if !state.is_worked_on() {
            self.over.notify_all();
        }
    }

    fn wait(&self, limit: Duration) -> bool {
        let is_waiting = |state: &mut State<R>| !state.is_over(self.count);
        let waited = self.over.wait_timeout_while(self.state(), limit, is_waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_over(self.count)
    }

    fn watch(self: &Arc<Self>, tick: Duration) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let (mut moving, mut asleep, mut abandoned) = (0, 0, 0);
        let allowance = allowance::left();
        let is_machine_busy = LazyCell::new(excuse::is_machine_busy);
        for worker in state.workers.iter_mut().filter(|worker| worker.status == Status::Working) {
            match worker.progress() {
                Progress::Moving => moving += 1,
                Progress::Asleep => asleep += 1,
                Progress::Still => {
                    let is_excused = *is_machine_busy || worker.may_run.ask(worker.slot.pid());
                    worker.still += if is_excused { tick } else { tick * CALM };
                    if worker.still < allowance {
                        asleep += 1;
                        continue;
                    }
                    abandoned += 1;
                    worker.status = Status::Abandoned;
                    let stuck = worker.slot.abandon();
                    // It may have stored its result, and be stuck dropping the work.
                    if let Some(result) = worker.item.and_then(|item| state.results.get_mut(item)) {
                        result.get_or_insert(Err(stuck));
                    }
                }
            }
        }
        if moving == 0 && asleep + abandoned > 0 {
            allowance::spend(tick);
        }
        // The others do the rest meanwhile. If many sleep, many more may: the same number is started beside them, so
        // that their waits do not add up.
        let wanted = self.threads.max(asleep);
        while moving < wanted && moving + asleep < MOST_AT_ONCE && state.next < self.count {
            if !self.start_one(state) {
                if !state.is_worked_on() {
                    state.next = self.count;
                }
                break;
            }
            moving += 1;
        }
        state.is_over(self.count)
    }
}

impl<R> State<R> {
    fn add_worker(&mut self) -> usize {
        self.workers.push(Worker::default());
        self.workers.len() - 1
    }

    /// Returns true if a thread that was not abandoned is at work.
    fn is_worked_on(&self) -> bool {
        self.workers.iter().any(|worker| worker.status == Status::Working)
    }

    fn is_over(&self, items: usize) -> bool {
        !self.is_worked_on() && self.next >= items
    }
}

impl Worker {
    /// Returns what it has done since the last check.
    fn progress(&mut self) -> Progress {
        if self.item != self.seen {
            (self.seen, self.still, self.sleeps) = (self.item, Duration::ZERO, None);
            self.may_run = excuse::Question::default();
            return Progress::Moving;
        }
        match self.slot.activity() {
            // It has not started: the machine is busy.
            _ if self.item.is_none() => Progress::Moving,
            Activity::Running => Progress::Moving,
            Activity::Asleep(times) if self.sleeps != Some(times) => {
                self.sleeps = Some(times);
                Progress::Asleep
            }
            Activity::Asleep(_) | Activity::Unknown => Progress::Still,
        }
    }
}

/// What a thread has done since the last check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It has taken another item, or is running.
    Moving,
    /// It sleeps in a different wait than before: it has made progress.
    Asleep,
    /// It sleeps in the same wait.
    Still,
}

#[cfg(test)]
mod tests;
