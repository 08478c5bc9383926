//! Finds namespaces that nothing in `/proc` leads to in the kernel's own lists, such as one held only by a descriptor
//! in flight between two sockets (`SCM_RIGHTS`, unix(7)). From Linux 6.19, listns(2) returns the active ones; on 6.18,
//! where all are active, a BPF program walks the lists, and later does so for the inactive ones.
//!
//! A namespace not known before is opened by its id and queried, where possible. So nothing is trusted that was only
//! read while walking changing memory.

use super::builder::Builder;
use super::context::Context;
use super::errno::vanished;
use super::gaps::Gaps;
use super::walk::{self, Outcome, steps};
use crate::kernel::advice::remedy;
use crate::kernel::capabilities::{Capability, administers_all, lacking_to_trace};
use crate::kernel::listns::{self, NsHandle};
use crate::kernel::lists::{Lists, ListsError};
use crate::kernel::nsfs;
use crate::model::{GapKind, NsId, NsKind, Source};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// The gap from 6.19 on, without BPF.
const INACTIVE_MISSING: &str = "inactive namespaces, which only the kernel holds, are not found";

/// The gap before that, without the kernel's lists.
const MISSING: &str =
    "namespaces that only a descriptor in flight (SCM_RIGHTS) or the kernel holds are not found";

/// The kernel's lists.
#[derive(Debug)]
pub(super) struct Listed {
    /// All that can be opened.
    handles: Vec<NsHandle>,
    /// `Ok` if those are all.
    whole: Result<(), Unlisted>,
    /// From 6.19: the namespaces in the lists that listns(2) does not return, and the means to read the lists again.
    inactive: Result<(Lists, BTreeMap<u64, NsId>), Unlisted>,
}

/// Reads the kernel's lists; `None` if the proc file system is not that of a running kernel.
///
/// It runs before everything else: a namespace created later is missing here, and so is not mistaken for one that
/// nothing in `/proc` leads to.
pub(super) fn read(context: &Context) -> Option<Result<Listed, Unlisted>> {
    context.proc.is_live().then(|| read_live(context))
}

fn read_live(context: &Context) -> Result<Listed, Unlisted> {
    let active = match listns::active() {
        Ok(active) => Some(active),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => None,
        Err(error) => return Err(Unlisted::Listns(error)),
    };
    let walked = open_lists(context).map(|lists| {
        let (found, whole) = walk(&lists, context.nsfs_dev);
        (lists, found, whole)
    });
    if let Some(active) = active {
        let inactive = walked.and_then(|(lists, mut found, whole)| {
            whole?;
            let active: HashSet<&u64> = active.iter().collect();
            found.retain(|id, _| !active.contains(id));
            Ok((lists, found))
        });
        let handles = active.into_iter().map(|id| NsHandle { id, file: None }).collect();
        let whole = if administers_all() { Ok(()) } else { Err(Unlisted::Others) };
        return Ok(Listed { handles, whole, inactive });
    }
    let (lists, found, whole) = walked?;
    let handles = found.into_iter().map(|(id, namespace)| NsHandle::of(namespace, id)).collect();
    Ok(Listed { handles, whole, inactive: Ok((lists, BTreeMap::new())) })
}

impl Builder {
    /// Marks the namespaces that the kernel has listed, and adds those that were not known and still exist. Lists that
    /// could not be read are a gap.
    pub(super) fn add_listed(&mut self, listed: Option<Result<Listed, Unlisted>>) -> Option<Listed> {
        let listed = listed?.map_err(|why| why.gap(&mut self.gaps)).ok()?;
        let known: HashMap<u64, NsId> =
            NsKind::ALL.into_iter().flat_map(|kind| self.index.kernel_ids(kind)).collect();
        for &handle in &listed.handles {
            if let Some(&id) = known.get(&handle.id) {
                self.index.entry(id).source(Source::KernelLists);
                continue;
            }
            match open(handle) {
                Ok(Some((id, fd))) => self.query_listed(id, fd),
                Ok(None) => {}
                Err(error) if vanished(&error) || error.raw_os_error() == Some(libc::ESTALE) => {}
                Err(error) => self.gaps.add_error(GapKind::Relations, &error),
            }
        }
        self.query_latest(&listed);
        Some(listed)
    }

    /// Queries the namespaces that can be opened only by id and are newer than the lists: those mounted in a mount
    /// namespace without a process.
    fn query_latest(&mut self, listed: &Listed) {
        let unqueried: HashSet<NsId> = self.index.without_handle().into_iter().collect();
        if unqueried.is_empty() {
            return;
        }
        let latest: Vec<NsHandle> = match (listns::active(), &listed.inactive) {
            (Ok(active), _) => active.into_iter().map(|id| NsHandle { id, file: None }).collect(),
            (Err(_), Ok((lists, _))) => {
                let (mut found, whole) = walk(lists, self.context.nsfs_dev);
                found.retain(|_, namespace| unqueried.contains(namespace));
                if whole.is_ok() {
                    // The others are gone: no answer is missing.
                    let there: HashSet<&NsId> = found.values().collect();
                    for &gone in unqueried.iter().filter(|id| !there.contains(id)) {
                        self.index.entry(gone).queried = true;
                    }
                }
                found.into_iter().map(|(id, namespace)| NsHandle::of(namespace, id)).collect()
            }
            (Err(_), Err(_)) => return,
        };
        let earlier: HashSet<u64> = listed.handles.iter().map(|handle| handle.id).collect();
        for handle in latest.into_iter().filter(|handle| !earlier.contains(&handle.id)) {
            // Gone, or replaced by another: nothing is added.
            if let Ok(Some((id, fd))) = open(handle)
                && unqueried.contains(&id)
            {
                self.query_listed(id, fd);
            }
        }
    }

    fn query_listed(&mut self, id: NsId, fd: OwnedFd) {
        self.index.entry(id).source(Source::KernelLists);
        self.query(id, fd);
    }

    /// Marks and adds the inactive namespaces, which only the kernel or sockets hold, and which nobody can open. They
    /// are trusted if a second read still finds them, and they have not become active.
    pub(super) fn add_inactive(&mut self, listed: Option<Listed>) {
        let Some(listed) = listed else { return };
        if let Err(why) = listed.whole {
            why.gap(&mut self.gaps);
        }
        let (lists, mut inactive) = match listed.inactive {
            Ok(walked) => walked,
            Err(why) => return why.note(INACTIVE_MISSING, "", &mut self.gaps),
        };
        if inactive.is_empty() {
            return;
        }
        let (now, whole) = walk(&lists, self.context.nsfs_dev);
        if let Err(why) = whole {
            return why.note(INACTIVE_MISSING, "", &mut self.gaps);
        }
        inactive.retain(|kernel_id, id| now.get(kernel_id) == Some(id));
        let active: HashSet<u64> = listns::active().unwrap_or_default().into_iter().collect();
        inactive.retain(|id, _| !active.contains(id));
        for (kernel_id, id) in inactive {
            let known = self.index.knows(id);
            let entry = self.index.entry(id);
            if known && entry.namespace.kernel_id != Some(kernel_id) {
                // Its inode was reused.
                continue;
            }
            entry.source(Source::KernelLists);
            if !known {
                entry.queried = true;
                entry.namespace.kernel_id = Some(kernel_id);
                let reason = "inactive: the kernel does not let anyone open it";
                self.gaps.add(GapKind::Relations, reason, None);
            }
        }
    }
}

/// Opens the namespace with this id; `None` if nsprobe does not know its kind.
fn open(handle: NsHandle) -> io::Result<Option<(NsId, OwnedFd)>> {
    let fd = listns::open(handle)?;
    let Some(kind) = nsfs::kind(fd.as_fd())? else { return Ok(None) };
    Ok(Some((nsfs::id(fd.as_fd(), kind)?, fd)))
}

/// The reason that the lists are not available.
#[derive(Debug)]
pub(super) enum Unlisted {
    /// listns(2) failed.
    Listns(io::Error),
    /// listns(2) omits those in whose owner the caller lacks `CAP_SYS_ADMIN`.
    Others,
    /// The kernel has no such lists.
    Older,
    /// BPF is not to be used.
    NotWanted,
    /// The capabilities for BPF are missing.
    NotPermitted(String),
    /// The program is not available here.
    Lists(ListsError),
    /// The walk failed or did not finish.
    Walk(String),
}

impl Unlisted {
    /// Adds a gap: the lists, or their inactive namespaces, are missing.
    pub(super) fn gap(self, gaps: &mut Gaps) {
        self.note(MISSING, "use Linux 6.19", gaps);
    }

    /// Adds a gap: something is `missing` that a `later` kernel has in any case.
    fn note(self, missing: &str, later: &str, gaps: &mut Gaps) {
        let because = |why: &dyn std::fmt::Display| format!("{missing}: {why}");
        let or_later = |remedy: Option<String>| match (remedy, later) {
            (remedy, "") => remedy.unwrap_or_default(),
            (Some(remedy), later) => format!("{remedy}, or {later}"),
            (None, later) => later.to_owned(),
        };
        let (reason, remedy) = match self {
            Self::Listns(error) => return gaps.add_error(GapKind::Source, &error),
            Self::Others => (
                because(&"listns(2) omits those in whose owner you lack CAP_SYS_ADMIN"),
                remedy(&[Capability::SysAdmin]).unwrap_or_default(),
            ),
            Self::Older => (missing.to_owned(), "use BPF on Linux 6.18, or Linux 6.19".to_owned()),
            Self::NotWanted => {
                (because(&"it needs BPF on this kernel"), or_later(Some("use --source auto".to_owned())))
            }
            Self::NotPermitted(lacking) => (
                because(&format_args!("it needs {lacking} on this kernel")),
                or_later(remedy(&[Capability::Bpf, Capability::Perfmon])),
            ),
            Self::Lists(error) => (because(&error), later.to_owned()),
            Self::Walk(why) => (because(&why), later.to_owned()),
        };
        gaps.add(GapKind::Source, reason, (!remedy.is_empty()).then_some(remedy.as_str()));
    }
}

/// Opens the program that walks the kernel's lists, if permitted.
fn open_lists(context: &Context) -> Result<Lists, Unlisted> {
    // Mount namespaces had ids before; all kinds have them since the lists exist.
    let own = context.proc.this_process().and_then(|own| own.open_namespace("ns/user"));
    if !own.is_ok_and(|own| nsfs::kernel_id(own.as_fd(), NsKind::User).is_some()) {
        return Err(Unlisted::Older);
    }
    if !context.bpf {
        return Err(Unlisted::NotWanted);
    }
    if let Some(lacking) = lacking_to_trace() {
        return Err(Unlisted::NotPermitted(lacking));
    }
    Lists::open().map_err(Unlisted::Lists)
}

/// Returns every namespace in the kernel's lists, by id, and an error if these are not all. A list that changes too
/// fast to be read to its end still contributes what was found.
fn walk(lists: &Lists, nsfs_dev: u64) -> (BTreeMap<u64, NsId>, Result<(), Unlisted>) {
    let (mut all, mut whole) = (BTreeMap::new(), Ok(()));
    for kind in NsKind::ALL.into_iter().filter(|&kind| lists.has(kind)) {
        let mut found = BTreeMap::new();
        let round = round(kind, &mut found, |begin| lists.walk(kind, begin));
        whole = whole.and(round.map_err(Unlisted::Walk));
        all.extend(found.into_iter().map(|(id, ino)| (id, NsId::new(kind, nsfs_dev, ino.into()))));
    }
    (all, whole)
}

/// Adds the ids and inodes of all namespaces of one kind to `found`; after an error, some of them. `walk` goes some
/// steps, from the start or from where it stopped.
fn round(
    kind: NsKind,
    found: &mut BTreeMap<u64, u32>,
    walk: impl FnMut(bool) -> io::Result<Vec<u8>>,
) -> Result<(), String> {
    walk::to_end(&format!("{kind} namespaces"), walk, |record, _| {
        let steps = steps(record)?;
        found.extend(steps.found);
        // A walk that comes round without passing the head was in no list.
        let was_in_none = steps.outcome == Outcome::End && !steps.head;
        Some(if was_in_none { Outcome::Lost } else { steps.outcome })
    })
}

#[cfg(test)]
mod tests {
    use super::super::walk::ATTEMPTS;
    use super::super::walk::tests::record;
    use super::*;
    use nsprobe_ebpf::outcome;

    #[test]
    fn fast_changing_list_keeps_findings() {
        let mut attempts = 0;
        let mut found = BTreeMap::new();
        let lost = round(NsKind::Uts, &mut found, |begin| {
            attempts += u32::from(begin);
            Ok(record(
                if begin { outcome::MORE } else { outcome::LOST },
                0,
                &[(7 + u64::from(attempts), 9, 1)],
            ))
        });
        assert!(lost.unwrap_err().contains("list of uts namespaces changes too fast"));
        assert_eq!((attempts, found.len()), (ATTEMPTS, ATTEMPTS as usize));
        let mut found = BTreeMap::new();
        round(NsKind::Uts, &mut found, |_| Ok(record(outcome::END, 1, &[(7, 9, 1)]))).unwrap();
        assert_eq!(found, BTreeMap::from([(7, 9)]));
    }
}
