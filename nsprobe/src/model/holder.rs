//! What a namespace's holders tell: by what it is held, and how to get at it.

use crate::model::{Holder, Namespace, Pid, Text};

impl Holder {
    /// The holder's `type` in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Thread { .. } => "thread",
            Self::ForChildren { .. } => "for_children",
            Self::Descriptor { .. } => "descriptor",
            Self::Socket { .. } => "socket",
            Self::BindMount { .. } => "bind_mount",
            Self::Ancestor { .. } => "ancestor",
        }
    }

    /// The process that holds it, where it is one.
    #[must_use]
    pub const fn pid(&self) -> Option<Pid> {
        match *self {
            Self::Thread { pid, .. }
            | Self::ForChildren { pid, .. }
            | Self::Descriptor { pid, .. }
            | Self::Socket { pid, .. } => Some(pid),
            Self::BindMount { .. } | Self::Ancestor { .. } => None,
        }
    }
}

impl Namespace {
    /// Where its file is mounted; once, also when many mount namespaces have it at the same place.
    #[must_use]
    pub fn mounts(&self) -> Vec<Text> {
        let paths = self.holders.iter().filter_map(|holder| match holder {
            Holder::BindMount { path, .. } => Some(path.clone()),
            _ => None,
        });
        let mut paths: Vec<_> = paths.collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// A path by which it can be opened: by its leader, or through what holds it.
    #[must_use]
    pub fn path(&self) -> Option<Text> {
        let kind = self.id.kind;
        let through = |holder: &Holder| match holder {
            Holder::Thread { pid, tid } => Some(format!("/proc/{pid}/task/{tid}/ns/{kind}")),
            Holder::ForChildren { pid, tid: None } => Some(format!("/proc/{pid}/ns/{kind}_for_children")),
            Holder::ForChildren { pid, tid: Some(tid) } => {
                Some(format!("/proc/{pid}/task/{tid}/ns/{kind}_for_children"))
            }
            Holder::Descriptor { pid, tid: None, fd } => Some(format!("/proc/{pid}/fd/{fd}")),
            Holder::Descriptor { pid, tid: Some(tid), fd } => Some(format!("/proc/{pid}/task/{tid}/fd/{fd}")),
            // A mount's path is one in its own mount namespace.
            Holder::BindMount { .. } | Holder::Socket { .. } | Holder::Ancestor { .. } => None,
        };
        self.leader
            .map(|pid| format!("/proc/{pid}/ns/{kind}"))
            .or_else(|| self.holders.iter().find_map(through))
            .map(Text::from)
            .or_else(|| self.mounts().into_iter().next())
    }
}
