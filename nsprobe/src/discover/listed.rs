//! Namespaces that nothing in `/proc` leads to, such as one that only a descriptor in flight between two
//! sockets holds (`SCM_RIGHTS`, unix(7)): from the kernel's own lists. From Linux 6.19 on listns(2) tells them; on
//! 6.18 a BPF program walks along them.
//!
//! What was not known before is opened by its number, and asked. So nothing is believed that was only read on a walk
//! through memory that changes meanwhile.

use super::census::Census;
use super::relations::Inquiry;
use super::walk::{Outcome, steps};
use super::{Gaps, vanished};
use crate::kernel::capabilities::Effective;
use crate::kernel::listns::{self, Number};
use crate::kernel::lists::{Lists, ListsError};
use crate::kernel::nsfs;
use crate::kernel::proc::Proc;
use crate::model::{GapKind, NsId, NsKind, Source};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// What is missing without the kernel's lists.
const MISSING: &str =
    "namespaces that only a descriptor in flight (SCM_RIGHTS) or the kernel holds are not found";

/// What the kernel lists.
///
/// Read before everything else: what has come since is missing here and not there, and so not taken for something
/// that nothing in `/proc` leads to. `walk`: whether BPF may be used.
pub(super) fn read(proc: &Proc, walk: bool) -> Result<Vec<Number>, Unlisted> {
    match listns::active() {
        Ok(numbers) => Ok(numbers.into_iter().map(|id| Number { id, file: None }).collect()),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => walked(proc, walk),
        Err(error) => Err(Unlisted::Listns(error)),
    }
}

/// Marks the namespaces that the kernel has listed, and adds those that were not known and are still there.
pub(super) fn add(
    listed: Result<Vec<Number>, Unlisted>,
    inquiry: &mut Inquiry<'_>,
    census: &mut Census,
    gaps: &mut Gaps,
) {
    let listed = match listed {
        Ok(listed) => listed,
        Err(why) => return why.note(gaps),
    };
    let known: HashMap<u64, NsId> =
        NsKind::ALL.into_iter().flat_map(|kind| census.kernel_ids(kind)).collect();
    for number in listed {
        if let Some(&id) = known.get(&number.id) {
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
fn open(number: Number) -> io::Result<Option<(NsId, OwnedFd)>> {
    let fd = listns::open(number)?;
    let Some(kind) = nsfs::kind(fd.as_fd())? else { return Ok(None) };
    Ok(Some((nsfs::id(fd.as_fd(), kind)?, fd)))
}

/// Why the lists cannot be had.
#[derive(Debug)]
pub(super) enum Unlisted {
    /// listns(2) failed.
    Listns(io::Error),
    /// The kernel has none.
    Older,
    /// BPF is not to be used.
    NotWanted,
    /// The capabilities for BPF are missing.
    NotPermitted(String),
    /// There is no such program here.
    Lists(ListsError),
    /// It does not run, or not to the end.
    Walk(String),
}

impl Unlisted {
    fn note(self, gaps: &mut Gaps) {
        let because = |why: &dyn std::fmt::Display| format!("{MISSING}: {why}");
        let (reason, remedy) = match self {
            Self::Listns(error) => return gaps.add_error(GapKind::Source, &error),
            Self::Older => (MISSING.to_owned(), "BPF on Linux 6.18, or Linux 6.19"),
            Self::NotWanted => (because(&"that takes BPF on this kernel"), "--source auto, or Linux 6.19"),
            Self::NotPermitted(missing) => (
                because(&format_args!("that takes {missing} on this kernel")),
                "run with sudo, or Linux 6.19",
            ),
            Self::Lists(error) => (because(&error), "Linux 6.19"),
            Self::Walk(why) => (because(&why), "Linux 6.19"),
        };
        gaps.add(GapKind::Source, reason, Some(remedy));
    }
}

/// Every namespace in the kernel's lists, by a walk along them.
fn walked(proc: &Proc, walk: bool) -> Result<Vec<Number>, Unlisted> {
    // Mount namespaces had numbers before; all kinds have them since there are the lists.
    let own = proc.this_process().and_then(|own| own.open_namespace("ns/user"));
    if !own.is_ok_and(|own| nsfs::kernel_id(own.as_fd(), NsKind::User).is_some()) {
        return Err(Unlisted::Older);
    }
    if !walk {
        return Err(Unlisted::NotWanted);
    }
    let missing = Effective::read().map(Effective::missing_to_trace).unwrap_or_default();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
        return Err(Unlisted::NotPermitted(names.join(" and ")));
    }
    let lists = Lists::open().map_err(Unlisted::Lists)?;
    let mut listed = Vec::new();
    for kind in NsKind::ALL.into_iter().filter(|&kind| lists.has(kind)) {
        let found = round(kind, |begin| lists.walk(kind, begin)).map_err(Unlisted::Walk)?;
        listed.extend(found.into_iter().map(|(id, ino)| Number { id, file: Some((kind, ino)) }));
    }
    Ok(listed)
}

/// A walk that has lost its way begins again, this often.
const ATTEMPTS: u32 = 16;

/// More steps than this no list has.
const RUNS: u32 = 1 << 20;

/// The numbers and inodes of all namespaces of one kind. `walk` goes some steps, from the beginning or from where it
/// was.
fn round(
    kind: NsKind,
    mut walk: impl FnMut(bool) -> io::Result<Vec<u8>>,
) -> Result<BTreeMap<u64, u32>, String> {
    let mut found = BTreeMap::new();
    for _ in 0..ATTEMPTS {
        for run in 0..RUNS {
            let record = walk(run == 0).map_err(|error| format!("running the BPF program: {error}"))?;
            let Some(steps) = steps(&record) else {
                return Err("a record of the probe is not of the known form".to_owned());
            };
            found.extend(steps.found);
            match steps.outcome {
                Outcome::More => {}
                // Who has come round without passing the head was in no list.
                Outcome::End if steps.head => return Ok(found),
                Outcome::End | Outcome::Lost => break,
            }
        }
    }
    Err(format!(
        "the kernel's list of {kind} namespaces changes too fast to be read, or is of an unknown form"
    ))
}
