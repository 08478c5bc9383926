//! Events as text: one line each, aligned, with the call as strace(1) would write it.

mod call;
mod lifecycle;

use crate::model::{Directory, Event, Operation, Outcome, Pid, Scans, Seen, Text, errno_name, errno_text};
use crate::render::style::{self, TextStyle};
use call::{call, resolved_text};
use jiff::Timestamp;
pub use lifecycle::{created, destroyed, rebuilt};
use std::fmt::Write as _;
use std::time::SystemTime;
use unicode_width::UnicodeWidthStr as _;

/// The column at which a line wider than the terminal continues: below the pid.
pub const CONTINUED: usize = 17;

/// The line above the first event.
#[must_use]
pub fn header(text_style: TextStyle) -> String {
    text_style.paint(
        anstyle::Style::new().bold(),
        format_args!("{:15}  {:>11}  {:>5}  {:15}  CALL", "TIME", "PID", "UID", "COMM"),
    )
}

/// Formats one event, with the time of day (UTC) and microseconds: the date is in the stream's start.
#[must_use]
pub fn line(event: &Event, time: SystemTime, text_style: TextStyle) -> String {
    let caller = &event.process;
    let mut line = format!(
        "{}  {}  {:>5}  {}  {}",
        text_style.paint(style::DIM, clock(time)),
        text_style.paint(style::PID, format_args!("{:>11}", pid(caller.pid, caller.tid, &caller.pids))),
        caller.uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string()),
        name(&caller.comm),
        call(event),
    );
    match event.outcome {
        Outcome::Success(result) => {
            let _ = write!(line, " = {}", child_text(event).unwrap_or_else(|| result.to_string()));
        }
        Outcome::Failure(errno) => {
            let name = errno_name(errno);
            let failure = match errno_text(errno) {
                _ if event.denied => format!("-1 {name} (stopped by seccomp)"),
                None => format!("-1 {name}"),
                Some(text) => format!("-1 {name} ({text})"),
            };
            line.push_str(" = ");
            line.push_str(&text_style.paint(style::BAD, failure));
        }
        Outcome::Restarted(errno) => {
            let _ = write!(line, " = ? {} (to be restarted)", errno_name(errno));
        }
        Outcome::Unseen => {
            if let Some(child_text) = child_text(event) {
                let _ = write!(line, " = ?  child {child_text}");
            }
        }
    }
    if event.joined_other_namespace() {
        line.push_str("  (target as at entry)");
    }
    if event.chroot_path_differs() {
        line.push_str("  (path as at entry)");
    }
    if event.seen == Some(Seen::EntryMissed) {
        line.push_str("  (entry missed: before unknown)");
    }
    if event.compat == Some(true) {
        line.push_str("  (32-bit)");
    }
    let arrow = if text_style.unicode { "→" } else { "->" };
    let mut add_change = |change: String| {
        line.push_str("  ");
        line.push_str(&text_style.paint(style::NAMESPACE, change));
    };
    for (slot, before, after) in event.changed_slots() {
        add_change(format!("{slot} {}{arrow}{}", before.ino, after.ino));
    }
    if let Operation::Change { scans: Some(Scans { is_new: true, .. }) } = event.operation {
        for (slot, after) in event.after.iter().filter(|(slot, _)| event.before.get(*slot).is_none()) {
            if let Some(after) = after {
                add_change(format!("{slot} ?{arrow}{}", after.ino));
            }
        }
    }
    for (name, directory) in [("root", &event.root), ("cwd", &event.cwd)] {
        if let Some(Directory { moved: true, before, after }) = directory {
            // Equal paths do not show the change.
            let other = if before == after { " (different mount or directory)" } else { "" };
            let (before, after) = (resolved_text(before), resolved_text(after));
            add_change(format!("{name} {before}{arrow}{after}{other}"));
        }
    }
    line
}

/// The name of a program, padded to the columns that fifteen bytes can take; blank if it is not known.
fn name(comm: &Text) -> String {
    let mut name = if comm.is_empty() { String::new() } else { comm.to_string() };
    // The formatter would count characters, but one may take two columns, or none.
    name.extend(std::iter::repeat_n(' ', 15_usize.saturating_sub(name.width())));
    name
}

/// The time of day (UTC) with microseconds.
fn clock(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).strftime("%H:%M:%S%.6f").to_string()
}

/// The pid; with the tid where it differs, and the pids inside its pid namespaces.
fn pid(pid: Pid, tid: Pid, pids: &[Pid]) -> String {
    let mut text = pid.to_string();
    if tid != pid {
        let _ = write!(text, "/{tid}");
    }
    if let Some((_, inside @ [_, ..])) = pids.split_first() {
        let inside: Vec<_> = inside.iter().map(Pid::to_string).collect();
        let _ = write!(text, "[{}]", inside.join(" "));
    }
    text
}

fn child_text(event: &Event) -> Option<String> {
    match &event.operation {
        Operation::Clone { child: Some(child), .. } => Some(pid(child.pid, child.tid, &child.pids)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
