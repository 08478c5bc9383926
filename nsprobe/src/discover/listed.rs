//! Namespaces that nothing in `/proc` leads to, such as one that only a descriptor in flight between two
//! sockets holds (`SCM_RIGHTS`, unix(7)): from the kernel's own list, which it tells from Linux 6.19 on.

use super::census::Census;
use super::relations::Inquiry;
use super::{Gaps, vanished};
use crate::kernel::{listns, nsfs};
use crate::model::{GapKind, NsId, NsKind, Source};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// Marks the namespaces that the kernel lists, and adds those that were not known.
pub(super) fn find(inquiry: &mut Inquiry<'_>, census: &mut Census, gaps: &mut Gaps) {
    let listed = match listns::active() {
        Ok(listed) => listed,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            return gaps.add(
                GapKind::Source,
                "namespaces that only a descriptor in flight (SCM_RIGHTS) holds are not found",
                Some("BPF on Linux 6.18, or Linux 6.19"),
            );
        }
        Err(error) => return gaps.add_error(GapKind::Source, &error),
    };
    let known: HashMap<u64, NsId> =
        NsKind::ALL.into_iter().flat_map(|kind| census.kernel_ids(kind)).collect();
    for number in listed {
        if let Some(&id) = known.get(&number) {
            census.entry(id).source(Source::KernelLists);
            continue;
        }
        match open(number) {
            Ok(Some((id, fd))) => {
                census.entry(id).source(Source::KernelLists);
                inquiry.ask(id, fd, census, gaps);
            }
            Ok(None) => {}
            Err(error) if vanished(&error) || error.raw_os_error() == Some(libc::ESTALE) => {}
            Err(error) => gaps.add_error(GapKind::Relations, &error),
        }
    }
}

/// The namespace with this number; `None` for a kind that nsprobe does not know.
fn open(number: u64) -> io::Result<Option<(NsId, OwnedFd)>> {
    let fd = listns::open(number)?;
    let Some(kind) = nsfs::kind(fd.as_fd())? else { return Ok(None) };
    Ok(Some((nsfs::id(fd.as_fd(), kind)?, fd)))
}
