//! Keeps which thread reads which process, and which threads were abandoned: no second thread waits for the same
//! process, and no tenant's processes keep more than a few threads.

use super::tenant::{Class, Tenant};
use crate::kernel::status::{number, state};
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
pub(super) struct Slot {
    /// Its id, once it has started.
    tid: AtomicU32,
    /// The process that it reads.
    pid: AtomicU32,
    /// The owner of that process; unknown until its directory is open.
    tenant: Mutex<Option<Tenant>>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { tid: AtomicU32::new(NONE), pid: AtomicU32::new(NONE), tenant: Mutex::new(None) }
    }
}

thread_local! {
    static SLOT: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

/// The abandoned threads, with the processes that they wait for.
static ABANDONED: Mutex<Vec<AbandonedThread>> = Mutex::new(Vec::new());

/// Their number.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct AbandonedThread {
    slot: Arc<Slot>,
    pid: u32,
    tenant: Option<Tenant>,
    /// True if it takes a slot of its class: those beyond its tenant's share do not.
    counts: bool,
}

fn abandoned() -> MutexGuard<'static, Vec<AbandonedThread>> {
    ABANDONED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The activity of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
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
        "reading /proc/{0} does not return in time: the process may be in execve or munmap, waiting for a file system that does \
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
            "reading /proc/PID of {}{further} does not return in time: the processes may be in execve or munmap, waiting for a file \
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

impl Slot {
    /// Does `work` in this slot, then clears its mark as abandoned.
    pub(super) fn run<R>(self: &Arc<Self>, work: impl FnOnce() -> R) -> R {
        self.tid.store(nix::unistd::gettid().as_raw().unsigned_abs(), Ordering::Relaxed);
        let former = SLOT.replace(Some(Arc::clone(self)));
        let result = work();
        SLOT.set(former);
        let mut abandoned = abandoned();
        abandoned.retain(|abandoned| !Arc::ptr_eq(&abandoned.slot, self));
        COUNT.store(abandoned.len(), Ordering::Relaxed);
        result
    }

    /// Returns what the thread is doing.
    pub(super) fn activity(&self) -> Activity {
        let tid = self.tid.load(Ordering::Relaxed);
        let status = std::fs::read(format!("/proc/self/task/{tid}/status")).unwrap_or_default();
        match (state(&status), number(&status, "voluntary_ctxt_switches")) {
            (Some('R'), _) => Activity::Running,
            (Some(_), Some(times)) => Activity::Asleep(times),
            _ => Activity::Unknown,
        }
    }

    /// Returns the process that the thread reads.
    pub(super) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Abandons the thread, and returns the reason.
    pub(super) fn abandon(self: &Arc<Self>) -> Stuck {
        let pid = self.pid();
        let tenant = self.tenant().clone();
        let mut abandoned = abandoned();
        let of_tenant = tenant.as_ref().map_or(0, |tenant| held(&abandoned, tenant));
        let counts = of_tenant < MOST_OF_ONE_TENANT;
        abandoned.push(AbandonedThread { slot: Arc::clone(self), pid, tenant, counts });
        COUNT.store(abandoned.len(), Ordering::Relaxed);
        log::info!("reading process {pid} does not return: thread abandoned ({} in total)", abandoned.len());
        Stuck::Process(pid)
    }

    fn tenant(&self) -> MutexGuard<'_, Option<Tenant>> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the threads that wait for processes of `tenant`.
fn held(abandoned: &[AbandonedThread], tenant: &Tenant) -> usize {
    abandoned
        .iter()
        .filter(|abandoned| abandoned.tenant.as_ref().is_some_and(|other| other.is_with(tenant)))
        .count()
}

/// Records that the calling thread is about to read the process `pid`. The thread must be a watched one: every read of
/// a process goes through here.
pub fn begin(pid: u32) {
    SLOT.with_borrow(|slot| {
        debug_assert!(slot.is_some(), "process {pid} is read by an unwatched thread");
        if let Some(slot) = slot {
            *slot.tenant() = None;
            slot.pid.store(pid, Ordering::Relaxed);
        }
    });
}

/// Records that it belongs to the user `uid`; an error means that it must not be read. `map` reads its `uid_map`, for
/// which the kernel takes no lock of the process, and is called only while some thread is abandoned.
pub fn enter(pid: u32, uid: u32, map: impl FnOnce() -> Vec<u8>) -> Result<(), Stuck> {
    let others = COUNT.load(Ordering::Relaxed) != 0;
    let tenant = if others { Tenant::new(uid, &map()) } else { Tenant::user(uid) };
    SLOT.with_borrow(|slot| slot.as_ref().map(|slot| *slot.tenant() = Some(tenant.clone())));
    if others { admit(&abandoned(), pid, &tenant) } else { Ok(()) }
}

/// Returns `Ok` if one more process of `tenant` may be read.
fn admit(abandoned: &[AbandonedThread], pid: u32, tenant: &Tenant) -> Result<(), Stuck> {
    if abandoned.iter().any(|abandoned| abandoned.pid == pid) {
        return Err(Stuck::Process(pid));
    }
    if held(abandoned, tenant) >= MOST_OF_ONE_TENANT {
        return Err(Stuck::Tenant);
    }
    let is_of_class = |abandoned: &&AbandonedThread| {
        abandoned.counts && abandoned.tenant.as_ref().is_some_and(|other| other.class() == tenant.class())
    };
    if abandoned.iter().filter(is_of_class).count() >= most(tenant.class()) {
        Err(Stuck::Others)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The threads abandoned after reading processes of these tenants, if none of the reads returns.
    fn after(tenants: impl Iterator<Item = Tenant>) -> Vec<AbandonedThread> {
        let mut abandoned = Vec::new();
        for (pid, tenant) in (1..).zip(tenants) {
            if admit(&abandoned, pid, &tenant).is_ok() {
                abandoned.push(AbandonedThread {
                    slot: Arc::default(),
                    pid,
                    tenant: Some(tenant),
                    counts: true,
                });
            }
        }
        abandoned
    }

    #[test]
    fn ids_of_one_user_namespace_have_one_share() {
        let map = b"         0      61000          1\n         1     700000      65536\n";
        let abandoned = after((0..90).map(|number| Tenant::new(700_000 + number % 11, map)));
        assert_eq!(abandoned.len(), MOST_OF_ONE_TENANT);
        // The one who made it is charged for them, and so is a user seen in it first.
        let refused = |tenant: &Tenant| admit(&abandoned, 1000, tenant).is_err();
        assert!(refused(&Tenant::user(61_000)) && refused(&Tenant::user(700_500)));
        assert!(!refused(&Tenant::user(0)) && !refused(&Tenant::user(61_001)));
        // The neighbouring range of ids.
        assert!(!refused(&Tenant::new(765_536, b"0 61001 1\n1 765536 65536\n")));
    }

    #[test]
    fn a_tenant_that_counts_as_many_takes_no_place_of_root_and_of_the_systems_users() {
        let abandoned = after((0..500).map(|number| Tenant::user(70_000 + number)));
        assert_eq!(abandoned.len(), most(Class::Outside));
        assert_eq!(admit(&abandoned, 1000, &Tenant::user(80_000)), Err(Stuck::Others));
        assert_eq!(admit(&abandoned, 1000, &Tenant::user(1000)), Ok(()));
        let abandoned = after((0..500).map(|number| Tenant::user(1000 + number)));
        assert_eq!(abandoned.len(), most(Class::System));
        assert_eq!(admit(&abandoned, 1000, &Tenant::user(0)), Ok(()));
        assert_eq!(admit(&abandoned, 1000, &Tenant::user(80_000)), Ok(()));
    }
}
