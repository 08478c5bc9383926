//! Snapshots as JSON.

use crate::document::diff;
use crate::document::list::{Lazy, List};
use crate::document::namespace::Namespace;
use crate::document::process::Process;
use crate::document::schemas;
use crate::document::word::Word;
use crate::model::{self, NsId, Origin, Snapshot};
use crate::render::bytes;
use std::collections::HashSet;
use std::io::{self, Write};

/// The rows of a list.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// Everything.
    All,
    /// These namespaces, and the processes that refer to them.
    Some(&'a [&'a model::Namespace]),
}

/// Writes namespaces, processes, and the gaps of their snapshot; one object per line, so that a list of thousands can
/// be read by people and line-based tools too.
pub fn list(
    origin: &Origin,
    snapshot: &Snapshot,
    selection: Selection<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let object = |namespace| Namespace::new(namespace, snapshot);
    match selection {
        Selection::All => {
            let namespaces = Lazy(snapshot.namespaces.iter().map(object));
            let processes = Lazy(snapshot.processes.iter().map(Process::from));
            bytes::to_writer_by_line(&mut *out, &document(origin, snapshot, namespaces, processes, false))?;
        }
        Selection::Some(wanted) => {
            let ids: HashSet<NsId> = wanted.iter().map(|ns| ns.id).collect();
            let refers = |process: &&model::Process| {
                let slots = process.namespaces.as_ref();
                slots.is_some_and(|slots| slots.iter().any(|(_, id)| id.is_some_and(|id| ids.contains(&id))))
            };
            let namespaces = Lazy(wanted.iter().copied().map(object));
            let processes = Lazy(snapshot.processes.iter().filter(refers).map(Process::from));
            bytes::to_writer_by_line(&mut *out, &document(origin, snapshot, namespaces, processes, true))?;
        }
    }
    writeln!(out)
}

fn document<'a, N, P>(
    origin: &'a Origin,
    snapshot: &'a Snapshot,
    namespaces: N,
    processes: P,
    filtered: bool,
) -> List<'a, N, P> {
    let head = diff::Origin::from(origin);
    List {
        schema: schemas::LIST.into(),
        version: head.version,
        kernel: head.kernel,
        hostname: head.hostname,
        hostname_base64: head.hostname_base64,
        boot_id: head.boot_id,
        taken_at: head.taken_at,
        own_pid: head.own_pid,
        filtered,
        processes_from: Word(snapshot.processes_from),
        namespaces,
        processes,
        gaps: snapshot.gaps.iter().map(Into::into).collect(),
    }
}
