//! The fields of a namespace, by their paths in the JSON of `list`.

use super::value::{Field, Fields, Type, Value};
use crate::model::{Holder, Initial, Namespace, NetnsId, Process, Snapshot, Text};

/// A namespace with its leader.
pub struct NamespaceRow<'a> {
    namespace: &'a Namespace,
    snapshot: &'a Snapshot,
    leader: Option<&'a Process>,
}

impl<'a> NamespaceRow<'a> {
    /// The fields; those of `holders` are lists, of the holders that have such a field.
    pub const FIELDS: &'static [Field] = &[
        Field::new("key", Type::Text),
        Field::new("kind", Type::Text),
        Field::new("ino", Type::Number),
        Field::new("kernel_id", Type::Text),
        Field::new("initial", Type::Bool),
        Field::new("parent.ino", Type::Number),
        Field::new("owner.ino", Type::Number),
        Field::new("owner_uid", Type::Number),
        Field::new("netnsid", Type::Number),
        Field::new("nprocs", Type::Number),
        Field::new("nprocs_seen", Type::Number),
        Field::new("leader.pid", Type::Number),
        Field::new("leader.pids", Type::Numbers),
        Field::new("leader.ppid", Type::Number),
        Field::new("leader.uid", Type::Number),
        Field::new("leader.comm", Type::Text),
        Field::new("leader.arguments", Type::Texts),
        Field::new("mount_path", Type::Text),
        Field::new("holders.type", Type::Texts),
        Field::new("holders.pid", Type::Numbers),
        Field::new("holders.path", Type::Texts),
        Field::new("holders_omitted", Type::Number),
        Field::new("sources", Type::Texts),
    ];

    /// The row of a `namespace` of `snapshot`.
    #[must_use]
    pub fn new(namespace: &'a Namespace, snapshot: &'a Snapshot) -> Self {
        let leader = namespace.leader.and_then(|pid| snapshot.process(pid));
        Self { namespace, snapshot, leader }
    }
}

impl Fields for NamespaceRow<'_> {
    fn value(&self, name: &str) -> Value<'_> {
        let Self { namespace, snapshot, leader } = self;
        let holders = &namespace.holders;
        match name {
            "key" => Value::text(Some(snapshot.key(namespace).to_string())),
            "kind" => Value::text(Some(namespace.id.kind.name())),
            "ino" => Value::Number(namespace.id.ino),
            "kernel_id" => Value::text(namespace.kernel_id.map(|id| id.to_string())),
            "initial" => match namespace.initial {
                Initial::Yes => Value::Bool(true),
                Initial::No => Value::Bool(false),
                Initial::Unknown => Value::Unknown,
            },
            "parent.ino" => Value::number(namespace.parent.map(|id| id.ino)),
            "owner.ino" => Value::number(namespace.owner.map(|id| id.ino)),
            "owner_uid" => Value::number(namespace.owner_uid),
            "netnsid" => match namespace.netnsid {
                Some(NetnsId::Assigned(id)) => Value::number(Some(id)),
                Some(NetnsId::Unassigned) => Value::Signed(-1),
                None => Value::Unknown,
            },
            "nprocs" => Value::number(namespace.nprocs()),
            "nprocs_seen" => Value::Number(namespace.processes),
            "leader.pid" => Value::number(leader.map(|process| process.pid)),
            "leader.pids" => leader.map_or(Value::Unknown, pids),
            "leader.ppid" => Value::number(leader.map(|process| process.ppid)),
            "leader.uid" => Value::number(leader.map(|process| process.uid)),
            "leader.comm" => Value::text(leader.map(|process| process.comm.lossy())),
            "leader.arguments" => leader.map_or(Value::Unknown, arguments),
            "mount_path" => Value::text(namespace.mount_path.as_ref().map(Text::lossy)),
            "holders.type" => Value::Texts(holders.iter().map(|holder| holder.name().into()).collect()),
            "holders.pid" => Value::Numbers(holders.iter().filter_map(Holder::pid).map(u64::from).collect()),
            "holders.path" => {
                Value::Texts(holders.iter().filter_map(Holder::path).map(Text::lossy).collect())
            }
            "holders_omitted" => Value::Number(namespace.holders_omitted),
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

/// The arguments of a process.
pub(super) fn arguments(process: &Process) -> Value<'_> {
    process.known_arguments().map_or(Value::Unknown, |arguments| {
        Value::Texts(arguments.iter().map(String::from_utf8_lossy).collect())
    })
}
