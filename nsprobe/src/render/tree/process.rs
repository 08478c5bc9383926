//! The process tree with the boundaries in it.

use super::boundary::{Boundary, boundaries};
use super::draw::{Drawing, Node, Span};
use super::fold::Folds;
use super::forest::Forest;
use super::{Options, Wanted, orphans};
use crate::model::{Initial, NsId, NsSlot, Pid, Process, Snapshot};
use crate::render::style::{self, TextStyle};
use anstyle::Style;
use std::io::{self, Write};

/// The processes of a snapshot as a forest: each below its parent, or a root if its parent is not in the snapshot.
pub(super) fn forest(snapshot: &Snapshot) -> Forest {
    Forest::new(snapshot.processes.iter().map(|process| index(snapshot, process.ppid)).collect())
}

/// The index of a process in the snapshot.
pub(super) fn index(snapshot: &Snapshot, pid: Pid) -> Option<usize> {
    snapshot.processes.binary_search_by_key(&pid, |process| process.pid).ok()
}

/// The processes of the tree, their boundaries, and which of them are folded.
struct Layout<'a> {
    forest: Forest,
    boundaries: Vec<Boundary<'a>>,
    folds: Folds,
}

impl<'a> Layout<'a> {
    fn of(snapshot: &'a Snapshot, options: &Options<'_>) -> Self {
        let mut forest = forest(snapshot);
        let boundaries = boundaries(snapshot, &forest);
        let narrowed = narrow(&mut forest, snapshot, options);
        let unfold = options.all || narrowed;
        let folds = if unfold { Folds::none(&forest) } else { Folds::new(snapshot, &forest, &boundaries) };
        Self { forest, boundaries, folds }
    }
}

/// The processes that the text names.
pub(super) fn named(snapshot: &Snapshot, options: &Options<'_>) -> Vec<Pid> {
    let Layout { forest, folds, .. } = Layout::of(snapshot, options);
    let shown = forest.order.iter().filter(|&&i| !folds.folded[i]);
    shown.map(|&i| snapshot.processes[i].pid).chain(orphans::holding(snapshot)).collect()
}

pub(super) fn text(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    options: &Options<'_>,
    text_style: TextStyle,
) -> io::Result<()> {
    let Layout { forest, boundaries, folds } = Layout::of(snapshot, options);
    let mut drawing = Drawing::default();
    let mut drawn = vec![None; snapshot.processes.len()];
    // Parents come first, so `drawn` has the parent's node; a folded process is skipped with all its descendants.
    for &i in &forest.order {
        if folds.folded[i] {
            continue;
        }
        let parent = forest.parent[i].and_then(|parent| drawn[parent]);
        let mut node = process_node(&snapshot.processes[i], text_style);
        node.notes = notes(snapshot, &boundaries[i]);
        drawn[i] = Some(drawing.add(parent, node));
    }
    for (i, below) in folds.below.iter().enumerate() {
        if let (Some(node), true) = (drawn[i], below.processes > 0) {
            drawing.add(Some(node), below.node(text_style));
        }
    }
    if folds.top.processes > 0 {
        drawing.add(None, folds.top.node(text_style));
    }
    drawing.write(out, text_style)?;
    let whole = options.pid.is_none() && options.wanted.is_none();
    if whole { orphans::text(out, snapshot, options, text_style) } else { Ok(()) }
}

/// Drops the processes that were not requested; true if the options restrict the tree.
pub(super) fn narrow(forest: &mut Forest, snapshot: &Snapshot, options: &Options<'_>) -> bool {
    if let Some(pid) = options.pid {
        match index(snapshot, pid) {
            Some(index) => forest.keep_branch(index),
            None => forest.keep_with_ancestors(|_| false),
        }
    }
    if let Some(ns) = options.ns {
        let slot = NsSlot::In(ns.kind);
        forest.keep_with_ancestors(|i| snapshot.processes[i].namespace(slot) == Some(ns));
    }
    if let Some(Wanted::Processes(wanted)) = options.wanted {
        forest.keep_with_ancestors(|i| {
            let process = &snapshot.processes[i];
            let inside = options.ns.is_none_or(|ns| process.namespace(NsSlot::In(ns.kind)) == Some(ns));
            inside && wanted.contains(&process.pid)
        });
    }
    options.pid.is_some() || options.ns.is_some() || options.wanted.is_some()
}

/// The line of a process, without its notes.
pub(super) fn process_node(process: &Process, text_style: TextStyle) -> Node {
    let mut head = vec![Span::new(style::PID, process.pid.to_string())];
    if let Some(inside @ [_, ..]) = process.pids.get(1..) {
        let inside: Vec<String> = inside.iter().map(ToString::to_string).collect();
        head.push(Span::new(Style::new(), format!("[{}]", inside.join(" "))));
    }
    let text = Span::new(Style::new(), style::command(process, text_style));
    let tail = if process.namespaces.is_none() { "(namespaces not readable)" } else { "" };
    Node { head, text, tail: Span::new(style::WARNING, tail), notes: Vec::new() }
}

fn notes(snapshot: &Snapshot, boundary: &Boundary<'_>) -> Vec<Vec<Span>> {
    let initial = |id: NsId| match snapshot.namespace(id) {
        Some(ns) if ns.initial == Initial::Yes => " (initial)",
        _ => "",
    };
    let changed = boundary.changed.iter().map(|&id| format!("{id}{}", initial(id)));
    let for_children =
        boundary.for_children.iter().map(|&(slot, id)| format!("{slot}:[{}]{}", id.ino, initial(id)));
    let namespaces: Vec<Span> =
        changed.chain(for_children).map(|text| Span::new(style::NAMESPACE, text)).collect();
    let root =
        boundary.root.map(|root| vec![Span::new(style::WARNING, format!("root {}", style::root(root)))]);
    [Some(namespaces), root].into_iter().flatten().filter(|note| !note.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NsKind::{Mnt, Net, Time, Uts};
    use crate::model::{NsKind, Root};
    use crate::render::tree::sample::{Sample, show, show_with};
    use insta::assert_snapshot;

    /// A small host: a container with its shim, a chrooted daemon, other processes.
    fn host() -> Sample {
        let mut host = Sample::new();
        host.process(1, 0, "systemd --system");
        host.process(2, 0, "").kernel_thread = true;
        for pid in 3..40 {
            host.process(pid, 2, "").kernel_thread = true;
        }
        for pid in 100..185 {
            host.process(pid, 1, "daemon");
        }
        host.process(812, 1, "containerd-shim -namespace moby");
        host.process(931, 812, "nginx: master process").pids = vec![931, 1];
        for (kind, ino) in
            [(Mnt, 4_026_532_201), (Uts, 4_026_532_202), (NsKind::Pid, 4_026_532_204), (Net, 4_026_532_206)]
        {
            host.enter(931, kind, ino);
        }
        for pid in 940..944 {
            host.copy(pid, 931, "nginx: worker process").pids = vec![pid, pid - 900];
        }
        host.process(990, 1, "sshd").root = Root::Chrooted("/var/empty".into());
        host
    }

    #[test]
    fn boundaries_are_shown_and_the_rest_is_counted() {
        assert_snapshot!(show(&host()), @r"
        1 systemd --system
        ├─ 812 containerd-shim -namespace moby
        │  └─ 931 [1] nginx: master process
        │     ┊ mnt:[4026532201] net:[4026532206] pid:[4026532204] uts:[4026532202]
        │     └─ … 4 processes
        ├─ 990 sshd
        │  ┊ root /var/empty
        └─ … 85 processes
        2 [task2]
        └─ … 37 processes
        ");
    }

    #[test]
    fn ascii_lines_and_a_narrow_terminal() {
        let text_style = TextStyle { unicode: false, width: Some(44), color: false };
        assert_snapshot!(show_with(&host(), text_style, |_| ()), @r"
        1 systemd --system
        |- 812 containerd-shim -namespace moby
        |  `- 931 [1] nginx: master process
        |     : mnt:[4026532201] net:[4026532206]
        |     : pid:[4026532204] uts:[4026532202]
        |     `- ... 4 processes
        |- 990 sshd
        |  : root /var/empty
        `- ... 85 processes
        2 [task2]
        `- ... 37 processes
        ");
    }

    #[test]
    fn terminal_of_no_width_keeps_the_pids() {
        let text_style = TextStyle { width: Some(1), ..TextStyle::PLAIN };
        assert_snapshot!(show_with(&host(), text_style, |_| ()), @r"
        1
        ├─ 812
        │  └─ 931 [1]
        …1    ┊ mnt:[4026532201]
        …1    ┊ net:[4026532206]
        …1    ┊ pid:[4026532204]
        …1    ┊ uts:[4026532202]
        …1    └─ … 4 processes
        ├─ 990
        │  ┊ root /var/empty
        └─ … 85 processes
        2
        └─ … 37 processes
        ");
    }

    #[test]
    fn colour() {
        let mut host = Sample::new();
        host.process(1, 0, "init");
        host.process(7, 1, "sh");
        host.enter(7, Net, 9);
        let text_style = TextStyle { color: true, ..TextStyle::PLAIN };
        assert_snapshot!(show_with(&host, text_style, |_| ()).replace('\u{1b}', "^"), @r"
        ^[1m1^[0m init
        ^[2m└─ ^[0m^[1m7^[0m sh
        ^[2m   ┊ ^[0m^[36mnet:[9]^[0m
        ");
    }

    #[test]
    fn branch_is_unfolded_and_has_nothing_else() {
        assert_snapshot!(show_with(&host(), TextStyle::PLAIN, |options| options.pid = Some(931)), @r"
        1 systemd --system
        └─ 812 containerd-shim -namespace moby
           └─ 931 [1] nginx: master process
              ┊ mnt:[4026532201] net:[4026532206] pid:[4026532204] uts:[4026532202]
              ├─ 940 [40] nginx: worker process
              ├─ 941 [41] nginx: worker process
              ├─ 942 [42] nginx: worker process
              └─ 943 [43] nginx: worker process
        ");
    }

    #[test]
    fn return_to_an_initial_namespace_is_marked() {
        let mut host = Sample::new();
        host.process(1, 0, "init");
        host.process(10, 1, "container");
        host.enter(10, Net, 77);
        host.copy(11, 10, "agent");
        host.enter(11, Net, Sample::initial(Net).ino);
        host.copy(12, 10, "unshared");
        host.enter_slot(12, NsSlot::PidForChildren, 88);
        host.enter_slot(12, NsSlot::TimeForChildren, Sample::initial(Time).ino + 1);
        assert_snapshot!(show(&host), @r"
        1 init
        └─ 10 container
           ┊ net:[77]
           ├─ 11 agent
           │  ┊ net:[4026531833] (initial)
           └─ 12 unshared
              ┊ pid_for_children:[88] time_for_children:[4026531836]

        No process is in:
          pid:[88] held by something that was not found
          time:[4026531836] held by something that was not found
        ");
    }

    #[test]
    fn unreadable_process_claims_no_boundary_and_hides_none() {
        let mut host = Sample::new();
        host.process(1, 0, "init").namespaces = None;
        host.process(10, 1, "same as the initial ones");
        host.process(20, 1, "in another");
        host.enter(20, Net, 77);
        host.copy(21, 20, "unreadable").namespaces = None;
        host.copy(22, 21, "as its grandparent");
        host.process(23, 21, "back");
        for pid in 30..33 {
            host.process(pid, 10, "closed").namespaces = None;
        }
        host.process(33, 10, "open");
        assert_snapshot!(show(&host), @r"
        1 init (namespaces not readable)
        ├─ 20 in another
        │  ┊ net:[77]
        │  └─ 21 unreadable (namespaces not readable)
        │     ├─ 22 as its grandparent
        │     │  ┊ net:[4026531833] (initial)
        │     └─ 23 back
        │        ┊ net:[4026531833] (initial)
        └─ … 5 processes (namespaces of 3 not readable)
        ");
        assert_snapshot!(show_with(&host, TextStyle::PLAIN, |options| options.all = true), @r"
        1 init (namespaces not readable)
        ├─ 10 same as the initial ones
        │  ├─ 30 closed (namespaces not readable)
        │  ├─ 31 closed (namespaces not readable)
        │  ├─ 32 closed (namespaces not readable)
        │  └─ 33 open
        └─ 20 in another
           ┊ net:[77]
           └─ 21 unreadable (namespaces not readable)
              ├─ 22 as its grandparent
              │  ┊ net:[4026531833] (initial)
              └─ 23 back
                 ┊ net:[4026531833] (initial)
        ");
    }

    #[test]
    fn nothing_is_claimed_without_anything_to_compare_with() {
        let mut host = Sample::without_initial();
        host.process(5, 0, "first");
        host.process(6, 5, "second");
        assert_snapshot!(show(&host), @r"
        5 first
        └─ 6 second
        ");
    }

    #[test]
    fn processes_with_unseen_parents_are_roots() {
        let mut host = Sample::new();
        host.process(50, 49, "orphan");
        host.process(51, 49, "orphan");
        host.process(60, 40, "crosser");
        host.enter(60, Uts, 5);
        assert_snapshot!(show(&host), @r"
        60 crosser
        ┊ uts:[5]
        … 2 processes
        ");
    }

    #[test]
    fn chroot_is_shown_where_it_begins_and_where_it_ends() {
        let mut host = Sample::new();
        let jail = Root::Chrooted("/srv/ja\u{1b}il".into());
        host.process(1, 0, "init");
        host.process(2, 1, "jailed").root = jail.clone();
        host.process(3, 2, "inherits").root = jail.clone();
        host.process(4, 3, "escaped");
        host.process(5, 3, "elsewhere").root = jail;
        host.enter(5, Mnt, 9);
        assert_snapshot!(show(&host), @r#"
        1 init
        └─ 2 jailed
           ┊ root "/srv/ja\u{1b}il"
           └─ 3 inherits
              ├─ 4 escaped
              │  ┊ root /
              └─ 5 elsewhere
                 ┊ mnt:[9]
                 ┊ root "/srv/ja\u{1b}il"
        "#);
    }

    #[test]
    fn command_can_neither_break_the_line_nor_control_the_terminal() {
        let mut host = Sample::new();
        host.process(1, 0, "evil\n2 fake\u{1b}[2J");
        assert_snapshot!(show(&host), @r#"1 "evil\n2" "fake\u{1b}[2J""#);
    }

    #[test]
    fn ten_thousand_levels_fit_a_terminal() {
        let mut host = Sample::new();
        for pid in 1..=10_000 {
            host.process(pid, pid - 1, "deeper");
        }
        host.enter(10_000, Net, 5);
        let text_style = TextStyle { width: Some(40), ..TextStyle::PLAIN };
        let text = show_with(&host, text_style, |_| ());
        assert_eq!(text.lines().count(), 10_001);
        let end: Vec<&str> = text.lines().skip(9_998).collect();
        assert_snapshot!(end.join("\n"), @r"
        …9991                   └─ 9999 deeper
        …9992                   └─ 10000 deeper
        …9993                   ┊ net:[5]
        ");
    }

    #[test]
    fn orphans_follow_the_tree() {
        let mut host = Sample::new();
        host.process(1, 0, "init");
        host.bind_mount(Net, 4_026_532_300, "/run/netns/t");
        host.bind_mount(Uts, 4_026_532_301, "/run/utsns/t");
        assert_snapshot!(show(&host), @r"
        1 init

        No process is in:
          net:[4026532300] held by /run/netns/t
          uts:[4026532301] held by /run/utsns/t
        ");
    }
}
