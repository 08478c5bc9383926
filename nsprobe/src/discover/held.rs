//! Finds what holds the namespaces that have no known holder, in the kernel's own tables, with BPF programs, where
//! namespaces have ids (Linux 6.18).
//!
//! Nothing is loaded unless there is such a namespace. A failed search is not a gap: the text lists what may hold such
//! a namespace, and omits what was searched without a result.

use super::builder::Builder;
use super::context::Context;
use super::held_records::{self, ConnectionFacts, HeldFacts, SuperblockFacts};
use super::limit::MOST_OF_ONE;
use super::records::Tables;
use super::{tasks, walk};
use crate::kernel::held::Search;
use crate::kernel::mounts::MountTable;
use crate::model::{Holder, NsId, NsKind, Text};
use std::collections::{HashMap, HashSet};

impl Builder {
    /// Adds the holders of namespaces that have none known, if BPF may be used.
    pub(super) fn add_holders(&mut self) {
        if !self.context.bpf || !self.context.proc.is_live() {
            return;
        }
        let sought = self.index.unheld();
        if sought.is_empty() {
            return;
        }
        let ids: Vec<u64> = sought.keys().copied().collect();
        let tables = tasks::available(&self.context).map_err(|why| why.to_string());
        let tables = match tables.and_then(|()| Search::open(&ids).map_err(|why| why.to_string())) {
            Ok(tables) => tables,
            Err(why) => return log::info!("holders: the kernel's tables are not searched: {why}"),
        };
        let mut search = HolderSearch { builder: self, tables, sought };
        note("open files", search.files());
        if search.sought.values().any(|id| id.kind == NsKind::Net) {
            note("TCP connections", search.connections());
        }
        note("file systems", search.file_systems());
    }
}

fn note(what: &str, searched: Result<(), String>) {
    if let Err(why) = searched {
        log::info!("holders: {what} are not searched: {why}");
    }
}

/// The search for holders.
struct HolderSearch<'a> {
    builder: &'a mut Builder,
    tables: Search,
    /// The namespaces without a known holder, by the kernel's id.
    sought: HashMap<u64, NsId>,
}

impl HolderSearch<'_> {
    /// Adds the mounts of file systems.
    fn file_systems(&mut self) -> Result<(), String> {
        let superblocks = self.tables.superblocks().map_err(|why| why.to_string())?;
        let mut all: Vec<SuperblockFacts> = Vec::new();
        walk::to_end(
            "superblocks",
            |begin| superblocks.walk(begin),
            |record, begin| {
                let (outcome, found) = held_records::superblock(record)?;
                if begin {
                    all.clear();
                }
                all.extend(found);
                Some(outcome)
            },
        )?;
        let own = self.builder.context.own_namespace(NsKind::Mnt);
        let mut table = MountTable::default();
        let mut count: HashMap<NsId, usize> = HashMap::new();
        for superblock in all {
            let Some(&id) = self.sought.get(&superblock.kernel_id) else { continue };
            let count = count.entry(id).or_default();
            *count += 1;
            if *count > MOST_OF_ONE {
                self.builder.index.entry(id).namespace.holders_omitted += 1;
                continue;
            }
            for holder in mounts(&self.builder.context, &superblock, own, &mut table) {
                self.builder.index.entry(id).held(holder);
            }
        }
        for &id in self.sought.values() {
            self.builder.index.entry(id).namespace.searched.file_systems = true;
        }
        Ok(())
    }

    /// Adds the TCP connections that hold network namespaces.
    fn connections(&mut self) -> Result<(), String> {
        let connections = self.tables.connections().map_err(|why| why.to_string())?;
        let mut bucket = 0;
        let mut found = HashSet::new();
        loop {
            let record =
                connections.walk(bucket).map_err(|error| format!("running the BPF program: {error}"))?;
            let next = held_records::connections(&record, &mut |facts| {
                let ConnectionFacts { kernel_id, local, remote, state } = facts;
                if found.len() < MOST_CONNECTIONS {
                    found.insert((kernel_id, Holder::Connection { local, remote, state }));
                }
            });
            match next {
                // The walk must advance, whatever the record says.
                Some(Some(next)) if next > bucket => bucket = next,
                Some(None) => break,
                Some(Some(_)) | None => {
                    return Err("the table of connections has an unknown layout".to_owned());
                }
            }
        }
        for (kernel_id, holder) in found {
            if let Some(&id) = self.sought.get(&kernel_id) {
                self.builder.index.entry(id).held(holder);
            }
        }
        Ok(())
    }

    /// Adds the open files.
    fn files(&mut self) -> Result<(), String> {
        let bytes = self.tables.files().map_err(|why| why.to_string())?;
        let mut tables = Tables::default();
        let unknown = held_records::files(&bytes, |facts| {
            let HeldFacts { kernel_id, by, pid, tid, table, fd } = facts;
            if let Some(&id) = self.sought.get(&kernel_id)
                && tables.is_first(pid, tid, table)
            {
                self.builder.index.entry(id).held(Holder::File { by, pid, tid, fd });
            }
        });
        for &id in self.sought.values() {
            self.builder.index.entry(id).namespace.searched.files = unknown == 0;
        }
        Ok(())
    }
}

/// The most connections kept.
const MOST_CONNECTIONS: usize = 4096;

/// Returns the mounts of a file system that the kernel confirms; the file system itself if it has none. `own`:
/// nsprobe's own mount namespace.
fn mounts(
    context: &Context,
    superblock: &SuperblockFacts,
    own: Option<NsId>,
    table: &mut MountTable,
) -> Vec<Holder> {
    let fs_type = &superblock.fs_type;
    let mut holders = Vec::new();
    for mount in &superblock.mounts {
        let path = match table.device_and_point(mount.id, mount.namespace_id) {
            Ok((dev, path)) if dev == superblock.dev => path.map(Text::from),
            // Its mount id was reused, or it is in no mount namespace that can be named.
            Ok(_) => continue,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => continue,
            Err(_) => None,
        };
        let mount_namespace = context.id(NsKind::Mnt, mount.namespace_ino);
        let here = own == Some(mount_namespace);
        holders.push(Holder::Mount { fs_type: fs_type.clone(), mount_namespace, path, here });
    }
    if holders.is_empty() && !superblock.more {
        holders.push(Holder::DetachedMount { fs_type: fs_type.clone(), dev: superblock.dev });
    }
    holders
}
