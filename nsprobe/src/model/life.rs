//! What tells one life of a namespace from another that had its number before.

use crate::model::{NsId, Pid, Slots};
use std::fmt;
use std::time::Duration;

/// A namespace from its making to its end. Its text is the *key* that `list`, `tree`, `diff` and `trace` share:
/// `net#77` where the kernel has given it an id (Linux 6.18), else `net:4026532177@81.004512000` where it was seen
/// being made, else `net:4026532177`.
///
/// Two keys are comparable within one boot. The last of the three forms is that of whoever has its number then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /// Its number, while it lives.
    pub id: NsId,
    /// What no other life has.
    pub mark: Mark,
}

/// What is known of a namespace that no other which has its number, before or after, has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mark {
    /// The kernel's id, unique since boot: `ns_common.ns_id`, `NS_GET_ID` of ioctl_nsfs(2), Linux 6.18.
    Id(u64),
    /// When the call that made it returned: `CLOCK_BOOTTIME`.
    Made(Duration),
    /// Nothing.
    #[default]
    Unknown,
}

impl Mark {
    /// The mark of a namespace with this id, of which 0 is none.
    #[must_use]
    pub const fn of_id(id: u64) -> Self {
        if id == 0 { Self::Unknown } else { Self::Id(id) }
    }

    /// The kernel's id, where that is the mark.
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

/// A namespace that is told of for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Which.
    pub namespace: Life,
    /// The user namespace that owns it; of a user namespace, its parent. `None` when that is not known.
    pub owner: Option<Life>,
    /// How it came.
    pub by: Origination,
}

/// How a namespace came into the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origination {
    /// The call of the event before made it.
    Call {
        /// The call's name.
        name: &'static str,
        /// The process that called.
        pid: Pid,
    },
    /// Its making was not seen: it is older than the stream, or the call was lost.
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

    /// Who called, where that was seen.
    #[must_use]
    pub const fn pid(self) -> Option<Pid> {
        match self {
            Self::Call { pid, .. } => Some(pid),
            Self::FirstSeen => None,
        }
    }
}

/// A namespace that has ended, whatever kept it: its number may be given to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// Which.
    pub namespace: Life,
    /// How long it lived; `None` when its making was not seen, or its end was not.
    pub age: Option<Duration>,
    /// Whether the end itself was seen. When not, it came before the line that tells of it.
    pub seen: bool,
}

/// The key.
impl fmt::Display for Life {
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
    fn a_key_has_what_is_known_best() {
        let key = |mark| Life { id: NsId::new(NsKind::Net, 4, 4_026_532_177), mark }.to_string();
        assert_eq!(key(Mark::of_id(77)), "net#77");
        assert_eq!(key(Mark::Made(Duration::new(81, 4_512_000))), "net:4026532177@81.004512000");
        assert_eq!(key(Mark::of_id(0)), "net:4026532177");
    }
}
