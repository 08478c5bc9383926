//! Keys: the identity of a namespace, distinct from others that had the same inode before.

use crate::model::{NsId, Pid, Slots};
use std::fmt;
use std::time::Duration;

/// A namespace from its creation to its end. Its text is the *key* that `list`, `tree`, `diff` and `trace` share:
/// `net#77` if the kernel gave it an id (Linux 6.18), else `net:4026532177@81.004512000` if its creation was seen, else
/// `net:4026532177`.
///
/// Two keys are comparable within one boot. The last form names whichever namespace has the inode at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NsKey {
    /// Its identity while it exists; the inode is reused after its end.
    pub id: NsId,
    /// The part of the key that is never reused.
    pub mark: Mark,
}

/// A property that distinguishes a namespace from all others that have its inode before or after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mark {
    /// The kernel's id, unique since boot: `ns_common.ns_id`, `NS_GET_ID` of ioctl_nsfs(2), Linux 6.18.
    Id(u64),
    /// The return time of the call that created it: `CLOCK_BOOTTIME`.
    Made(Duration),
    /// None known.
    #[default]
    Unknown,
}

impl Mark {
    /// The mark of a namespace with this id; 0 means no id.
    #[must_use]
    pub const fn of_id(id: u64) -> Self {
        if id == 0 { Self::Unknown } else { Self::Id(id) }
    }

    /// The kernel's id, if that is the mark.
    #[must_use]
    pub const fn kernel_id(self) -> Option<u64> {
        match self {
            Self::Id(id) => Some(id),
            Self::Made(_) | Self::Unknown => None,
        }
    }
}

/// The marks of the namespaces before and after a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotMarks {
    /// At entry.
    pub before: Slots<Mark>,
    /// At return.
    pub after: Slots<Mark>,
}

/// The first report of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The namespace.
    pub namespace: NsKey,
    /// The user namespace that owns it; for a user namespace, its parent. `None` if unknown.
    pub owner: Option<NsKey>,
    /// Its origin.
    pub by: Origination,
}

/// The reason why a namespace was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origination {
    /// The call of the preceding event created it.
    Call {
        /// The call's name.
        name: &'static str,
        /// The calling process.
        pid: Pid,
    },
    /// Its creation was not seen: it is older than the stream, or the event was lost.
    FirstSeen,
}

impl Origination {
    /// Its name in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call { name, .. } => name,
            Self::FirstSeen => "first seen",
        }
    }

    /// The calling process, if seen.
    #[must_use]
    pub const fn pid(self) -> Option<Pid> {
        match self {
            Self::Call { pid, .. } => Some(pid),
            Self::FirstSeen => None,
        }
    }
}

/// The end of a namespace: nothing holds it any longer, and its inode may be reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// The namespace.
    pub namespace: NsKey,
    /// Its lifetime; `None` if its creation or its end was not seen.
    pub age: Option<Duration>,
    /// True if the end itself was seen. If not, it happened before the line that reports it.
    pub seen: bool,
}

/// The key.
impl fmt::Display for NsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NsId { kind, ino, .. } = self.id;
        match self.mark {
            Mark::Id(id) => write!(f, "{kind}#{id}"),
            Mark::Made(at) => write!(f, "{kind}:{ino}@{}.{:09}", at.as_secs(), at.subsec_nanos()),
            Mark::Unknown => write!(f, "{kind}:{ino}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NsKind;

    #[test]
    fn key_uses_the_best_known_mark() {
        let key = |mark| NsKey { id: NsId::new(NsKind::Net, 4, 4_026_532_177), mark }.to_string();
        assert_eq!(key(Mark::of_id(77)), "net#77");
        assert_eq!(key(Mark::Made(Duration::new(81, 4_512_000))), "net:4026532177@81.004512000");
        assert_eq!(key(Mark::of_id(0)), "net:4026532177");
    }
}
