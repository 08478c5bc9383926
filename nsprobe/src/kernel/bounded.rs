//! Reads of other processes, each bounded in time.
//!
//! A process decides how long others wait that read its `/proc/PID`: while it is in execve(2) the kernel holds a lock of it,
//! and closes files meanwhile whose file system's server may not answer; in munmap(2) likewise another one. Who waits for
//! those waits until the process goes on, or is killed itself: a thread cannot be called back. So processes are read by
//! threads of their own, which the caller watches. One that makes no progress is left behind, what it was reading is
//! [`Stuck`], and another thread goes on with the rest.
//!
//! Nobody waits for a thread that is left behind: the end of nsprobe ends it as well, because these waits of the kernel end
//! with a fatal signal.

mod registry;
mod tenant;
mod threads;

use registry::{Doing, Seat};
pub use registry::{Stuck, begin, enter};
use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// How often threads are looked at that have not come to their ends.
const TICK: Duration = Duration::from_millis(20);

/// For so many ticks a thread may sleep in one and the same wait: a quarter of a second.
const PATIENCE: u32 = 12;

/// How many items make a thread worth starting: it costs as much as reading two processes does.
const WORTH_A_THREAD: usize = 128;

/// More threads than this wait for each other's memory rather than the kernel for its own.
const MOST_THREADS: usize = 8;

/// More threads than this are never at work on the items of one reading, whether they make progress or not.
const MOST_AT_ONCE: usize = 32;

/// What `work` makes of each of the `items`, in their order. It gets a buffer that it may use for whatever it likes.
pub fn each<T: Send + Sync + 'static, R: Send + 'static>(
    items: Vec<T>,
    work: impl Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
) -> Vec<Result<R, Stuck>> {
    let mut reading = Reading::begin(items, work);
    while !reading.wait(Duration::MAX) {}
    reading.take()
}

/// What `work` makes of one thing.
pub fn one<R: Send + 'static>(work: impl Fn(&mut Vec<u8>) -> R + Send + Sync + 'static) -> Result<R, Stuck> {
    let mut results = each(vec![()], move |(), buffer| work(buffer));
    results.pop().unwrap_or(Err(Stuck::Others))
}

/// Work that has begun, in threads of its own.
pub struct Reading<R> {
    job: Arc<dyn Watched<R>>,
    last: Instant,
}

impl<R: Send + 'static> Reading<R> {
    /// Begins it.
    pub fn begin<T: Send + Sync + 'static>(
        items: Vec<T>,
        work: impl Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
    ) -> Self {
        let threads = match items.len() / WORTH_A_THREAD {
            // To ask for the processors takes more calls than to read a process.
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
        let results = items.iter().map(|_| None).collect();
        let state = State { next: 0, results, posts: Vec::new(), working: 0, panic: None };
        let job = Job { items, work, threads, state: Mutex::new(state), over: Condvar::new() };
        let job = Arc::new(job);
        job.clone().start(threads);
        Self { job, last: Instant::now() }
    }

    /// Waits for its end, but no longer than `limit`; returns whether it has come.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let since = self.last.elapsed();
        let is_over = self.job.wait(limit.min(TICK.saturating_sub(since)));
        if !is_over && self.last.elapsed() >= TICK {
            self.last = Instant::now();
            return Arc::clone(&self.job).watch();
        }
        is_over
    }

    /// The results, in the order of the items. What has not come is stuck.
    #[must_use]
    pub fn take(self) -> Vec<Result<R, Stuck>> {
        self.job.take()
    }
}

impl<R> Drop for Reading<R> {
    fn drop(&mut self) {
        self.job.cancel();
    }
}

/// A job, whatever its items are.
trait Watched<R>: Send + Sync {
    fn wait(&self, limit: Duration) -> bool;
    fn watch(self: Arc<Self>) -> bool;
    fn take(&self) -> Vec<Result<R, Stuck>>;
    fn cancel(&self);
}

struct Job<T, R, F> {
    items: Vec<T>,
    work: F,
    threads: usize,
    state: Mutex<State<R>>,
    /// Notified when nobody works on it any more.
    over: Condvar,
}

struct State<R> {
    /// The item that nobody has taken yet.
    next: usize,
    results: Vec<Option<Result<R, Stuck>>>,
    posts: Vec<Post>,
    /// How many threads are at work that have not been left behind.
    working: usize,
    /// What a thread panicked with.
    panic: Option<Box<dyn Any + Send>>,
}

/// One thread's part.
struct Post {
    seat: Arc<Seat>,
    status: Status,
    item: usize,
    /// How many items it has taken, and how many it had when it was looked at last.
    taken: u64,
    seen: u64,
    /// How often it was asleep since it took the item.
    still: u32,
    /// How often it had gone to sleep when it was looked at last.
    sleeps: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Working,
    Left,
    Abandoned,
}

impl<T, R, F> Job<T, R, F>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
    F: Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
{
    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `count` threads begin. Where none can be started the calling thread does the work: then nothing can be bounded.
    fn start(self: Arc<Self>, count: usize) {
        for number in 0..count {
            let mut state = self.state();
            if state.next >= self.items.len() {
                return;
            }
            if !self.start_one(&mut state) {
                drop(state);
                if number == 0 {
                    let post = self.state().post();
                    self.serve(post);
                }
                return;
            }
        }
    }

    fn start_one(self: &Arc<Self>, state: &mut State<R>) -> bool {
        let post = state.post();
        let job = Arc::clone(self);
        let started = threads::run(Box::new(move || job.serve(post)));
        if !started {
            state.posts.pop();
            state.working -= 1;
        }
        started
    }

    /// Takes items until there are none.
    fn serve(&self, number: usize) {
        let seat = Arc::clone(&self.state().posts[number].seat);
        let worked = seat.occupied(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let (mut buffer, mut done) = (Vec::new(), None);
                while let Some(item) = self.exchange(number, done) {
                    done = Some((self.work)(&self.items[item], &mut buffer));
                }
            }))
        });
        if let Err(panic) = worked {
            let mut state = self.state();
            state.panic = Some(panic);
            state.next = self.items.len();
            self.leave(number, &mut state);
        }
    }

    /// Takes the next item, and gives what came of the one before.
    fn exchange(&self, number: usize, done: Option<R>) -> Option<usize> {
        let mut state = self.state();
        let State { next, results, posts, .. } = &mut *state;
        let post = &mut posts[number];
        if post.status == Status::Abandoned {
            return None;
        }
        if let Some(result) = done {
            results[post.item] = Some(Ok(result));
        }
        if *next < self.items.len() {
            post.item = *next;
            post.taken += 1;
            *next += 1;
            return Some(post.item);
        }
        self.leave(number, &mut state);
        None
    }

    fn leave(&self, number: usize, state: &mut State<R>) {
        if state.posts[number].status == Status::Working {
            state.posts[number].status = Status::Left;
            state.working -= 1;
        }
        if state.working == 0 {
            self.over.notify_all();
        }
    }
}

impl<R> State<R> {
    fn post(&mut self) -> usize {
        self.working += 1;
        self.posts.push(Post {
            seat: Arc::default(),
            status: Status::Working,
            item: 0,
            taken: 0,
            seen: 0,
            still: 0,
            sleeps: None,
        });
        self.posts.len() - 1
    }

    fn is_over(&self, items: usize) -> bool {
        self.working == 0 && self.next >= items
    }
}

impl Post {
    /// Whether it has taken another item since it was asked last, or is at work. Counts how often it has not been.
    fn is_on_its_way(&mut self) -> bool {
        if self.taken != self.seen {
            (self.seen, self.still, self.sleeps) = (self.taken, 0, None);
            return true;
        }
        match self.seat.doing() {
            // It has not begun: the machine is busy.
            _ if self.taken == 0 => return true,
            Doing::Running => return true,
            // In another wait than before: it has got on, though it sleeps now.
            Doing::Asleep(times) if self.sleeps != Some(times) => self.sleeps = Some(times),
            Doing::Asleep(_) | Doing::Unknown => self.still += 1,
        }
        false
    }
}

impl<T, R, F> Watched<R> for Job<T, R, F>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
    F: Fn(&T, &mut Vec<u8>) -> R + Send + Sync + 'static,
{
    fn wait(&self, limit: Duration) -> bool {
        let is_waiting = |state: &mut State<R>| !state.is_over(self.items.len());
        let waited = self.over.wait_timeout_while(self.state(), limit, is_waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_over(self.items.len())
    }

    fn watch(self: Arc<Self>) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let (mut moving, mut asleep) = (0, 0);
        for post in state.posts.iter_mut().filter(|post| post.status == Status::Working) {
            if post.is_on_its_way() {
                moving += 1;
            } else if post.still < PATIENCE {
                asleep += 1;
            } else {
                post.status = Status::Abandoned;
                state.working -= 1;
                state.results[post.item] = Some(Err(post.seat.abandon()));
            }
        }
        // The others do the rest meanwhile. Where many sleep many more may: as many again wait side by side with them, so that
        // their waits do not add up.
        let wanted = self.threads.max(asleep);
        while moving < wanted && moving + asleep < MOST_AT_ONCE && state.next < self.items.len() {
            if !self.start_one(state) {
                if state.working == 0 {
                    state.next = self.items.len();
                }
                break;
            }
            moving += 1;
        }
        state.is_over(self.items.len())
    }

    fn take(&self) -> Vec<Result<R, Stuck>> {
        let mut state = self.state();
        if let Some(panic) = state.panic.take() {
            drop(state);
            resume_unwind(panic);
        }
        let results = std::mem::take(&mut state.results);
        state.results = results.iter().map(|_| None).collect();
        results.into_iter().map(|result| result.unwrap_or(Err(Stuck::Others))).collect()
    }

    fn cancel(&self) {
        self.state().next = self.items.len();
    }
}

#[cfg(test)]
mod tests;
