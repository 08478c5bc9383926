//! Which thread reads which process, and which of them have been left behind: no second thread waits for the same process,
//! and no user's processes keep more than a few.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many threads may wait for processes of one user before no more of these are read.
const MOST_OF_ONE_USER: usize = 8;

/// So many may wait for processes of all users.
const MOST: usize = 64;

/// No process, and no user.
const NONE: u32 = u32::MAX;

/// Where a thread sits that reads processes.
#[derive(Debug)]
pub(super) struct Seat {
    /// Its id, once it has begun.
    tid: AtomicU32,
    /// The process that it reads.
    pid: AtomicU32,
    /// Whose that process is.
    uid: AtomicU32,
}

impl Default for Seat {
    fn default() -> Self {
        Self { tid: AtomicU32::new(NONE), pid: AtomicU32::new(NONE), uid: AtomicU32::new(NONE) }
    }
}

thread_local! {
    static SEAT: RefCell<Option<Arc<Seat>>> = const { RefCell::new(None) };
}

/// The seats of those that were left behind, with the processes that they wait for.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Left {
    seat: Arc<Seat>,
    pid: u32,
    uid: u32,
}

fn left() -> MutexGuard<'static, Vec<Left>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It has the processor, or waits for nothing but that.
    Running,
    /// It is asleep, for the so-manieth time.
    Asleep(u64),
    /// This cannot be seen.
    Unknown,
}

/// Why a process is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// Reading it has not come back.
    #[error(
        "reading /proc/{0} does not return: the process may be in execve or munmap, waiting for a file system that does \
         not answer"
    )]
    Process(u32),
    /// Reading too many others has not come back.
    #[error("not read, because reading {0} other processes of user {1} does not return")]
    User(usize, u32),
    /// Nor that of all others.
    #[error("not read, because reading {0} other processes does not return")]
    Others(usize),
}

impl Stuck {
    /// Of what no thread has come to.
    pub(super) fn not_begun() -> Self {
        Self::Others(COUNT.load(Ordering::Relaxed))
    }
}

impl From<Stuck> for io::Error {
    fn from(stuck: Stuck) -> Self {
        Self::new(io::ErrorKind::TimedOut, stuck)
    }
}

impl Seat {
    /// Does `work`, sitting here; whoever had left this seat behind knows then that it has come back.
    pub(super) fn occupied<R>(self: &Arc<Self>, work: impl FnOnce() -> R) -> R {
        self.tid.store(nix::unistd::gettid().as_raw().unsigned_abs(), Ordering::Relaxed);
        let former = SEAT.replace(Some(Arc::clone(self)));
        let result = work();
        SEAT.set(former);
        let mut left = left();
        left.retain(|left| !Arc::ptr_eq(&left.seat, self));
        COUNT.store(left.len(), Ordering::Relaxed);
        result
    }

    /// What the thread is doing.
    pub(super) fn doing(&self) -> Doing {
        let tid = self.tid.load(Ordering::Relaxed);
        let status = std::fs::read(format!("/proc/self/task/{tid}/status")).unwrap_or_default();
        let value = |name: &[u8]| {
            let mut lines = status.split(|&byte| byte == b'\n');
            std::str::from_utf8(lines.find_map(|line| line.strip_prefix(name))?).ok().map(str::trim)
        };
        match (value(b"State:"), value(b"voluntary_ctxt_switches:").and_then(|count| count.parse().ok())) {
            (Some(state), _) if state.starts_with('R') => Doing::Running,
            (Some(_), Some(times)) => Doing::Asleep(times),
            _ => Doing::Unknown,
        }
    }

    /// Leaves the thread behind, and says why.
    pub(super) fn abandon(self: &Arc<Self>) -> Stuck {
        let (pid, uid) = (self.pid.load(Ordering::Relaxed), self.uid.load(Ordering::Relaxed));
        let mut left = left();
        left.push(Left { seat: Arc::clone(self), pid, uid });
        COUNT.store(left.len(), Ordering::Relaxed);
        log::info!(
            "reading process {pid} of user {uid} does not return: thread given up ({} in all)",
            left.len()
        );
        Stuck::Process(pid)
    }
}

/// Notes that the calling thread is about to read the process `pid`. It has to be one that is watched: everything that is
/// read of a process comes through here.
pub fn begin(pid: u32) {
    SEAT.with_borrow(|seat| {
        debug_assert!(seat.is_some(), "process {pid} is read by a thread that nobody watches");
        if let Some(seat) = seat {
            seat.uid.store(NONE, Ordering::Relaxed);
            seat.pid.store(pid, Ordering::Relaxed);
        }
    });
}

/// Notes that it is the user `uid`'s; the error says that it is not to be read.
pub fn enter(pid: u32, uid: u32) -> Result<(), Stuck> {
    SEAT.with_borrow(|seat| seat.as_ref().map(|seat| seat.uid.store(uid, Ordering::Relaxed)));
    if COUNT.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let left = left();
    let of_user = || left.iter().filter(|left| left.uid == uid).count();
    if left.iter().any(|left| left.pid == pid) {
        Err(Stuck::Process(pid))
    } else if of_user() >= MOST_OF_ONE_USER {
        Err(Stuck::User(of_user(), uid))
    } else if left.len() >= MOST {
        Err(Stuck::Others(left.len()))
    } else {
        Ok(())
    }
}
