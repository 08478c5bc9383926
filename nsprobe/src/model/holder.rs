//! Queries on a namespace's holders: where it is mounted, and by which path it can be opened.

use crate::model::{Holder, Namespace, NsId, Pid, Text};
use std::collections::BTreeMap;

/// The mount namespaces in which a namespace is mounted at one path.
struct Mounted {
    first: NsId,
    more: usize,
    /// True if nsprobe's own is one of them.
    here: bool,
}

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
            Self::File { by, .. } => by.name(),
            Self::Mount { .. } => "mount",
            Self::DetachedMount { .. } => "detached_mount",
            Self::Connection { .. } => "connection",
            Self::Ancestor { .. } => "ancestor",
        }
    }

    /// The path of the mount that holds it, if a mount does and its path is known.
    #[must_use]
    pub const fn path(&self) -> Option<&Text> {
        match self {
            Self::BindMount { path, .. } | Self::Mount { path: Some(path), .. } => Some(path),
            _ => None,
        }
    }

    /// The process that holds it, if a process does.
    #[must_use]
    pub const fn pid(&self) -> Option<Pid> {
        match *self {
            Self::Thread { pid, .. }
            | Self::ForChildren { pid, .. }
            | Self::Descriptor { pid, .. }
            | Self::File { pid, .. }
            | Self::Socket { pid, .. } => Some(pid),
            Self::BindMount { .. }
            | Self::Mount { .. }
            | Self::DetachedMount { .. }
            | Self::Connection { .. }
            | Self::Ancestor { .. } => None,
        }
    }
}

impl Namespace {
    /// The paths at which its file is mounted, for printing: each once, even if many mount namespaces share it; with the
    /// mount namespace if the path is not in nsprobe's own.
    #[must_use]
    pub fn mounts_with_namespace(&self) -> Vec<String> {
        let text = |(path, namespaces): (&Text, Mounted)| match namespaces {
            Mounted { here: true, .. } => path.to_string(),
            Mounted { first, more: 0, .. } => format!("{path} in {first}"),
            Mounted { first, more, .. } => format!("{path} in {first} and {more} more"),
        };
        self.mounts_by_path().into_iter().map(text).collect()
    }

    fn mounts_by_path(&self) -> BTreeMap<&Text, Mounted> {
        let mut mounts: BTreeMap<&Text, Mounted> = BTreeMap::new();
        for holder in &self.holders {
            let Holder::BindMount { mount_namespace, path, here } = holder else { continue };
            mounts
                .entry(path)
                .and_modify(|mounted| {
                    mounted.here |= here;
                    mounted.more += 1;
                })
                .or_insert(Mounted { first: *mount_namespace, more: 0, here: *here });
        }
        mounts
    }

    /// A path by which nsprobe can open it: through its leader, or through a holder.
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
            // A mount's path is valid in its own mount namespace: `mount_path` is set if it also works from here.
            Holder::BindMount { .. }
            | Holder::Socket { .. }
            | Holder::File { .. }
            | Holder::Mount { .. }
            | Holder::DetachedMount { .. }
            | Holder::Connection { .. }
            | Holder::Ancestor { .. } => None,
        };
        self.leader
            .map(|pid| format!("/proc/{pid}/ns/{kind}"))
            .or_else(|| self.holders.iter().find_map(through))
            .map(Text::from)
            .or_else(|| self.mount_path.clone())
    }
}
