//! Namespaces as a table, one per row.

use super::grid::{self, Heading};
use crate::model::text;
use crate::model::{Holder, Initial, Namespace, Process, Snapshot};
use crate::render::holders::phrase;
use crate::render::style::{self, TextStyle};
use anstyle::Style;
use std::collections::HashMap;
use std::io::{self, Write};

/// A column of the table; named as in lsns(8), if lsns has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// Inode.
    Ns,
    /// Kind.
    Type,
    /// A path by which the namespace can be opened.
    Path,
    /// Number of processes in it.
    Nprocs,
    /// Pid of the leader.
    Pid,
    /// Pid of the leader's parent.
    Ppid,
    /// Effective uid of the leader.
    Uid,
    /// Name of that user.
    User,
    /// `yes` for an initial namespace.
    Initial,
    /// Paths where its file is mounted.
    Nsfs,
    /// Its id in the reader's network namespace.
    Netnsid,
    /// Inode of its parent.
    Pns,
    /// Inode of the user namespace that owns it.
    Ons,
    /// Command line of the leader, or the holders of a namespace without processes.
    Command,
}

impl Column {
    /// Every column.
    pub const ALL: [Self; 14] = [
        Self::Ns,
        Self::Type,
        Self::Path,
        Self::Nprocs,
        Self::Pid,
        Self::Ppid,
        Self::Uid,
        Self::User,
        Self::Initial,
        Self::Netnsid,
        Self::Nsfs,
        Self::Pns,
        Self::Ons,
        Self::Command,
    ];

    /// The columns shown by default.
    pub const DEFAULT: [Self; 9] = [
        Self::Ns,
        Self::Type,
        Self::Nprocs,
        Self::Pid,
        Self::Ppid,
        Self::Uid,
        Self::User,
        Self::Initial,
        Self::Command,
    ];

    /// The name on the command line; the heading is the same in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Type => "type",
            Self::Path => "path",
            Self::Nprocs => "nprocs",
            Self::Pid => "pid",
            Self::Ppid => "ppid",
            Self::Uid => "uid",
            Self::User => "user",
            Self::Initial => "initial",
            Self::Netnsid => "netnsid",
            Self::Nsfs => "nsfs",
            Self::Pns => "pns",
            Self::Ons => "ons",
            Self::Command => "command",
        }
    }

    /// A short description of the column.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Ns => "inode, as in net:[4026531833]",
            Self::Type => "kind",
            Self::Path => "a path by which the namespace can be opened",
            Self::Nprocs => "number of processes in it",
            Self::Pid => "its leader: the topmost process in it",
            Self::Ppid => "the leader's parent",
            Self::Uid => "the leader's effective user id",
            Self::User => "the name of that user",
            Self::Initial => "whether it is an initial namespace; ? if unknown",
            Self::Netnsid => "its id in the network namespace of nsprobe",
            Self::Nsfs => "where its file is bind-mounted",
            Self::Pns => "its parent (pid and user namespaces)",
            Self::Ons => "the user namespace that owns it",
            Self::Command => "the leader's command line; of a namespace without processes, what holds it",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Ns | Self::Nprocs | Self::Pid | Self::Ppid | Self::Uid | Self::Pns | Self::Ons)
    }
}

/// The contents and style of the table.
#[derive(Debug)]
pub struct Options<'a> {
    /// The columns, in order.
    pub columns: &'a [Column],
    /// Set if the first line has their names.
    pub header: bool,
    /// Names of users; a user without one is shown as a uid.
    pub users: &'a HashMap<u32, String>,
    /// The style of the output.
    pub text_style: TextStyle,
}

/// Writes `wanted`, namespaces of `snapshot`, one per row.
pub fn write(
    snapshot: &Snapshot,
    wanted: &[&Namespace],
    options: &Options<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows = wanted.iter().map(|namespace| {
        let leader = namespace.leader.and_then(|pid| snapshot.process(pid));
        let style = match namespace.initial {
            Initial::Yes => style::DIM,
            Initial::No | Initial::Unknown => Style::new(),
        };
        (style, options.columns.iter().map(|column| text(*column, namespace, leader, options)).collect())
    });
    let names: Vec<String> =
        options.columns.iter().map(|column| column.name().to_ascii_uppercase()).collect();
    let headings: Vec<_> = options
        .columns
        .iter()
        .zip(&names)
        .map(|(column, name)| Heading { name, is_number: column.is_number() })
        .collect();
    grid::write(&headings, rows, options.header, options.text_style, out)
}

fn text(column: Column, namespace: &Namespace, leader: Option<&Process>, options: &Options<'_>) -> String {
    let of_leader = |text: &dyn Fn(&Process) -> String| leader.map(text).unwrap_or_default();
    match column {
        Column::Ns => namespace.id.ino.to_string(),
        Column::Type => namespace.id.kind.to_string(),
        Column::Path => namespace.path().map(|path| path.to_string()).unwrap_or_default(),
        Column::Nprocs => namespace.nprocs().map_or_else(|| "?".to_owned(), |count| count.to_string()),
        Column::Pid => of_leader(&|process| process.pid.to_string()),
        Column::Ppid => of_leader(&|process| process.ppid.to_string()),
        Column::Uid => of_leader(&|process| process.uid.to_string()),
        Column::User => of_leader(&|process| {
            options.users.get(&process.uid).map_or_else(|| process.uid.to_string(), text::shown)
        }),
        Column::Initial => match namespace.initial {
            Initial::Yes => "yes".to_owned(),
            Initial::No => "no".to_owned(),
            Initial::Unknown => "?".to_owned(),
        },
        Column::Netnsid => namespace.netnsid.map(|id| id.to_string()).unwrap_or_default(),
        Column::Nsfs => namespace.mounts_with_namespace().join(","),
        Column::Pns => namespace.parent.map(|id| id.ino.to_string()).unwrap_or_default(),
        Column::Ons => namespace.owner.map(|id| id.ino.to_string()).unwrap_or_default(),
        Column::Command => match leader {
            Some(process) => style::command(process, options.text_style),
            None => held(namespace),
        },
    }
}

fn unique(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The number of holders of one namespace that are named in its row.
const MAX_NAMED: usize = 8;

/// Describes the holders of a namespace without processes.
#[must_use]
pub fn held(namespace: &Namespace) -> String {
    let others = namespace.holders.iter().filter(|holder| !matches!(holder, Holder::BindMount { .. }));
    let others = others.map(|holder| phrase(holder, |pid| pid.to_string()));
    let mut holders = unique(others.chain(namespace.mounts_with_namespace()));
    let more = holders.len().saturating_sub(MAX_NAMED) as u64 + namespace.holders_omitted;
    holders.truncate(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    if holders.is_empty() { String::new() } else { format!("(held by {}{more})", holders.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arguments, NsId, NsKind, Root, Slots};

    fn snapshot() -> Snapshot {
        let process = |pid, ppid, uid, command_line: &str| Process {
            pid,
            ppid,
            pids: vec![pid],
            start_ticks: u64::from(pid),
            threads: 1,
            kernel_thread: false,
            uid,
            comm: "x".into(),
            arguments: Arguments::of(command_line.split(' ').filter(|argument| !argument.is_empty())),
            namespaces: Some(Slots::default()),
            root: Root::Whole,
        };
        let namespace = |kind, ino, initial, processes, leader, holders: Vec<Holder>| Namespace {
            initial,
            owner: Some(NsId::new(NsKind::User, 4, 4_026_531_837)),
            processes,
            leader,
            mount_path: holders.first().map(|_| "/run/netns/a".into()),
            holders,
            ..Namespace::new(NsId::new(kind, 4, ino))
        };
        let mount = |at: &str| Holder::BindMount {
            mount_namespace: NsId::new(NsKind::Mnt, 4, 4_026_531_832),
            path: at.into(),
            here: true,
        };
        Snapshot {
            namespaces: vec![
                namespace(NsKind::Net, 4_026_531_833, Initial::Yes, 85, Some(1), vec![]),
                namespace(
                    NsKind::Net,
                    4_026_532_177,
                    Initial::No,
                    0,
                    None,
                    vec![mount("/run/netns/b"), mount("/run/netns/a")],
                ),
                namespace(NsKind::Net, 4_026_532_300, Initial::No, 3, Some(931), vec![]),
            ],
            processes: vec![
                process(1, 0, 0, "/sbin/init"),
                process(931, 1, 1000, "server --title a\nb\u{1b}[2J --and a long tail of arguments"),
            ],
            ..Snapshot::default()
        }
    }

    fn table(columns: &[Column], text_style: TextStyle) -> String {
        let snapshot = snapshot();
        let users = HashMap::from([(0, "root".to_owned())]);
        let wanted: Vec<_> = snapshot.namespaces.iter().collect();
        let mut out = Vec::new();
        write(&snapshot, &wanted, &Options { columns, header: true, users: &users, text_style }, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_have_one_line_each_and_no_control_characters() {
        insta::assert_snapshot!(table(&Column::DEFAULT, TextStyle::PLAIN), @r#"
                NS TYPE NPROCS PID PPID  UID USER INITIAL COMMAND
        4026531833 net      85   1    0    0 root yes     /sbin/init
        4026532177 net       0                    no      (held by /run/netns/a, /run/netns/b)
        4026532300 net       3 931    1 1000 1000 no      server --title "a\nb\u{1b}[2J" --and a long tail of arguments
        "#);
    }

    #[test]
    fn last_column_is_cut_at_the_width() {
        insta::assert_snapshot!(table(&Column::DEFAULT, TextStyle { width: Some(64), ..TextStyle::PLAIN }), @"
                NS TYPE NPROCS PID PPID  UID USER INITIAL COMMAND
        4026531833 net      85   1    0    0 root yes     /sbin/init
        4026532177 net       0                    no      (held by /run…
        4026532300 net       3 931    1 1000 1000 no      server --titl…
        ");
    }

    #[test]
    fn columns_can_be_chosen_and_ordered() {
        let columns = [Column::Type, Column::Ns, Column::Path, Column::Nsfs, Column::Ons];
        insta::assert_snapshot!(table(&columns, TextStyle::PLAIN), @"
        TYPE         NS PATH             NSFS                             ONS
        net  4026531833 /proc/1/ns/net                             4026531837
        net  4026532177 /run/netns/a     /run/netns/a,/run/netns/b 4026531837
        net  4026532300 /proc/931/ns/net                           4026531837
        ");
    }
}
