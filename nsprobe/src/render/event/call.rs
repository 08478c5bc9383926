//! Calls with their arguments, as strace(1) would write them.

use crate::model::{Event, Operation, PathText, ResolvedPath, Scans, SetnsTarget, Text, text};
use std::fmt::Write as _;

/// The call with its arguments.
pub(super) fn call(event: &Event) -> String {
    let name = event.operation.name();
    match &event.operation {
        Operation::Clone { flags: Some(_), .. } | Operation::Unshare { .. } => {
            format!("{name}({})", flags_text(&event.operation.flag_names().unwrap_or_default()))
        }
        Operation::Clone { flags: None, .. } => format!("{name}(?)"),
        Operation::Change { scans: Some(Scans { is_new: true, .. }) } => format!("{name} (new process)"),
        Operation::Change { .. } => name.to_owned(),
        Operation::Setns { fd, target, .. } => {
            let target = target.as_ref().map(|it| format!("<{}>", target_text(it))).unwrap_or_default();
            format!("{name}({fd}{target}, {})", flags_text(&event.operation.flag_names().unwrap_or_default()))
        }
        Operation::Chroot { path } => format!("{name}({})", path_text(path)),
        Operation::PivotRoot { new_root, put_old, new_root_at, put_old_at } => {
            let at = |at: &Option<ResolvedPath>| {
                at.as_ref().map(|at| format!("<{}>", resolved_text(at))).unwrap_or_default()
            };
            let (new, old) = (path_text(new_root), path_text(put_old));
            format!("{name}({new}{}, {old}{})", at(new_root_at), at(put_old_at))
        }
    }
}

fn target_text(target: &SetnsTarget) -> String {
    match target {
        SetnsTarget::Namespace { id, path: None, .. } => id.to_string(),
        SetnsTarget::Namespace { id, path: Some(path), .. } => format!("{id} {path}"),
        SetnsTarget::Process { pid, tid, comm, .. } => {
            let comm = comm.as_ref().map_or_else(|| "(gone)".to_owned(), Text::to_string);
            if tid == pid { format!("pid {pid} {comm}") } else { format!("pid {pid}/{tid} {comm}") }
        }
    }
}

fn flags_text(names: &[String]) -> String {
    if names.is_empty() { "0".to_owned() } else { names.join("|") }
}

fn path_text(path: &PathText) -> String {
    match path {
        PathText::Whole(path) => text::quoted(path.as_bytes()),
        PathText::Cut(path) => format!("{}...", text::quoted(path.as_bytes())),
        PathText::Unreadable => "<unreadable>".to_owned(),
    }
}

/// A directory; begins with `...` if leading names are missing.
pub(super) fn resolved_text(path: &ResolvedPath) -> String {
    let cut = if path.cut { ".../" } else { "" };
    let mut text = format!("{cut}{}", path.path);
    // A path in no directory is not detached as well.
    let nowhere = [(path.deleted, "deleted"), (path.unreachable && !path.deleted, "unreachable")];
    for (_, mark) in
        nowhere.into_iter().chain([(path.detached && !path.deleted, "detached")]).filter(|it| it.0)
    {
        let _ = write!(text, " ({mark})");
    }
    text
}
