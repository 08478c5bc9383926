//! The hierarchies of pid and user namespaces as text.

use super::draw::{Drawing, Node, Span};
use super::fold::Folded;
use super::hierarchy::{Entry, Hierarchy};
use super::orphans::holders;
use super::process::process_node;
use super::{By, Options};
use crate::model::text;
use crate::model::{Initial, Namespace, NsKind, Process, Snapshot};
use crate::render::style::{self, TextStyle};
use anstyle::Style;
use std::io::{self, Write};

pub(super) fn by_pid(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    options: &Options<'_>,
    text_style: TextStyle,
) -> io::Result<()> {
    hierarchy(&Hierarchy::of_pid(snapshot, options.wanted), snapshot, options, text_style)
        .write(out, text_style)
}

pub(super) fn by_user(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    options: &Options<'_>,
    text_style: TextStyle,
) -> io::Result<()> {
    hierarchy(&Hierarchy::of_user(snapshot, options.wanted), snapshot, options, text_style)
        .write(out, text_style)
}

fn hierarchy(
    hierarchy: &Hierarchy<'_>,
    snapshot: &Snapshot,
    options: &Options<'_>,
    text_style: TextStyle,
) -> Drawing {
    let mut drawing = Drawing::default();
    let mut drawn = vec![None; hierarchy.entries.len()];
    for &i in &hierarchy.forest.order {
        let entry = &hierarchy.entries[i];
        let parent = hierarchy.forest.parent[i].and_then(|parent| drawn[parent]);
        let node = match entry.namespace {
            Some(namespace) => namespace_node(namespace, snapshot, options, text_style),
            None => unplaced_node(entry, options.by),
        };
        let node = drawing.add(parent, node);
        drawn[i] = Some(node);
        // For user namespaces the line itself names the leader.
        if options.by == By::Pid || options.all || entry.namespace.is_none() {
            members(&mut drawing, node, entry, options.all, text_style);
        }
        for owned in &entry.owned {
            drawing.add(Some(node), namespace_node(owned, snapshot, options, text_style));
        }
    }
    drawing
}

/// The members of an entry: all of them, or the leader and a count.
fn members(drawing: &mut Drawing, node: usize, entry: &Entry<'_>, all: bool, text_style: TextStyle) {
    let leader = entry.namespace.and_then(|ns| ns.leader);
    let is_leader = |process: &Process| Some(process.pid) == leader;
    let others = entry.members.iter().filter(|process| !is_leader(process)).count();
    let mut rest = Folded::default();
    for process in &entry.members {
        if all || others == 1 || is_leader(process) {
            drawing.add(Some(node), process_node(process, text_style));
        } else {
            rest.add(Folded::one(process));
        }
    }
    if rest.processes > 0 {
        drawing.add(Some(node), rest.node(text_style));
    }
}

fn unplaced_node(entry: &Entry<'_>, by: By) -> Node {
    let mut missing = Vec::new();
    if !entry.members.is_empty() {
        missing.push(if by == By::Pid { "pid namespace not known" } else { "user namespace not known" });
    }
    if !entry.owned.is_empty() {
        missing.push("owner not known");
    }
    Node { head: vec![Span::new(style::WARNING, missing.join(", "))], ..Node::default() }
}

/// The line of a namespace, and its holders if no process is in it.
fn namespace_node(
    namespace: &Namespace,
    snapshot: &Snapshot,
    options: &Options<'_>,
    text_style: TextStyle,
) -> Node {
    let mut facts = Vec::new();
    if namespace.initial == Initial::Yes {
        facts.push("initial".to_owned());
    } else if namespace.parent.is_none() && matches!(namespace.id.kind, NsKind::Pid | NsKind::User) {
        facts.push("parent not known".to_owned());
    }
    if let Some(uid) = namespace.owner_uid {
        let name = (options.user_name)(uid).map(|name| format!(" {}", text::shown(&name)));
        facts.push(format!("uid {uid}{}", name.unwrap_or_default()));
    }
    facts.push(match namespace.nprocs() {
        Some(count) => super::processes(count),
        None => format!("? processes, {} seen", namespace.processes),
    });
    if options.by == By::User
        && let Some(leader) = namespace.leader.and_then(|pid| snapshot.process(pid))
    {
        facts.push(format!("{} {}", leader.pid, style::command(leader, text_style)));
    }
    let between = if text_style.unicode { " · " } else { ", " };
    let held = if namespace.processes == 0 { holders(namespace, snapshot, text_style) } else { Vec::new() };
    Node {
        head: vec![Span::new(style::NAMESPACE, namespace.id.to_string())],
        text: Span::new(Style::new(), facts.join(between)),
        tail: Span::default(),
        notes: held.into_iter().map(|text| vec![Span::new(style::DIM, text)]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Holder, NsId, NsSlot, TcpState};
    use crate::render::tree::sample::{Sample, show_with};
    use insta::assert_snapshot;

    const DEV: u64 = 4;

    /// Two levels of pid namespaces, and a user namespace of uid 1000 that owns a network namespace.
    fn host() -> Sample {
        let mut host = Sample::new();
        host.process(1, 0, "init");
        for pid in 2..20 {
            host.process(pid, 1, "daemon");
        }
        host.process(100, 1, "outer").pids = vec![100, 1];
        host.enter(100, NsKind::Pid, 700);
        host.copy(101, 100, "inner").pids = vec![101, 2, 1];
        host.enter(101, NsKind::Pid, 701);
        host.namespace(NsId::new(NsKind::Pid, DEV, 701)).parent = Some(NsId::new(NsKind::Pid, DEV, 700));
        host.copy(102, 101, "inner child").pids = vec![102, 3, 2];
        host.process(200, 1, "browser --sandbox").uid = 1000;
        host.enter(200, NsKind::User, 800);
        host.enter(200, NsKind::Net, 900);
        let user = host.namespace(NsId::new(NsKind::User, DEV, 800));
        user.owner_uid = Some(1000);
        let user = user.id;
        host.namespace(NsId::new(NsKind::Net, DEV, 900)).owner = Some(user);
        host
    }

    #[test]
    fn holders_are_cut_to_a_narrow_terminal() {
        let mut host = host();
        let held = host.namespace(NsId::new(NsKind::User, DEV, 801));
        held.owner_uid = Some(1000);
        let state = TcpState::FinWait1;
        let (local, remote) = ("127.0.0.1:40080".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        held.holders = vec![
            Holder::Connection { local, remote, state },
            Holder::Descriptor { pid: 200, tid: None, fd: 3 },
            Holder::BindMount {
                mount_namespace: NsId::new(NsKind::Mnt, DEV, 1),
                path: "/x".repeat(400).as_str().into(),
                here: true,
            },
        ];
        let text_style = TextStyle { width: Some(40), ..TextStyle::PLAIN };
        let text = show_with(&host, text_style, |options| options.by = By::User);
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_snapshot!(text.split_once("user:[801] ").unwrap().1, @"
        uid 1000 alice · 0 proces…
           ┊ held by /x/x/x/x/x/x/x/x/x/x/x/x/x…
           ┊ held by TCP 127.0.0.1:40080 to 127…
           ┊ held by descriptor 3 of 200 browse…
        ");
    }

    #[test]
    fn pid_namespaces_hold_their_processes() {
        let text = show_with(&host(), TextStyle::PLAIN, |options| options.by = By::Pid);
        assert_snapshot!(text, @r"
        pid:[4026531834] initial · 20 processes
        ├─ 1 init
        ├─ … 19 processes
        └─ pid:[700] 1 process
           ├─ 100 [1] outer
           └─ pid:[701] 2 processes
              ├─ 101 [2 1] inner
              └─ 102 [3 2] inner child
        ");
    }

    #[test]
    fn all_processes_of_pid_namespaces() {
        let mut host = host();
        host.snapshot.processes.retain(|process| process.pid > 17);
        let text = show_with(&host, TextStyle::PLAIN, |options| (options.by, options.all) = (By::Pid, true));
        assert_snapshot!(text, @r"
        pid:[4026531834] initial · 3 processes
        ├─ 18 daemon
        ├─ 19 daemon
        ├─ 200 browser --sandbox
        └─ pid:[700] 1 process
           ├─ 100 [1] outer
           └─ pid:[701] 2 processes
              ├─ 101 [2 1] inner
              └─ 102 [3 2] inner child
        ");
    }

    #[test]
    fn user_namespaces_own_the_others() {
        let text = show_with(&host(), TextStyle::PLAIN, |options| options.by = By::User);
        assert_snapshot!(text, @r"
        user:[4026531836] initial · uid 0 root · 22 processes · 1 init
        ├─ cgroup:[4026531830] initial · 23 processes · 1 init
        ├─ ipc:[4026531831] initial · 23 processes · 1 init
        ├─ mnt:[4026531832] initial · 23 processes · 1 init
        ├─ net:[4026531833] initial · 22 processes · 1 init
        ├─ pid:[700] 1 process · 100 outer
        ├─ pid:[701] 2 processes · 101 inner
        ├─ pid:[4026531834] initial · 20 processes · 1 init
        ├─ time:[4026531835] initial · 23 processes · 1 init
        ├─ uts:[4026531837] initial · 23 processes · 1 init
        └─ user:[800] uid 1000 alice · 1 process · 200 browser --sandbox
           └─ net:[900] 1 process · 200 browser --sandbox
        ");
    }

    #[test]
    fn ascii_and_narrow() {
        let text_style = TextStyle { unicode: false, width: Some(40), color: false };
        let text = show_with(&host(), text_style, |options| options.by = By::User);
        assert_snapshot!(text, @r"
        user:[4026531836] initial, uid 0 root...
        |- cgroup:[4026531830] initial, 23 pr...
        |- ipc:[4026531831] initial, 23 proce...
        |- mnt:[4026531832] initial, 23 proce...
        |- net:[4026531833] initial, 22 proce...
        |- pid:[700] 1 process, 100 outer
        |- pid:[701] 2 processes, 101 inner
        |- pid:[4026531834] initial, 20 proce...
        |- time:[4026531835] initial, 23 proc...
        |- uts:[4026531837] initial, 23 proce...
        `- user:[800] uid 1000 alice, 1 proce...
           `- net:[900] 1 process, 200 browse...
        ");
    }

    #[test]
    fn members_of_unknown_namespaces_have_their_own_root() {
        let mut host = host();
        host.process(300, 1, "closed").namespaces = None;
        host.namespace(NsId::new(NsKind::Net, DEV, 900)).owner = None;
        host.namespace(NsId::new(NsKind::Pid, DEV, 701)).parent = None;
        assert_snapshot!(show_with(&host, TextStyle::PLAIN, |options| options.by = By::Pid), @r"
        pid:[4026531834] initial · 20 processes
        ├─ 1 init
        ├─ … 19 processes
        └─ pid:[700] 1 process
           └─ 100 [1] outer
        pid:[701] parent not known · 2 processes
        ├─ 101 [2 1] inner
        └─ 102 [3 2] inner child
        pid namespace not known
        └─ 300 closed (namespaces not readable)
        ");
        assert_snapshot!(show_with(&host, TextStyle::PLAIN, |options| options.by = By::User), @r"
        user:[4026531836] initial · uid 0 root · 22 processes · 1 init
        ├─ cgroup:[4026531830] initial · 23 processes · 1 init
        ├─ ipc:[4026531831] initial · 23 processes · 1 init
        ├─ mnt:[4026531832] initial · 23 processes · 1 init
        ├─ net:[4026531833] initial · 22 processes · 1 init
        ├─ pid:[700] 1 process · 100 outer
        ├─ pid:[701] parent not known · 2 processes · 101 inner
        ├─ pid:[4026531834] initial · 20 processes · 1 init
        ├─ time:[4026531835] initial · 23 processes · 1 init
        ├─ uts:[4026531837] initial · 23 processes · 1 init
        └─ user:[800] uid 1000 alice · 1 process · 200 browser --sandbox
        user namespace not known, owner not known
        ├─ 300 closed (namespaces not readable)
        └─ net:[900] 1 process · 200 browser --sandbox
        ");
    }

    #[test]
    fn orphans_are_shown_with_their_holders() {
        let mut host = Sample::new();
        host.process(1, 0, "init");
        for path in ["/a", "/b", "/c", "/d", "/e", "/a"] {
            host.bind_mount(NsKind::Net, 500, path);
        }
        let made = NsId::new(NsKind::User, DEV, 600);
        host.namespace(made).holders.push(Holder::Ancestor { of: NsId::new(NsKind::Net, DEV, 500) });
        host.namespace(NsId::new(NsKind::Net, DEV, 500)).owner = Some(made);
        host.enter_slot(1, NsSlot::PidForChildren, 650);
        host.namespace(NsId::new(NsKind::Pid, DEV, 650))
            .holders
            .push(Holder::ForChildren { pid: 1, tid: None });
        assert_snapshot!(show_with(&host, TextStyle::PLAIN, |options| options.by = By::User), @r"
        user:[4026531836] initial · uid 0 root · 1 process · 1 init
        ├─ cgroup:[4026531830] initial · 1 process · 1 init
        ├─ ipc:[4026531831] initial · 1 process · 1 init
        ├─ mnt:[4026531832] initial · 1 process · 1 init
        ├─ net:[4026531833] initial · 1 process · 1 init
        ├─ pid:[650] 0 processes
        │  ┊ held for the children of 1 init
        ├─ pid:[4026531834] initial · 1 process · 1 init
        ├─ time:[4026531835] initial · 1 process · 1 init
        ├─ uts:[4026531837] initial · 1 process · 1 init
        └─ user:[600] 0 processes
           ┊ held by net:[500], which it owns
           └─ net:[500] 0 processes
              ┊ held by /a, /b, /c and 2 more bind mounts
        ");
        assert_snapshot!(show_with(&host, TextStyle::PLAIN, |_| ()), @r"
        1 init
        ┊ pid_for_children:[650]

        No process is in:
          net:[500] held by /a, /b, /c and 2 more bind mounts
          pid:[650] held for the children of 1 init
          user:[600] held by net:[500], which it owns
        ");
    }
}
