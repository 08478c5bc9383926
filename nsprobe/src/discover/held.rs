//! What holds the namespaces of which nothing so far has said what does, by the kernel's own tables: BPF programs, where
//! namespaces have numbers (Linux 6.18).
//!
//! Nothing is loaded unless there is such a namespace. What cannot be searched is not noted as a gap: the text says
//! what such a namespace may be held by, and leaves out what was searched without finding anything.

use super::census::Census;
use super::held_records::{self, HeldFacts};
use super::tasks;
use crate::kernel::held::Search;
use crate::kernel::proc::Proc;
use crate::kernel::tasks::TasksError;
use crate::model::{Holder, NsId, Pid};
use std::collections::HashMap;

/// Adds what holds the namespaces that nothing else is known to hold.
pub(super) fn find(proc: &Proc, census: &mut Census) {
    if !proc.is_live() {
        return;
    }
    let sought = census.unheld();
    if sought.is_empty() {
        return;
    }
    if let Err(why) = tasks::available(proc) {
        return log::info!("holders: the kernel's tables are not searched: {why}");
    }
    let numbers: Vec<u64> = sought.keys().copied().collect();
    let found = Search::open(&numbers).and_then(|search| files(&search, &sought, census));
    if let Err(why) = found {
        log::info!("holders: the kernel's tables are not searched: {why}");
    }
}

/// Adds the open files.
fn files(search: &Search, sought: &HashMap<u64, NsId>, census: &mut Census) -> Result<(), TasksError> {
    let bytes = search.files()?;
    let mut first: HashMap<(Pid, u64), Option<Pid>> = HashMap::new();
    let unknown = held_records::files(&bytes, |facts| {
        let HeldFacts { kernel_id, by, pid, tid, table, fd } = facts;
        // Of threads that share a table the first is told, as for other descriptors.
        if table.is_some_and(|table| *first.entry((pid, table)).or_insert(tid) != tid) {
            return;
        }
        if let Some(&id) = sought.get(&kernel_id) {
            census.entry(id).held(Holder::File { by, pid, tid, fd });
        }
    });
    for id in sought.values() {
        census.entry(*id).namespace.searched.files = unknown == 0;
    }
    Ok(())
}
