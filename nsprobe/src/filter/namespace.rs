//! The fields of a namespace, by the names of `list`'s columns. Most of their names in its JSON work as well.

use super::value::{Field, Fields, Type, Value};
use crate::model::{Initial, Namespace, NetnsId, Process, Snapshot};

/// A namespace with its leader.
pub struct NamespaceRow<'a> {
    namespace: &'a Namespace,
    leader: Option<&'a Process>,
    user_name: &'a dyn Fn(u32) -> Option<String>,
}

impl<'a> NamespaceRow<'a> {
    /// The fields; `pid`, `pids`, `ppid`, `uid`, `user`, `comm` and `command` are those of its leader.
    pub const FIELDS: &'static [Field] = &[
        Field::new("ns", Type::Number),
        Field::new("ino", Type::Number),
        Field::new("type", Type::Text),
        Field::new("kind", Type::Text),
        Field::new("kernel_id", Type::Number),
        Field::new("initial", Type::Bool),
        Field::new("path", Type::Text),
        Field::new("nprocs", Type::Number),
        Field::new("pid", Type::Number).or(&["leader.pid"]),
        Field::new("pids", Type::Numbers).or(&["leader.pids"]),
        Field::new("ppid", Type::Number).or(&["leader.ppid"]),
        Field::new("uid", Type::Number).or(&["leader.uid"]),
        Field::new("user", Type::Text),
        Field::new("comm", Type::Text).or(&["leader.comm"]),
        Field::new("command", Type::Text),
        Field::new("netnsid", Type::Number),
        Field::new("nsfs", Type::Texts),
        Field::new("pns", Type::Number).or(&["parent.ino"]),
        Field::new("ons", Type::Number).or(&["owner.ino"]),
        Field::new("owner_uid", Type::Number),
        Field::new("held", Type::Bool),
        Field::new("holders", Type::Texts),
        Field::new("sources", Type::Texts),
    ];

    /// The row of a `namespace` of `snapshot`; `user_name` returns the name of a user id, if there is one.
    pub fn new(
        namespace: &'a Namespace,
        snapshot: &'a Snapshot,
        user_name: &'a dyn Fn(u32) -> Option<String>,
    ) -> Self {
        let leader = namespace.leader.and_then(|pid| snapshot.process(pid));
        Self { namespace, leader, user_name }
    }
}

impl Fields for NamespaceRow<'_> {
    fn value(&self, name: &str) -> Value<'_> {
        let Self { namespace, leader, .. } = self;
        match name {
            "ns" | "ino" => Value::Number(namespace.id.ino),
            "type" | "kind" => Value::text(Some(namespace.id.kind.name())),
            "kernel_id" => Value::number(namespace.kernel_id),
            "initial" => match namespace.initial {
                Initial::Yes => Value::Bool(true),
                Initial::No => Value::Bool(false),
                Initial::Unknown => Value::Unknown,
            },
            "path" => Value::text(namespace.path().map(|path| path.lossy().into_owned())),
            "nprocs" => Value::number(namespace.nprocs()),
            "pid" => Value::number(leader.map(|process| process.pid)),
            "pids" => leader.map_or(Value::Unknown, pids),
            "ppid" => Value::number(leader.map(|process| process.ppid)),
            "uid" => Value::number(leader.map(|process| process.uid)),
            "user" => Value::text(leader.and_then(|process| (self.user_name)(process.uid))),
            "comm" => Value::text(leader.map(|process| process.comm.lossy())),
            "command" => Value::text(leader.map(Process::command_text)),
            "netnsid" => match namespace.netnsid {
                Some(NetnsId::Assigned(id)) => Value::number(Some(id)),
                Some(NetnsId::Unassigned) => Value::Signed(-1),
                None => Value::Unknown,
            },
            "nsfs" => {
                Value::Texts(namespace.mounts().iter().map(|path| path.lossy().into_owned().into()).collect())
            }
            "pns" => Value::number(namespace.parent.map(|id| id.ino)),
            "ons" => Value::number(namespace.owner.map(|id| id.ino)),
            "owner_uid" => Value::number(namespace.owner_uid),
            "held" => Value::Bool(!namespace.holders.is_empty()),
            "holders" => Value::Texts(namespace.holders.iter().map(|holder| holder.name().into()).collect()),
            "sources" => Value::Texts(namespace.sources.iter().map(|source| source.name().into()).collect()),
            _ => Value::Unknown,
        }
    }
}

/// The ids of a process in every pid namespace it is in.
pub(super) fn pids(process: &Process) -> Value<'static> {
    if process.pids.is_empty() {
        return Value::Unknown;
    }
    Value::Numbers(process.pids.iter().copied().map(u64::from).collect())
}
