//! The fields of a process, as the JSON of `tree` and `list` names them.

use super::namespace::pids;
use super::value::{Field, Fields, Type, Value};
use crate::model::{NsSlot, Process, Text};

/// A process.
pub struct ProcessRow<'a> {
    process: &'a Process,
    user_name: &'a dyn Fn(u32) -> Option<String>,
}

impl<'a> ProcessRow<'a> {
    /// The fields; those of `namespaces` are inodes.
    pub const FIELDS: &'static [Field] = &[
        Field::new("pid", Type::Number),
        Field::new("pids", Type::Numbers),
        Field::new("ppid", Type::Number),
        Field::new("start_ticks", Type::Number),
        Field::new("threads", Type::Number),
        Field::new("kernel_thread", Type::Bool),
        Field::new("uid", Type::Number),
        Field::new("user", Type::Text),
        Field::new("comm", Type::Text),
        Field::new("command", Type::Text),
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

    /// The row of a process; `user_name` returns the name of a user id, if there is one.
    pub fn new(process: &'a Process, user_name: &'a dyn Fn(u32) -> Option<String>) -> Self {
        Self { process, user_name }
    }
}

impl Fields for ProcessRow<'_> {
    fn value(&self, name: &str) -> Value<'_> {
        let process = self.process;
        match name {
            "pid" => Value::number(Some(process.pid)),
            "pids" => pids(process),
            "ppid" => Value::number(Some(process.ppid)),
            "start_ticks" => Value::Number(process.start_ticks),
            "threads" => Value::number(Some(process.threads)),
            "kernel_thread" => Value::Bool(process.kernel_thread),
            "uid" => Value::number(Some(process.uid)),
            "user" => Value::text((self.user_name)(process.uid)),
            "comm" => Value::text(Some(process.comm.lossy())),
            "command" => Value::text(Some(process.command_text())),
            "arguments" => Value::Texts(process.arguments.iter().map(String::from_utf8_lossy).collect()),
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
