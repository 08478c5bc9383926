//! Namespaces kept alive by a bind mount of their nsfs file, in any mount namespace that a process is in.

use super::census::{Census, Witness};
use super::{Gaps, parse, vanished};
use crate::kernel::proc::Proc;
use crate::model::{GapKind, Holder, NsId, Process};

/// Adds the mounted namespaces, each with its mounts as holders.
pub(super) fn find(proc: &Proc, nsfs_dev: u64, processes: &[Process], census: &mut Census, gaps: &mut Gaps) {
    let mut buffer = Vec::new();
    for (mount_namespace, pid) in Census::mount_readers(processes) {
        match proc.process(pid).and_then(|dir| dir.read("mountinfo", &mut buffer)) {
            Ok(()) => {}
            Err(error) if vanished(&error) => continue,
            Err(error) => {
                gaps.add_error(GapKind::Mounts, &error);
                continue;
            }
        }
        for mount in parse::namespace_mounts(&buffer) {
            let entry = census.entry(NsId::new(mount.kind, nsfs_dev, mount.ino));
            entry.witness(Witness::Mount(pid, mount.path.clone()));
            entry.held(Holder::BindMount { mount_namespace, path: mount.path });
        }
    }
}
