//! What holds the namespaces of which nothing so far has said what does, by the kernel's own tables: BPF programs, where
//! namespaces have numbers (Linux 6.18).
//!
//! Nothing is loaded unless there is such a namespace. What cannot be searched is not noted as a gap: the text says
//! what such a namespace may be held by, and leaves out what was searched without finding anything.

use super::census::Census;
use super::held_records::{self, ConnectionFacts, HeldFacts, SuperblockFacts};
use super::limit::MOST_OF_ONE;
use super::walk::Outcome;
use super::{processes, tasks};
use crate::kernel::held::{Search, Superblocks};
use crate::kernel::mounts::MountTable;
use crate::kernel::proc::Proc;
use crate::kernel::tasks::TasksError;
use crate::model::{Holder, NsId, NsKind, NsSlot, Pid, Text};
use std::collections::{HashMap, HashSet};
use std::io;

/// Adds what holds the namespaces that nothing else is known to hold.
pub(super) fn find(proc: &Proc, nsfs_dev: u64, census: &mut Census) {
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
    let search = match Search::open(&numbers) {
        Ok(search) => search,
        Err(why) => return log::info!("holders: the kernel's tables are not searched: {why}"),
    };
    if let Err(why) = files(&search, &sought, census) {
        log::info!("holders: open files are not searched: {why}");
    }
    if sought.values().any(|id| id.kind == NsKind::Net)
        && let Err(why) = connections(&search, &sought, census)
    {
        log::info!("holders: TCP connections are not searched: {why}");
    }
    let own =
        proc.this_process().and_then(|own| processes::namespace(&own, NsSlot::In(NsKind::Mnt), nsfs_dev));
    let own = own.unwrap_or_default();
    let found = search
        .superblocks()
        .map_err(|why| why.to_string())
        .and_then(|superblocks| walk(|begin| Superblocks::walk(&superblocks, begin)));
    match found {
        Ok(found) => {
            let mut table = MountTable::default();
            let mut count: HashMap<NsId, usize> = HashMap::new();
            for superblock in found {
                let Some(&id) = sought.get(&superblock.kernel_id) else { continue };
                let count = count.entry(id).or_default();
                *count += 1;
                if *count > MOST_OF_ONE {
                    census.entry(id).namespace.holders_omitted += 1;
                    continue;
                }
                for holder in mounts(&superblock, nsfs_dev, own, &mut table) {
                    census.entry(id).held(holder);
                }
            }
            for id in sought.values() {
                census.entry(*id).namespace.searched.file_systems = true;
            }
        }
        Err(why) => log::info!("holders: file systems are not searched: {why}"),
    }
}

/// Adds the TCP connections that hold network namespaces.
fn connections(search: &Search, sought: &HashMap<u64, NsId>, census: &mut Census) -> Result<(), String> {
    let connections = search.connections().map_err(|why| why.to_string())?;
    let mut bucket = 0;
    let mut found = HashSet::new();
    loop {
        let record = connections.walk(bucket).map_err(|error| format!("running the BPF program: {error}"))?;
        let next = held_records::connections(&record, &mut |facts| {
            let ConnectionFacts { kernel_id, local, remote, state } = facts;
            if found.len() < MOST_CONNECTIONS {
                found.insert((kernel_id, Holder::Connection { local, remote, state }));
            }
        });
        match next {
            // The table has an end, whatever the record says.
            Some(Some(next)) if next > bucket => bucket = next,
            Some(None) => break,
            Some(Some(_)) | None => return Err("the table of connections is of an unknown form".to_owned()),
        }
    }
    for (kernel_id, holder) in found {
        if let Some(&id) = sought.get(&kernel_id) {
            census.entry(id).held(holder);
        }
    }
    Ok(())
}

/// This many connections are kept.
const MOST_CONNECTIONS: usize = 4096;

/// A walk that has lost its way begins again, this often.
const ATTEMPTS: u32 = 16;

/// More steps than this no list has.
const RUNS: u32 = 1 << 20;

/// All file systems that hold what is sought. `walk` goes some steps, from the beginning or from where it was.
fn walk(mut walk: impl FnMut(bool) -> io::Result<Vec<u8>>) -> Result<Vec<SuperblockFacts>, String> {
    for _ in 0..ATTEMPTS {
        let mut all = Vec::new();
        for run in 0..RUNS {
            let record = walk(run == 0).map_err(|error| format!("running the BPF program: {error}"))?;
            let Some((outcome, found)) = held_records::superblock(&record) else {
                return Err("a record of the probe is not of the known form".to_owned());
            };
            all.extend(found);
            match outcome {
                Outcome::More => {}
                Outcome::End => return Ok(all),
                Outcome::Lost => break,
            }
        }
    }
    Err("the kernel's list of superblocks changes too fast to be read, or is of an unknown form".to_owned())
}

/// The mounts of a file system, as far as the kernel confirms them; itself where it has none.
fn mounts(
    superblock: &SuperblockFacts,
    nsfs_dev: u64,
    own: Option<NsId>,
    table: &mut MountTable,
) -> Vec<Holder> {
    let fs_type = &superblock.fs_type;
    let mut holders = Vec::new();
    for mount in &superblock.mounts {
        let path = match table.place(mount.id, mount.namespace_id) {
            Ok((dev, path)) if dev == superblock.dev => path.map(Text::from),
            // Another has been given its number, or it is in no mount namespace that can be named.
            Ok(_) => continue,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => continue,
            Err(_) => None,
        };
        let mount_namespace = NsId::new(NsKind::Mnt, nsfs_dev, mount.namespace_ino);
        let here = own == Some(mount_namespace);
        holders.push(Holder::Mount { fs_type: fs_type.clone(), mount_namespace, path, here });
    }
    if holders.is_empty() && !superblock.more {
        holders.push(Holder::DetachedMount { fs_type: fs_type.clone(), dev: superblock.dev });
    }
    holders
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
