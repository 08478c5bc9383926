//! Keeps which thread reads which process, and which threads were abandoned: no second thread waits for the same
//! process, and no tenant's processes keep more than a few threads.

use super::tenant::{Class, Tenant};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most threads that may wait for processes of one tenant before no more of these are read.
pub(super) const MOST_OF_ONE_TENANT: usize = 8;

/// The most threads that may wait for processes of one class, of which root's is bounded like a single tenant: no class
/// takes the slots of another. What a tenant holds beyond its share is not counted here, so that it takes no other
/// tenant's slot.
pub(super) const fn most(class: Class) -> usize {
    match class {
        Class::Root => MOST_OF_ONE_TENANT,
        Class::System => 40,
        Class::Outside => 24,
    }
}

/// No process.
const NONE: u32 = u32::MAX;

/// The slot of a thread that reads processes.
#[derive(Debug)]
pub(super) struct Seat {
    /// Its id, once it has started.
    tid: AtomicU32,
    /// The process that it reads.
    pid: AtomicU32,
    /// The owner of that process; unknown until its directory is open.
    tenant: Mutex<Option<Tenant>>,
}

impl Default for Seat {
    fn default() -> Self {
        Self { tid: AtomicU32::new(NONE), pid: AtomicU32::new(NONE), tenant: Mutex::new(None) }
    }
}

thread_local! {
    static SEAT: RefCell<Option<Arc<Seat>>> = const { RefCell::new(None) };
}

/// The abandoned threads, with the processes that they wait for.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// Their number.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Left {
    seat: Arc<Seat>,
    pid: u32,
    tenant: Option<Tenant>,
    /// True if it takes a slot of its class: those beyond its tenant's share do not.
    counts: bool,
}

fn left() -> MutexGuard<'static, Vec<Left>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The activity of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It runs, or waits only for a processor.
    Running,
    /// It is asleep; the number of times it has gone to sleep.
    Asleep(u64),
    /// Unknown.
    Unknown,
}

/// The reason that a process is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// Reading it has not returned.
    #[error(
        "reading /proc/{0} does not return: the process may be in execve or munmap, waiting for a file system that does \
         not answer"
    )]
    Process(u32),
    /// Reading too many others has not returned.
    #[error(
        "reading other processes of the same user, or of ids that one user namespace maps with it, does not return, and no \
         more of them are read"
    )]
    Tenant,
    /// Reading too many others, of several tenants, has not returned.
    #[error("reading too many other processes does not return, and no more are read")]
    Others,
}

/// The most unreadable processes that are named.
const NAMED: usize = 8;

impl Stuck {
    /// Returns the reason behind this error, if it is that reading a process does not return.
    #[must_use]
    pub fn behind(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// Returns the text for several processes whose reading does not return.
    #[must_use]
    pub fn several(pids: &BTreeSet<u32>) -> String {
        if let (Some(&pid), 1) = (pids.first(), pids.len()) {
            return Self::Process(pid).to_string();
        }
        let named: Vec<String> = pids.iter().take(NAMED).map(u32::to_string).collect();
        let further = if pids.len() > NAMED { ", ..." } else { "" };
        format!(
            "reading /proc/PID of {}{further} does not return: the processes may be in execve or munmap, waiting for a file \
             system that does not answer",
            named.join(", ")
        )
    }
}

impl From<Stuck> for io::Error {
    fn from(stuck: Stuck) -> Self {
        Self::new(io::ErrorKind::TimedOut, stuck)
    }
}

impl Seat {
    /// Does `work` in this slot, then clears its mark as abandoned.
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

    /// Returns what the thread is doing.
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

    /// Abandons the thread, and returns the reason.
    pub(super) fn abandon(self: &Arc<Self>) -> Stuck {
        let pid = self.pid.load(Ordering::Relaxed);
        let tenant = self.tenant().clone();
        let mut left = left();
        let of_tenant = tenant.as_ref().map_or(0, |tenant| held(&left, tenant));
        let counts = of_tenant < MOST_OF_ONE_TENANT;
        left.push(Left { seat: Arc::clone(self), pid, tenant, counts });
        COUNT.store(left.len(), Ordering::Relaxed);
        log::info!("reading process {pid} does not return: thread given up ({} in all)", left.len());
        Stuck::Process(pid)
    }

    fn tenant(&self) -> MutexGuard<'_, Option<Tenant>> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the threads that wait for processes of `tenant`.
fn held(left: &[Left], tenant: &Tenant) -> usize {
    left.iter().filter(|left| left.tenant.as_ref().is_some_and(|other| other.is_with(tenant))).count()
}

/// Records that the calling thread is about to read the process `pid`. The thread must be a watched one: every read of
/// a process goes through here.
pub fn begin(pid: u32) {
    SEAT.with_borrow(|seat| {
        debug_assert!(seat.is_some(), "process {pid} is read by a thread that nobody watches");
        if let Some(seat) = seat {
            *seat.tenant() = None;
            seat.pid.store(pid, Ordering::Relaxed);
        }
    });
}

/// Records that it belongs to the user `uid`; an error means that it must not be read. `map` reads its `uid_map`, for
/// which the kernel takes no lock of the process, and is called only while some thread is abandoned.
pub fn enter(pid: u32, uid: u32, map: impl FnOnce() -> Vec<u8>) -> Result<(), Stuck> {
    let others = COUNT.load(Ordering::Relaxed) != 0;
    let tenant = if others { Tenant::new(uid, &map()) } else { Tenant::user(uid) };
    SEAT.with_borrow(|seat| seat.as_ref().map(|seat| *seat.tenant() = Some(tenant.clone())));
    if others { admit(&left(), pid, &tenant) } else { Ok(()) }
}

/// Returns `Ok` if one more process of `tenant` may be read.
fn admit(left: &[Left], pid: u32, tenant: &Tenant) -> Result<(), Stuck> {
    if left.iter().any(|left| left.pid == pid) {
        return Err(Stuck::Process(pid));
    }
    if held(left, tenant) >= MOST_OF_ONE_TENANT {
        return Err(Stuck::Tenant);
    }
    let is_of_class = |left: &&Left| {
        left.counts && left.tenant.as_ref().is_some_and(|other| other.class() == tenant.class())
    };
    if left.iter().filter(is_of_class).count() >= most(tenant.class()) { Err(Stuck::Others) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The threads abandoned after reading processes of these tenants, if none of the reads returns.
    fn after(tenants: impl Iterator<Item = Tenant>) -> Vec<Left> {
        let mut left = Vec::new();
        for (pid, tenant) in (1..).zip(tenants) {
            if admit(&left, pid, &tenant).is_ok() {
                left.push(Left { seat: Arc::default(), pid, tenant: Some(tenant), counts: true });
            }
        }
        left
    }

    #[test]
    fn ids_of_one_user_namespace_have_one_share() {
        let map = b"         0      61000          1\n         1     700000      65536\n";
        let left = after((0..90).map(|number| Tenant::new(700_000 + number % 11, map)));
        assert_eq!(left.len(), MOST_OF_ONE_TENANT);
        // The one who made it is charged for them, and so is a user seen in it first.
        let refused = |tenant: &Tenant| admit(&left, 1000, tenant).is_err();
        assert!(refused(&Tenant::user(61_000)) && refused(&Tenant::user(700_500)));
        assert!(!refused(&Tenant::user(0)) && !refused(&Tenant::user(61_001)));
        // The neighbouring range of ids.
        assert!(!refused(&Tenant::new(765_536, b"0 61001 1\n1 765536 65536\n")));
    }

    #[test]
    fn a_tenant_that_counts_as_many_takes_no_place_of_root_and_of_the_systems_users() {
        let left = after((0..500).map(|number| Tenant::user(70_000 + number)));
        assert_eq!(left.len(), most(Class::Outside));
        assert_eq!(admit(&left, 1000, &Tenant::user(80_000)), Err(Stuck::Others));
        assert_eq!(admit(&left, 1000, &Tenant::user(1000)), Ok(()));
        let left = after((0..500).map(|number| Tenant::user(1000 + number)));
        assert_eq!(left.len(), most(Class::System));
        assert_eq!(admit(&left, 1000, &Tenant::user(0)), Ok(()));
        assert_eq!(admit(&left, 1000, &Tenant::user(80_000)), Ok(()));
    }
}
