//! The holders of each namespace, one per row.

use super::grid::{self, Heading};
use crate::model::{Holder, Initial, Namespace, NsId, NsKind, Pid, Searched, Snapshot, Source};
use crate::render::style::{self, TextStyle};
use anstyle::Style;
use std::io::{self, Write};

const HEADINGS: [Heading<'_>; 5] = [
    Heading { name: "NS", is_number: true },
    Heading { name: "TYPE", is_number: false },
    Heading { name: "HOLDER", is_number: false },
    Heading { name: "PID", is_number: true },
    Heading { name: "WHAT", is_number: false },
];

/// Writes the holders of `wanted`, namespaces of `snapshot`: the members as one row with the leader, then everything
/// else.
pub fn write(
    snapshot: &Snapshot,
    wanted: &[&Namespace],
    header: bool,
    text_style: TextStyle,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows = wanted.iter().flat_map(|namespace| {
        let style = if namespace.initial == Initial::Yes { style::DIM } else { Style::new() };
        holders(namespace, snapshot, text_style).into_iter().map(move |(holder, pid, what)| {
            let id = namespace.id;
            let pid = pid.map(|pid| pid.to_string()).unwrap_or_default();
            let cells = vec![id.ino.to_string(), id.kind.to_string(), holder.to_owned(), pid, what];
            (style, cells)
        })
    });
    grid::write(&HEADINGS, rows, header, text_style, out)
}

/// The maximum width of a command: a process may hold many namespaces by many descriptors, and has a row for each.
const MAX_COMMAND: usize = 256;

/// The holders of a namespace: the holder's name (as in JSON), the process it belongs to, and a description.
fn holders(
    namespace: &Namespace,
    snapshot: &Snapshot,
    text_style: TextStyle,
) -> Vec<(&'static str, Option<Pid>, String)> {
    let command = |pid: Pid| match snapshot.process(pid) {
        Some(process) => style::cut(&style::command(process, text_style), MAX_COMMAND, text_style),
        None => pid.to_string(),
    };
    let mut rows = Vec::new();
    let at_least = if namespace.all_seen { "" } else { "at least " };
    if namespace.processes > 0 {
        let first = namespace.leader.map(|pid| format!(": {}", command(pid))).unwrap_or_default();
        rows.push(("processes", namespace.leader, format!("{at_least}{}{first}", namespace.processes)));
    }
    rows.extend(namespace.holders.iter().map(|holder| {
        let what = match holder {
            Holder::Ancestor { of } => {
                format!("{} of {of}", if is_parent(namespace, *of, snapshot) { "parent" } else { "owner" })
            }
            other => phrase(other, command),
        };
        (holder.name(), holder.pid(), what)
    }));
    if namespace.holders_omitted > 0 {
        rows.push(("...", None, format!("{} more of the same", namespace.holders_omitted)));
    }
    if rows.is_empty() {
        rows.push(("?", None, unseen(namespace)));
    }
    rows
}

/// Describes a holder; `name` gives the text for its process.
pub(super) fn phrase(holder: &Holder, name: impl Fn(Pid) -> String) -> String {
    let owner = |pid: Pid, tid: Option<Pid>| match tid {
        Some(tid) => format!("thread {tid} of {}", name(pid)),
        None => name(pid),
    };
    match holder {
        Holder::Thread { pid, tid } => owner(*pid, Some(*tid)),
        Holder::ForChildren { pid, tid } => format!("children of {}", owner(*pid, *tid)),
        Holder::Descriptor { pid, tid, fd } => format!("descriptor {fd} of {}", owner(*pid, *tid)),
        Holder::Socket { pid, tid, fd } => format!("socket {fd} of {}", owner(*pid, *tid)),
        Holder::File { by, pid, tid, fd } => format!("{} {fd} of {}", by.text(), owner(*pid, *tid)),
        Holder::BindMount { mount_namespace, path, .. } => format!("{path} in {mount_namespace}"),
        Holder::Mount { fs_type, mount_namespace, path, .. } => match path {
            Some(path) => format!("{fs_type} at {path} in {mount_namespace}"),
            None => format!("{fs_type} in {mount_namespace}"),
        },
        Holder::DetachedMount { fs_type, dev: (major, minor) } => {
            format!("{fs_type} (device {major}:{minor}) mounted nowhere")
        }
        Holder::Connection { local, remote, state } => {
            format!("TCP {local} to {remote} ({}, no process)", state.name())
        }
        Holder::Ancestor { of } => of.to_string(),
    }
}

/// Describes what may hold a namespace without processes and known holders: everything that its kind permits except
/// what was searched.
pub(super) fn unseen(namespace: &Namespace) -> String {
    if !namespace.sources.contains(&Source::KernelLists) {
        return "something that was not found".to_owned();
    }
    let Searched { files, file_systems } = namespace.searched;
    let unless = |searched: bool, what| if searched { None } else { Some(what) };
    let may_be: &[Option<&str>] = match namespace.id.kind {
        NsKind::Pid => &[
            unless(file_systems, "a mount of proc"),
            unless(files, "an open file of a /proc/PID"),
            unless(files, "a pidfd"),
            unless(files, "a socket's peer"),
        ],
        NsKind::Ipc => &[Some("shared memory that a process has attached")],
        NsKind::Net => &[
            unless(files, "a tun or tap device"),
            unless(files, "an open file of a /proc/PID/net"),
            Some("a socket without a process"),
        ],
        NsKind::User => &[
            unless(files, "credentials of an open file or of a socket's peer"),
            unless(file_systems, "a file system that was mounted in it"),
        ],
        NsKind::Mnt => &[unless(files, "an open /proc/PID/mounts")],
        NsKind::Cgroup | NsKind::Time | NsKind::Uts => &[],
    };
    let may_be: Vec<&str> = may_be
        .iter()
        .flatten()
        .copied()
        .chain(["a descriptor in flight or registered with io_uring"])
        .collect();
    // Certain if everything in /proc was readable; if not, the gaps say so.
    let where_searched = match (files, file_systems) {
        (true, true) => "in /proc and among the open files and file systems",
        (true, false) => "in /proc and among the open files",
        (false, _) => "in /proc",
    };
    format!("nothing found {where_searched}: {}, or the kernel", may_be.join(", "))
}

/// True if `namespace` is the parent of `child`, and not only its owner.
fn is_parent(namespace: &Namespace, child: NsId, snapshot: &Snapshot) -> bool {
    snapshot.namespace(child).is_some_and(|child| child.parent == Some(namespace.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arguments, HeldBy, Process, Root, Slots, Text};

    fn process(pid: Pid, command_line: &str) -> Process {
        Process {
            pid,
            ppid: 0,
            pids: vec![pid],
            start_ticks: 1,
            threads: 2,
            kernel_thread: false,
            uid: 0,
            comm: Text::new(),
            arguments: Arguments::of(command_line.split(' ').filter(|argument| !argument.is_empty())),
            namespaces: Some(Slots::default()),
            root: Root::Whole,
        }
    }

    #[test]
    fn each_holder_has_a_row() {
        let id = |kind, ino| NsId::new(kind, 4, ino);
        let top = id(NsKind::User, 4_026_531_837);
        let net = id(NsKind::Net, 4_026_532_177);
        let child = id(NsKind::User, 4_026_532_300);
        let mount_namespace = id(NsKind::Mnt, 4_026_531_832);
        let namespaces = vec![
            Namespace {
                holders: vec![
                    Holder::Thread { pid: 7, tid: 9 },
                    Holder::ForChildren { pid: 7, tid: None },
                    Holder::ForChildren { pid: 7, tid: Some(9) },
                    Holder::Descriptor { pid: 8, tid: None, fd: 3 },
                    Holder::Socket { pid: 8, tid: Some(9), fd: 4 },
                    Holder::File { by: HeldBy::Tun, pid: 8, tid: None, fd: 5 },
                    Holder::BindMount { mount_namespace, path: "/run/netns/a\nb".into(), here: true },
                ],
                ..Namespace::new(net)
            },
            Namespace {
                processes: 2,
                leader: Some(7),
                holders: vec![Holder::Ancestor { of: net }, Holder::Ancestor { of: child }],
                ..Namespace::new(top)
            },
            Namespace { parent: Some(top), owner: Some(top), ..Namespace::new(child) },
            Namespace {
                sources: vec![Source::KernelLists],
                ..Namespace::new(id(NsKind::Uts, 4_026_532_301))
            },
            Namespace {
                holders: vec![
                    Holder::Mount {
                        fs_type: "proc".into(),
                        mount_namespace,
                        path: Some("/p".into()),
                        here: true,
                    },
                    Holder::Mount { fs_type: "proc".into(), mount_namespace, path: None, here: true },
                    Holder::DetachedMount { fs_type: "proc".into(), dev: (0, 45) },
                ],
                ..Namespace::new(id(NsKind::Pid, 4_026_532_302))
            },
            Namespace {
                sources: vec![Source::KernelLists],
                ..Namespace::new(id(NsKind::Pid, 4_026_532_303))
            },
            Namespace {
                sources: vec![Source::KernelLists],
                searched: Searched { files: true, file_systems: true },
                ..Namespace::new(id(NsKind::Pid, 4_026_532_304))
            },
        ];
        let processes = vec![process(7, "server -v"), process(8, "client\u{1b}[2J")];
        let snapshot = Snapshot { namespaces, processes, ..Snapshot::default() };
        let wanted: Vec<_> = snapshot.namespaces.iter().collect();
        let mut out = Vec::new();
        write(&snapshot, &wanted, true, TextStyle::PLAIN, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
                NS TYPE HOLDER         PID WHAT
        4026532177 net  thread           7 thread 9 of server -v
        4026532177 net  for_children     7 children of server -v
        4026532177 net  for_children     7 children of thread 9 of server -v
        4026532177 net  descriptor       8 descriptor 3 of "client\u{1b}[2J"
        4026532177 net  socket           8 socket 4 of thread 9 of "client\u{1b}[2J"
        4026532177 net  tun              8 tun device 5 of "client\u{1b}[2J"
        4026532177 net  bind_mount         "/run/netns/a\nb" in mnt:[4026531832]
        4026531837 user processes        7 2: server -v
        4026531837 user ancestor           owner of net:[4026532177]
        4026531837 user ancestor           parent of user:[4026532300]
        4026532300 user ?                  something that was not found
        4026532301 uts  ?                  nothing found in /proc: a descriptor in flight or registered with io_uring, or the kernel
        4026532302 pid  mount              proc at /p in mnt:[4026531832]
        4026532302 pid  mount              proc in mnt:[4026531832]
        4026532302 pid  detached_mount     proc (device 0:45) mounted nowhere
        4026532303 pid  ?                  nothing found in /proc: a mount of proc, an open file of a /proc/PID, a pidfd, a socket's peer, a descriptor in flight or registered with io_uring, or the kernel
        4026532304 pid  ?                  nothing found in /proc and among the open files and file systems: a descriptor in flight or registered with io_uring, or the kernel
        "#);
    }
}
