//! The features that lead to namespaces, by kernel version: the tests check nsprobe against this table in both
//! directions. A feature that a kernel has must be used; the absence of one must be reported.

/// A feature that kernels have from one version on, and up to another.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    since: (u32, u32),
    before: (u32, u32),
}

const NEVER: (u32, u32) = (u32::MAX, 0);

const fn since(major: u32, minor: u32) -> Feature {
    Feature { since: (major, minor), before: NEVER }
}

/// Task storage for tracing programs.
pub const TASK_STORAGE: Feature = since(5, 13);
/// `NS_GET_MNTNS_ID`, listmount(2) of a mount namespace by its id.
pub const LISTMOUNT: Feature = since(6, 11);
/// `NS_MNT_GET_NEXT`: all mount namespaces.
pub const MOUNT_NAMESPACE_LIST: Feature = since(6, 12);
/// `NS_GET_ID`: ids of all kinds of namespaces; opening one by its id.
pub const IDS: Feature = since(6, 18);
/// The kernel's own lists of all kinds of namespaces, by either method.
pub const LISTS: Feature = since(6, 18);
/// ... by a BPF program that walks them.
pub const WALK: Feature = Feature { since: (6, 18), before: (6, 19) };
/// ... by listns(2).
pub const LISTNS: Feature = since(6, 19);

impl Feature {
    /// True if the running kernel has it.
    pub fn here(self) -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        self.since <= version && version < self.before
    }
}
