//! The fields of a process, by their paths in the JSON of `tree` and `list`.

use super::namespace::{arguments, pids};
use super::value::{Field, Fields, Type, Value};
use crate::model::{NsSlot, Process, Text};

/// A process.
pub struct ProcessRow<'a>(pub &'a Process);

impl ProcessRow<'_> {
    /// The fields; those of `namespaces` are inodes.
    pub const FIELDS: &'static [Field] = &[
        Field::new("pid", Type::Number),
        Field::new("pids", Type::Numbers),
        Field::new("ppid", Type::Number),
        Field::new("start_ticks", Type::Number),
        Field::new("threads", Type::Number),
        Field::new("kernel_thread", Type::Bool),
        Field::new("uid", Type::Number),
        Field::new("comm", Type::Text),
        Field::new("arguments", Type::Texts),
        Field::new("root", Type::Text),
        Field::new("chrooted", Type::Bool),
        Field::new("root_deleted", Type::Bool),
        Field::new("namespaces.cgroup", Type::Number),
        Field::new("namespaces.ipc", Type::Number),
        Field::new("namespaces.mnt", Type::Number),
        Field::new("namespaces.net", Type::Number),
        Field::new("namespaces.pid", Type::Number),
        Field::new("namespaces.time", Type::Number),
        Field::new("namespaces.user", Type::Number),
        Field::new("namespaces.uts", Type::Number),
        Field::new("namespaces.pid_for_children", Type::Number),
        Field::new("namespaces.time_for_children", Type::Number),
    ];
}

impl Fields for ProcessRow<'_> {
    fn value(&self, name: &str) -> Value<'_> {
        let Self(process) = self;
        match name {
            "pid" => Value::number(Some(process.pid)),
            "pids" => pids(process),
            "ppid" => Value::number(Some(process.ppid)),
            "start_ticks" => Value::Number(process.start_ticks),
            "threads" => Value::number(Some(process.threads)),
            "kernel_thread" => Value::Bool(process.kernel_thread),
            "uid" => Value::number(Some(process.uid)),
            "comm" => Value::text(Some(process.comm.lossy())),
            "arguments" => arguments(process),
            "root" => Value::text(process.root.path().map(Text::lossy)),
            "root_deleted" => process.root.is_deleted().map_or(Value::Unknown, Value::Bool),
            "chrooted" => process.root.is_chrooted().map_or(Value::Unknown, Value::Bool),
            _ => {
                let slot = name
                    .strip_prefix("namespaces.")
                    .and_then(|name| NsSlot::ALL.into_iter().find(|slot| slot.name() == name));
                Value::number(slot.and_then(|slot| process.namespace(slot)).map(|id| id.ino))
            }
        }
    }
}
