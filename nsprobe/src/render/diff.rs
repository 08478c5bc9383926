//! Differences between two snapshots: one per line, or as JSON.

use crate::document::diff::Diff;
use crate::model::{Difference, Moved, Namespace, NsId, Process, Side, Slots, Snapshot, Unseen};
use crate::render::bytes;
use crate::render::style::{self, TextStyle};
use crate::render::table;
use anstyle::Style;
use std::collections::HashSet;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr as _;

/// Writes a line for each difference: `+` appeared, `-` disappeared, `~` changed, `?` uncertain. Writes nothing if
/// there are none.
pub fn text(difference: &Difference<'_>, text_style: TextStyle, out: &mut impl Write) -> io::Result<()> {
    let (old, new) = (&difference.old.snapshot, &difference.new.snapshot);
    let mut line = |mark: (Style, char), head: &str, text: &str| {
        let room = text_style.width.map(|width| width.saturating_sub(head.width() + 4));
        let text = room.map_or_else(|| text.to_owned(), |room| style::cut(text, room, text_style));
        let line = format!("{} {head}  {text}", mark.1);
        writeln!(out, "{}", text_style.paint(mark.0, line.trim_end()))
    };
    for namespace in &difference.went {
        line(WENT, &namespace.id.to_string(), &content(namespace, old, text_style))?;
    }
    for namespace in &difference.came {
        line(CAME, &namespace.id.to_string(), &content(namespace, new, text_style))?;
    }
    for (_, namespace) in &difference.unsure {
        let text =
            with_subject("may be a different one with the same inode", &content(namespace, new, text_style));
        line(UNSURE, &namespace.id.to_string(), &text)?;
    }
    for Unseen { what: namespace, by, reason } in &difference.unseen {
        let snapshot = if *by == Side::New { old } else { new };
        let text = with_subject(&not_compared(*by, reason), &content(namespace, snapshot, text_style));
        line(UNSURE, &namespace.id.to_string(), &text)?;
    }
    for process in &difference.processes_went {
        line(WENT, &process.pid.to_string(), &style::command(process, text_style))?;
    }
    let fresh: HashSet<NsId> = difference.came.iter().map(|namespace| namespace.id).collect();
    for process in &difference.processes_came {
        let namespaces: Vec<String> = fresh_namespaces(process, &fresh).iter().map(NsId::to_string).collect();
        let inside =
            if namespaces.is_empty() { String::new() } else { format!("  in {}", namespaces.join(" ")) };
        let text = format!("{}{inside}", style::command(process, text_style));
        line(CAME, &process.pid.to_string(), &text)?;
    }
    for Unseen { what: process, by, reason } in &difference.processes_unseen {
        let text = with_subject(&not_compared(*by, reason), &style::command(process, text_style));
        line(UNSURE, &process.pid.to_string(), &text)?;
    }
    for moved in &difference.processes_changed {
        let text =
            format!("{}  {}", changes(moved, text_style).join("  "), style::command(moved.new, text_style));
        line(CHANGED, &moved.new.pid.to_string(), &text)?;
    }
    Ok(())
}

/// Adds to a remark the text that it is about, if there is one.
fn with_subject(remark: &str, by: &str) -> String {
    if by.is_empty() { remark.to_owned() } else { format!("{remark}: {by}") }
}

/// Says that a snapshot may have missed something.
fn not_compared(by: Side, reason: &str) -> String {
    let which = match by {
        Side::Old => "earlier",
        Side::New => "later",
    };
    format!("not compared with the {which} snapshot ({reason})")
}

const CAME: (Style, char) = (style::GOOD, '+');
const WENT: (Style, char) = (style::BAD, '-');
const CHANGED: (Style, char) = (style::WARNING, '~');
const UNSURE: (Style, char) = (style::WARNING, '?');

/// The processes of a namespace, or its holders.
fn content(namespace: &Namespace, snapshot: &Snapshot, text_style: TextStyle) -> String {
    let count = namespace.processes;
    let at_least = if namespace.all_seen { "" } else { "at least " };
    let more = if text_style.unicode { "…" } else { "..." };
    match namespace.leader.and_then(|pid| snapshot.process(pid)) {
        Some(leader) if count > 1 => {
            format!(
                "{at_least}{count} processes: {} {}, {more}",
                leader.pid,
                style::command(leader, text_style)
            )
        }
        Some(leader) => format!("{} {}", leader.pid, style::command(leader, text_style)),
        None => table::held(namespace),
    }
}

/// The new namespaces that a process is in, each once.
fn fresh_namespaces(process: &Process, fresh: &HashSet<NsId>) -> Vec<NsId> {
    let slots = process.namespaces.iter().flat_map(Slots::iter);
    let mut namespaces: Vec<NsId> = slots.filter_map(|(_, id)| id.filter(|id| fresh.contains(id))).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    namespaces
}

/// The changes of a process, each as `net:[1] → net:[2]`.
fn changes(moved: &Moved<'_>, text_style: TextStyle) -> Vec<String> {
    let arrow = if text_style.unicode { "→" } else { "->" };
    let namespaces = moved.namespaces.iter().map(|(slot, before, after)| {
        let new = if before == after { " (a new one with the same inode)" } else { "" };
        format!("{slot}:[{}] {arrow} {slot}:[{}]{new}", before.ino, after.ino)
    });
    let root = moved
        .root
        .map(|(before, after)| format!("root {} {arrow} {}", style::root(before), style::root(after)));
    namespaces.chain(root).collect()
}

/// Writes the differences as one document, made by this `version` of nsprobe.
pub fn json(difference: &Difference<'_>, version: &str, out: &mut impl Write) -> io::Result<()> {
    bytes::to_writer_pretty(&mut *out, &Diff::new(difference, version))?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arguments, Holder, Initial, NsKind, NsSlot, Origin, Pid, Root, Taken};
    use std::time::SystemTime;

    fn taken(processes: Vec<Process>) -> Taken {
        let origin = Origin {
            taken_at: SystemTime::UNIX_EPOCH,
            own_pid: Some(1),
            version: "0.1.0".to_owned(),
            kernel: "6.18.0".to_owned(),
            hostname: "host".into(),
            boot_id: Some("b1".to_owned()),
        };
        Taken { origin, snapshot: Snapshot { processes, ..Snapshot::default() } }
    }

    fn process(pid: Pid, command_line: &str) -> Process {
        Process {
            pid,
            ppid: 1,
            pids: vec![pid],
            start_ticks: 7,
            threads: 1,
            kernel_thread: false,
            uid: 0,
            comm: "x".into(),
            arguments: Arguments::of(command_line.split(' ').filter(|argument| !argument.is_empty())),
            namespaces: Some(Slots::default()),
            root: Root::Whole,
        }
    }

    fn net(ino: u64, change: impl FnOnce(&mut Namespace)) -> Namespace {
        let mut namespace =
            Namespace { initial: Initial::No, ..Namespace::new(NsId::new(NsKind::Net, 4, ino)) };
        change(&mut namespace);
        namespace
    }

    fn show(text_style: TextStyle) -> String {
        let held = |ns: &mut Namespace| {
            let mount_namespace = NsId::new(NsKind::Mnt, 4, 1);
            ns.holders = vec![Holder::BindMount { mount_namespace, path: "/run/netns/a".into(), here: true }];
        };
        let led = |ns: &mut Namespace| (ns.leader, ns.processes) = (Some(931), 3);
        let (went, came, unsure) = (net(11, held), net(12, led), net(13, held));
        let bare = net(14, |_| {});
        let mut server = process(931, "server --title a\nb and more");
        *server.namespaces.as_mut().unwrap().get_mut(NsSlot::In(NsKind::Net)) = Some(came.id);
        let mut jailed = process(44, "nsenter --net=/run/netns/a sh");
        jailed.root = Root::Chrooted("/jail".into());
        let gone = process(45, "true");
        let (old, new) = (taken(vec![gone.clone()]), taken(vec![server.clone()]));
        let difference = Difference {
            old: &old,
            new: &new,
            same_boot: true,
            came: vec![&came],
            went: vec![&went],
            unsure: vec![(&unsure, &unsure)],
            processes_came: vec![&server],
            processes_went: vec![&gone],
            processes_changed: vec![Moved {
                old: &gone,
                new: &jailed,
                namespaces: vec![
                    (NsSlot::In(NsKind::Net), went.id, came.id),
                    (NsSlot::PidForChildren, NsId::new(NsKind::Pid, 4, 5), NsId::new(NsKind::Pid, 4, 5)),
                ],
                root: Some((&Root::Whole, &jailed.root)),
            }],
            unseen: [
                (&went, "process 9 is not readable there"),
                (&bare, "the kernel's lists are not read there"),
            ]
            .map(|(what, reason)| Unseen { what, by: Side::New, reason: reason.to_owned() })
            .to_vec(),
            processes_unseen: vec![Unseen {
                what: &gone,
                by: Side::Old,
                reason: "/proc hides processes there".to_owned(),
            }],
            visibility: vec![],
        };
        let mut out = Vec::new();
        text(&difference, text_style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_difference_has_a_line() {
        insta::assert_snapshot!(show(TextStyle::PLAIN), @r#"
        - net:[11]  (held by /run/netns/a)
        + net:[12]  3 processes: 931 server --title "a\nb" and more, …
        ? net:[13]  may be a different one with the same inode: (held by /run/netns/a)
        ? net:[11]  not compared with the later snapshot (process 9 is not readable there): (held by /run/netns/a)
        ? net:[14]  not compared with the later snapshot (the kernel's lists are not read there)
        - 45  true
        + 931  server --title "a\nb" and more  in net:[12]
        ? 45  not compared with the earlier snapshot (/proc hides processes there): true
        ~ 44  net:[11] → net:[12]  pid_for_children:[5] → pid_for_children:[5] (a new one with the same inode)  root / → /jail  nsenter --net=/run/netns/a sh
        "#);
    }

    #[test]
    fn lines_fit_the_terminal_and_are_coloured() {
        let text_style = TextStyle { color: true, unicode: false, width: Some(44) };
        insta::assert_snapshot!(show(text_style).replace('\u{1b}', "^"), @r#"
        ^[31m- net:[11]  (held by /run/netns/a)^[0m
        ^[32m+ net:[12]  3 processes: 931 server --tit...^[0m
        ^[33m? net:[13]  may be a different one with t...^[0m
        ^[33m? net:[11]  not compared with the later s...^[0m
        ^[33m? net:[14]  not compared with the later s...^[0m
        ^[31m- 45  true^[0m
        ^[32m+ 931  server --title "a\nb" and more  in...^[0m
        ^[33m? 45  not compared with the earlier snaps...^[0m
        ^[33m~ 44  net:[11] -> net:[12]  pid_for_child...^[0m
        "#);
    }
}
