//! Control groups, as nodes of their file system.

use crate::maps::offset;
use crate::task::read;
use nsprobe_ebpf::{ABSENT, Field};

/// Returns the node (`struct kernfs_node`) of the control group of `task`.
#[inline(always)]
pub fn node(task: u64) -> u64 {
    let cgroup: u64 = read(read(task, Field::TaskCgroups), Field::CssSetCgroup);
    read(cgroup, Field::CgroupNode)
}

/// Returns the parent node; 0 above the root.
#[inline(always)]
pub fn parent(node: u64) -> u64 {
    if offset(Field::KernfsParentRcu) == ABSENT {
        read(node, Field::KernfsParent)
    } else {
        read(node, Field::KernfsParentRcu)
    }
}
