//! A document of `nsprobe list --json` → the snapshot it was made of.

use super::error::Error;
use super::key::{ProcessKey, process_key};
use super::read;
use crate::document::list::List;
use crate::document::schemas::{self, SchemaName};
use crate::document::values::{self, Time};
use crate::model::{Namespace, Origin, Snapshot, Taken, text};
use std::io::Read;

/// One of the two snapshots of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The snapshot.
    pub taken: Taken,
    /// Its gaps, including kinds that only the nsprobe of the document knew.
    pub gaps: Vec<SideGap>,
}

/// Something that a snapshot could not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideGap {
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) count: u64,
}

impl Side {
    /// The process that took the snapshot.
    pub(super) fn observer(&self) -> Option<ProcessKey> {
        self.taken.snapshot.process(self.taken.origin.own_pid?).map(process_key)
    }

    /// A snapshot that was taken just now.
    pub fn now(taken: Taken) -> Result<Self, Error> {
        let gap = |gap: &crate::model::Gap| SideGap {
            kind: gap.kind.name().to_owned(),
            reason: gap.reason.clone(),
            count: gap.count,
        };
        let gaps = taken.snapshot.gaps.iter().map(gap).collect();
        if taken.origin.boot_id.is_none() { Err(Error::NoBoot) } else { Ok(Self { taken, gaps }) }
    }

    /// Reads a document, no further than its first error.
    pub fn read(source: impl Read) -> Result<Self, Error> {
        let document: List<'_> = read::read(source)?;
        let SchemaName { name, version } = &document.schema;
        if !schemas::LIST.is_readable(name, version) {
            return Err(Error::Schema {
                found: format!("{} {}", text::shown(name.as_ref()), text::shown(version.as_ref())),
            });
        }
        if document.filtered {
            return Err(Error::Filtered);
        }
        if document.boot_id.is_none() {
            return Err(Error::NoBoot);
        }
        let side = Self::from(document);
        let Snapshot { namespaces, processes, .. } = &side.taken.snapshot;
        if let Some([twice, _]) = processes.array_windows().find(|[one, other]| one.pid == other.pid) {
            return Err(Error::Twice(format!("process {}", twice.pid)));
        }
        let is_same =
            |[one, other]: &&[Namespace; 2]| (one.id.kind, one.id.ino) == (other.id.kind, other.id.ino);
        if let Some([twice, _]) = namespaces.array_windows().find(is_same) {
            return Err(Error::Twice(format!("namespace {}", twice.id)));
        }
        Ok(side)
    }
}

impl From<List<'_>> for Side {
    fn from(list: List<'_>) -> Self {
        // One device for the whole machine, which the references leave out.
        let dev = list.namespaces.first().map_or(0, |ns| ns.dev);
        let mut namespaces: Vec<_> = list.namespaces.into_iter().map(|ns| ns.into_model(dev)).collect();
        namespaces.sort_by_key(|ns| (ns.id.kind, ns.id.ino));
        let mut processes: Vec<_> =
            list.processes.into_iter().map(|process| process.into_model(dev)).collect();
        processes.sort_by_key(|process| process.pid);
        let Time(taken_at) = list.taken_at;
        let origin = Origin {
            taken_at,
            own_pid: list.own_pid,
            version: list.version.into_owned(),
            kernel: list.kernel.into_owned(),
            hostname: values::text(list.hostname, list.hostname_base64),
            boot_id: list.boot_id.map(Into::into),
        };
        let gaps = list.gaps.into_iter().map(|gap| SideGap {
            kind: gap.kind.into_owned(),
            reason: gap.reason.into_owned(),
            count: gap.count,
        });
        let snapshot =
            Snapshot { namespaces, processes, gaps: Vec::new(), processes_from: list.processes_from.0 };
        Self { taken: Taken { origin, snapshot }, gaps: gaps.collect() }
    }
}
