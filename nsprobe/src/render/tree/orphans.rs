//! Orphans: the namespaces without processes, and their holders.

use super::Options;
use crate::model::{Holder, Namespace, NsId, Pid, Snapshot};
use crate::render::holders::{phrase, unseen};
use crate::render::style::{self, TextStyle};
use std::io::{self, Write};

/// The number of orphans that the process tree lists.
const MAX_ORPHANS: usize = 10;
/// The number of holders of one namespace that are named, apart from bind mounts.
const MAX_PHRASES: usize = 8;
/// The number of bind mounts of one namespace that are named.
const MAX_PATHS: usize = 3;

/// The holders of an orphan, a phrase each.
pub(super) fn holders(namespace: &Namespace, snapshot: &Snapshot, text_style: TextStyle) -> Vec<String> {
    let name = |pid| match snapshot.process(pid) {
        Some(process) => format!("{pid} {}", style::command(process, text_style)),
        None => pid.to_string(),
    };
    let mut phrases = Vec::new();
    let mut unnamed = namespace.holders_omitted;
    for holder in &namespace.holders {
        if phrases.len() == MAX_PHRASES && !matches!(holder, Holder::BindMount { .. }) {
            unnamed += 1;
            continue;
        }
        match holder {
            // A mount that propagates is one mount in each of many mount namespaces.
            Holder::BindMount { .. } => {}
            Holder::ForChildren { .. } => phrases.push(format!("held for the {}", phrase(holder, name))),
            Holder::Ancestor { of } => phrases.push(ancestor(namespace, *of, snapshot)),
            other => phrases.push(format!("held by {}", phrase(other, name))),
        }
    }
    let paths = namespace.mounts_with_namespace();
    let more = paths.len().saturating_sub(MAX_PATHS);
    let shown = paths.into_iter().take(MAX_PATHS);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match (shown.is_empty(), more) {
        (true, _) => {}
        (false, 0) => phrases.insert(0, format!("held by {shown}")),
        (false, _) => phrases.insert(0, format!("held by {shown} and {more} more bind mounts")),
    }
    if unnamed > 0 {
        phrases.push(format!("and {unnamed} more holders"));
    }
    if phrases.is_empty() {
        phrases.push(format!("held by {}", unseen(namespace)));
    }
    phrases
}

fn ancestor(namespace: &Namespace, of: NsId, snapshot: &Snapshot) -> String {
    let parent = of.kind == namespace.id.kind
        && snapshot.namespace(of).is_none_or(|child| child.parent == Some(namespace.id));
    format!("held by {of}, {}", if parent { "its child" } else { "which it owns" })
}

fn orphans(snapshot: &Snapshot) -> impl Iterator<Item = &Namespace> {
    snapshot.namespaces.iter().filter(|ns| ns.is_orphan() == Some(true))
}

/// The processes that hold orphans.
pub(super) fn holding(snapshot: &Snapshot) -> impl Iterator<Item = Pid> {
    orphans(snapshot).flat_map(|ns| &ns.holders).filter_map(Holder::pid)
}

/// Writes the orphans, at the end of the process tree.
pub(super) fn text(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    options: &Options<'_>,
    text_style: TextStyle,
) -> io::Result<()> {
    let of_one = |ns: &&Namespace| options.ns.is_none_or(|id| id == ns.id);
    let wanted: Vec<_> = orphans(snapshot).filter(of_one).collect();
    let unknown = snapshot.namespaces.iter().filter(of_one).filter(|ns| ns.is_orphan().is_none()).count();
    if unknown > 0 {
        let namespaces = if unknown == 1 { "1 namespace" } else { &format!("{unknown} namespaces") };
        writeln!(out, "\nNot all processes were seen: whether one is in {namespaces} more is not known")?;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nNo process is in:")?;
    let shown = if options.all { wanted.len() } else { MAX_ORPHANS };
    for namespace in wanted.iter().take(shown) {
        let held = holders(namespace, snapshot, text_style).join(", ");
        let id = namespace.id.to_string();
        let room = text_style.width.map_or(usize::MAX, |width| width.saturating_sub(id.len() + 3));
        writeln!(
            out,
            "  {} {}",
            text_style.paint(style::NAMESPACE, &id),
            style::cut(&held, room, text_style)
        )?;
    }
    if wanted.len() > shown {
        let ellipsis = if text_style.unicode { "…" } else { "..." };
        writeln!(out, "  {ellipsis} {} more (--all shows them)", wanted.len() - shown)?;
    }
    Ok(())
}
