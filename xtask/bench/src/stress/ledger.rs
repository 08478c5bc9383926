//! The namespaces that existed, and when: the reference for nsprobe's reports.

use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time for which a namespace may still be in use after its last user has let go of it: an exiting task is torn
/// down a moment after others hear of it, and on a machine with more work than processors that takes long.
const GRACE: Duration = Duration::from_secs(1);
/// The time for which the kernel may keep a namespace that nobody uses: credentials, sockets and pids are freed, and
/// let go of it, after an RCU grace period or by a work queue.
pub const LINGERS: Duration = Duration::from_secs(15);

/// A namespace's kind and inode, as in `net:[4026531833]`. The kernel reuses an inode within milliseconds, so it is
/// unique only together with a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ns {
    kind: String,
    ino: u64,
}

impl Ns {
    /// The namespace of this kind and inode.
    pub fn new(kind: &str, ino: u64) -> Self {
        Self { kind: kind.to_owned(), ino }
    }

    /// Parses the text of a link in `/proc/PID/ns`.
    pub fn parse(link: &str) -> Option<Self> {
        let (kind, ino) = link.strip_suffix(']')?.split_once(":[")?;
        Some(Self::new(kind, ino.parse().ok()?))
    }
}

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[{}]", self.kind, self.ino)
    }
}

/// A time span in which something may have existed: its begin, and its end if that is known.
type Lifetime = (Duration, Option<Duration>);

/// All namespaces that existed, with their times.
pub struct Ledger {
    start: Instant,
    lifetimes: Mutex<HashMap<Ns, Vec<Lifetime>>>,
}

impl Ledger {
    /// An empty ledger, whose time begins now.
    pub fn new() -> Self {
        Self { start: Instant::now(), lifetimes: Mutex::default() }
    }

    /// The time, by this ledger's clock.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Records that these namespaces exist, since `from` at the earliest, until the result is dropped.
    pub fn stay(&self, from: Duration, of: Vec<Ns>) -> Stay<'_> {
        let mut lifetimes = self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner);
        for ns in &of {
            lifetimes.entry(ns.clone()).or_default().push((from, None));
        }
        Stay { ledger: self, from, of }
    }

    /// True if a namespace existed at some time from `from` to `to`, or may have. With `used` it must have been in
    /// use then.
    pub fn existed(&self, ns: &Ns, (from, to): (Duration, Duration), used: bool) -> bool {
        let lifetimes = self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner);
        let after = if used { GRACE } else { LINGERS };
        let overlaps = |&(born, gone): &Lifetime| born <= to && gone.is_none_or(|gone| gone + after >= from);
        lifetimes.get(ns).is_some_and(|lifetimes| lifetimes.iter().any(overlaps))
    }

    /// Describes what is known of a namespace that did not exist from `from` to `to`.
    pub fn describe(&self, ns: &Ns, (from, to): (Duration, Duration)) -> String {
        let lifetimes = self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner);
        let lifetimes = lifetimes.get(ns).map(Vec::as_slice).unwrap_or_default();
        let before = lifetimes.iter().filter_map(|&(_, gone)| from.checked_sub(gone?)).min();
        let after = lifetimes.iter().filter_map(|&(born, _)| born.checked_sub(to)).min();
        match (before, after) {
            (None, None) => "nobody has recorded it".to_owned(),
            (Some(before), _) => format!("one with that inode ended {before:.1?} before"),
            (None, Some(after)) => format!("one with that inode began {after:.1?} later"),
        }
    }

    /// Forgets lifetimes that ended before `time`. Returns the number of those left.
    pub fn forget(&self, time: Duration) -> usize {
        let mut lifetimes = self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner);
        lifetimes.retain(|_, lifetimes| {
            lifetimes.retain(|&(_, gone)| gone.is_none_or(|gone| gone >= time));
            !lifetimes.is_empty()
        });
        lifetimes.values().map(Vec::len).sum()
    }
}

/// Some namespaces, for as long as they exist: dropped after everything that keeps them alive.
pub struct Stay<'ledger> {
    ledger: &'ledger Ledger,
    from: Duration,
    of: Vec<Ns>,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let now = self.ledger.now();
        let mut lifetimes = self.ledger.lifetimes.lock().unwrap_or_else(PoisonError::into_inner);
        for ns in &self.of {
            let open = |&&mut (from, gone): &&mut Lifetime| from == self.from && gone.is_none();
            if let Some(lifetime) =
                lifetimes.get_mut(ns).and_then(|lifetimes| lifetimes.iter_mut().find(open))
            {
                lifetime.1 = Some(now);
            }
        }
    }
}

/// The namespace that a part of a document stands for.
pub fn ns(reference: &Value) -> Option<Ns> {
    Some(Ns::new(reference["kind"].as_str()?, reference["ino"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn links_are_parsed_as_they_are_written() {
        let ns = Ns::parse("net:[4026531833]").expect("a link");
        assert_eq!(ns, Ns::new("net", 4_026_531_833));
        assert_eq!(ns.to_string(), "net:[4026531833]");
        for wrong in ["", "net:[]", "net:[1", "net 1", "/dev/null", "pipe:[x]"] {
            assert_eq!(Ns::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_recorded_namespaces_existed_and_only_then() {
        let ledger = Ledger::new();
        let (net, uts) = (Ns::new("net", 7), Ns::new("uts", 7));
        let stay = ledger.stay(5 * SECOND, vec![net.clone()]);
        assert!(ledger.existed(&net, (SECOND, 5 * SECOND), true));
        assert!(ledger.existed(&net, (100 * SECOND, 101 * SECOND), true), "it has no end yet");
        assert!(!ledger.existed(&net, (SECOND, 4 * SECOND), true), "before it began");
        assert!(!ledger.existed(&uts, (SECOND, 9 * SECOND), true), "another kind with the same inode");
        assert_eq!(ledger.describe(&uts, (SECOND, 9 * SECOND)), "nobody has recorded it");
        assert_eq!(ledger.describe(&net, (SECOND, 4 * SECOND)), "one with that inode began 1.0s later");
        drop(stay);
        let later = |after: Duration| (ledger.now() + after, ledger.now() + after + 9 * SECOND);
        assert!(!ledger.existed(&net, later(2 * GRACE), true), "after its end");
        assert!(ledger.existed(&net, later(2 * GRACE), false), "the kernel may still have it");
        assert!(!ledger.existed(&net, later(2 * LINGERS), false), "but not so long");
        assert_eq!(ledger.forget(ledger.now() + SECOND), 0);
        assert!(!ledger.existed(&net, (SECOND, 9 * SECOND), true));
    }

    #[test]
    fn one_inode_has_many_lifetimes() {
        let ledger = Ledger::new();
        let net = Ns::new("net", 7);
        let first = ledger.stay(Duration::ZERO, vec![net.clone(), net.clone()]);
        let second = ledger.stay(SECOND, vec![net.clone()]);
        drop(first);
        assert!(ledger.existed(&net, (50 * SECOND, 51 * SECOND), true), "the second goes on");
        assert_eq!(ledger.forget(100 * SECOND), 1);
        drop(second);
        assert_eq!(ledger.forget(100 * SECOND), 0);
    }
}
