//! Events for people: one line each, aligned, with the call as strace(1) would write it.

mod call;
mod lives;

use crate::model::{Operation, Directory, Event, Looks, Outcome, Pid, Seen, Text, errno_name, errno_text};
use crate::render::style::{self, TextStyle};
use call::{call, place};
use jiff::Timestamp;
pub use lives::{created, destroyed, rebuilt};
use std::fmt::Write as _;
use std::time::SystemTime;
use unicode_width::UnicodeWidthStr as _;

/// Where a line goes on that is wider than the terminal: below the process id.
pub const CONTINUED: usize = 17;

/// The line above the first event.
#[must_use]
pub fn header(look: TextStyle) -> String {
    look.paint(
        anstyle::Style::new().bold(),
        format_args!("{:15}  {:>11}  {:>5}  {:15}  CALL", "TIME", "PID", "UID", "COMM"),
    )
}

/// One event, with the time of day (UTC) and microseconds: the date is in the stream's start.
#[must_use]
pub fn line(event: &Event, time: SystemTime, look: TextStyle) -> String {
    let actor = &event.process;
    let mut line = format!(
        "{}  {}  {:>5}  {}  {}",
        look.paint(style::DIM, clock(time)),
        look.paint(style::PID, format_args!("{:>11}", pid(actor.pid, actor.tid, &actor.pids))),
        actor.uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string()),
        name(&actor.comm),
        call(event),
    );
    match event.outcome {
        Outcome::Success(result) => {
            let _ = write!(line, " = {}", made(event).unwrap_or_else(|| result.to_string()));
        }
        Outcome::Failure(errno) => {
            let name = errno_name(errno);
            let failure = match errno_text(errno) {
                _ if event.denied => format!("-1 {name} (stopped by seccomp)"),
                None => format!("-1 {name}"),
                Some(text) => format!("-1 {name} ({text})"),
            };
            line.push_str(" = ");
            line.push_str(&look.paint(style::BAD, failure));
        }
        Outcome::Restarted(errno) => {
            let _ = write!(line, " = ? {} (to be restarted)", errno_name(errno));
        }
        Outcome::Unseen => {
            if let Some(made) = made(event) {
                let _ = write!(line, " = ?  child {made}");
            }
        }
    }
    if event.joined_another() {
        line.push_str("  (target as at entry)");
    }
    if event.led_elsewhere() {
        line.push_str("  (path as at entry)");
    }
    if event.seen == Some(Seen::EntryMissed) {
        line.push_str("  (entry missed: before unknown)");
    }
    if event.compat == Some(true) {
        line.push_str("  (32-bit)");
    }
    let arrow = if look.unicode { "→" } else { "->" };
    let mut tell = |change: String| {
        line.push_str("  ");
        line.push_str(&look.paint(style::NAMESPACE, change));
    };
    for (slot, before, after) in event.changed_slots() {
        tell(format!("{slot} {}{arrow}{}", before.ino, after.ino));
    }
    if let Operation::Change { looks: Some(Looks { is_new: true, .. }) } = event.crossing {
        for (slot, after) in event.after.iter().filter(|(slot, _)| event.before.get(*slot).is_none()) {
            if let Some(after) = after {
                tell(format!("{slot} ?{arrow}{}", after.ino));
            }
        }
    }
    for (name, directory) in [("root", &event.root), ("cwd", &event.cwd)] {
        if let Some(Directory { moved: true, before, after }) = directory {
            // The path does not show what has changed.
            let other = if before == after { " (different mount or directory)" } else { "" };
            let (before, after) = (place(before), place(after));
            tell(format!("{name} {before}{arrow}{after}{other}"));
        }
    }
    line
}

/// The name of a program, filled up to the columns that fifteen bytes may take; nothing where it is not known.
fn name(comm: &Text) -> String {
    let mut name = if comm.is_empty() { String::new() } else { comm.to_string() };
    // Not by the formatter, which counts characters: one may take two columns, or none.
    name.extend(std::iter::repeat_n(' ', 15_usize.saturating_sub(name.width())));
    name
}

/// The time of day (UTC) with microseconds.
fn clock(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).strftime("%H:%M:%S%.6f").to_string()
}

/// The process id; with the thread's where that is another, and the ids inside its pid namespaces.
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

fn made(event: &Event) -> Option<String> {
    match &event.crossing {
        Operation::Clone { child: Some(child), .. } => Some(pid(child.pid, child.tid, &child.pids)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
