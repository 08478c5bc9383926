//! The fields of an event. Most of their names in the JSON of `trace` work as well.

use super::value::{Field, Fields, Type, Value};
use crate::model::{
    Arguments, Directory, Event, NsId, NsSlot, Operation, Outcome, PathText, ResolvedPath, SetnsTarget,
    Slots, Text, capability_names,
};

/// An event.
pub struct EventRow<'a>(pub &'a Event);

impl EventRow<'_> {
    /// The fields; those of `before` and `after` are inodes.
    pub const FIELDS: &'static [Field] = &[
        Field::new("event", Type::Text),
        Field::new("pid", Type::Number).or(&["process.pid"]),
        Field::new("tid", Type::Number).or(&["process.tid"]),
        Field::new("ppid", Type::Number).or(&["process.ppid"]),
        Field::new("pids", Type::Numbers).or(&["process.pids"]),
        Field::new("comm", Type::Text).or(&["process.comm"]),
        Field::new("uid", Type::Number).or(&["process.uid"]),
        Field::new("gid", Type::Number).or(&["process.gid"]),
        Field::new("euid", Type::Number).or(&["process.euid"]),
        Field::new("capabilities", Type::Texts),
        Field::new("start_ticks", Type::Number).or(&["process.start_ticks"]),
        Field::new("exe", Type::Text).or(&["process.exe.path"]),
        Field::new("command", Type::Text),
        Field::new("arguments", Type::Texts).or(&["process.arguments"]),
        Field::new("cgroup", Type::Text).or(&["process.cgroup.path"]),
        Field::new("flags", Type::Texts).or(&["args.flags"]),
        Field::new("path", Type::Text),
        Field::new("target", Type::Number).or(&["target.ino"]),
        Field::new("target_pid", Type::Number).or(&["target.pid"]),
        Field::new("child", Type::Number).or(&["child.pid"]),
        Field::new("result", Type::Number),
        Field::new("failed", Type::Bool),
        Field::new("denied", Type::Text),
        Field::new("duration_ns", Type::Number),
        Field::new("changed", Type::Texts),
        Field::new("abi", Type::Text),
        Field::new("before.cgroup", Type::Number),
        Field::new("before.ipc", Type::Number),
        Field::new("before.mnt", Type::Number),
        Field::new("before.net", Type::Number),
        Field::new("before.pid", Type::Number),
        Field::new("before.time", Type::Number),
        Field::new("before.user", Type::Number),
        Field::new("before.uts", Type::Number),
        Field::new("after.cgroup", Type::Number),
        Field::new("after.ipc", Type::Number),
        Field::new("after.mnt", Type::Number),
        Field::new("after.net", Type::Number),
        Field::new("after.pid", Type::Number),
        Field::new("after.time", Type::Number),
        Field::new("after.user", Type::Number),
        Field::new("after.uts", Type::Number),
        Field::new("root.before", Type::Text).or(&["root.before.path"]),
        Field::new("root.after", Type::Text).or(&["root.after.path"]),
        Field::new("cwd.before", Type::Text).or(&["cwd.before.path"]),
        Field::new("cwd.after", Type::Text).or(&["cwd.after.path"]),
    ];
}

impl Fields for EventRow<'_> {
    fn value(&self, name: &str) -> Value<'_> {
        let Event { process, operation, outcome, .. } = self.0;
        match name {
            "event" => Value::text(Some(operation.name())),
            "abi" => Value::text(self.0.abi()),
            "pid" => Value::number(Some(process.pid)),
            "tid" => Value::number(Some(process.tid)),
            "ppid" => Value::number(process.ppid),
            "pids" if process.pids.is_empty() => Value::Unknown,
            "pids" => Value::Numbers(process.pids.iter().copied().map(u64::from).collect()),
            "comm" => Value::text((!process.comm.is_empty()).then(|| process.comm.lossy())),
            "uid" => Value::number(process.uid),
            "gid" => Value::number(process.gid),
            "euid" => Value::number(process.euid),
            "capabilities" => process.cap_effective.map_or(Value::Unknown, |mask| {
                Value::Texts(capability_names(mask).map(Into::into).collect())
            }),
            "start_ticks" => Value::number(process.start_ticks),
            "exe" => Value::text(process.exe.as_ref().map(|exe| exe.path.lossy())),
            "command" => Value::text(process.arguments.as_ref().map(Arguments::joined)),
            "arguments" => process.arguments.as_ref().map_or(Value::Unknown, |arguments| {
                Value::Texts(arguments.iter().map(String::from_utf8_lossy).collect())
            }),
            "cgroup" => Value::text(process.cgroup.as_ref().map(|cgroup| cgroup.path.lossy())),
            "flags" => flags(operation),
            "path" => path(operation),
            "target" => match operation {
                Operation::Setns { target: Some(SetnsTarget::Namespace { id, .. }), .. } => {
                    Value::number(Some(id.ino))
                }
                _ => Value::Unknown,
            },
            "target_pid" => match operation {
                Operation::Setns { target: Some(SetnsTarget::Process { pid, .. }), .. } => {
                    Value::number(Some(*pid))
                }
                _ => Value::Unknown,
            },
            "child" => match operation {
                Operation::Clone { child, .. } => Value::number(child.as_ref().map(|child| child.pid)),
                _ => Value::Unknown,
            },
            "result" => match outcome {
                Outcome::Success(result) => Value::Signed(*result),
                Outcome::Failure(_) => Value::Signed(-1),
                Outcome::Restarted(_) | Outcome::Unseen => Value::Unknown,
            },
            "failed" => Value::Bool(matches!(outcome, Outcome::Failure(_))),
            "denied" => Value::text(self.0.denied_by()),
            "duration_ns" => Value::number(
                self.0.duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
            ),
            "changed" => Value::Texts(self.0.changed().map(Into::into).collect()),
            "root.before" => path_of(self.0.root.as_ref(), |root| &root.before),
            "root.after" => path_of(self.0.root.as_ref(), |root| &root.after),
            "cwd.before" => path_of(self.0.cwd.as_ref(), |cwd| &cwd.before),
            "cwd.after" => path_of(self.0.cwd.as_ref(), |cwd| &cwd.after),
            _ => self.namespace(name),
        }
    }
}

impl EventRow<'_> {
    fn namespace(&self, name: &str) -> Value<'_> {
        let ino = |slots: &Slots<Option<NsId>>, name: &str| {
            let slot = NsSlot::ALL.into_iter().find(|slot| slot.name() == name);
            Value::number(slot.and_then(|slot| *slots.get(slot)).map(|id| id.ino))
        };
        match name.split_once('.') {
            Some(("before", name)) => ino(&self.0.before, name),
            Some(("after", name)) => ino(&self.0.after, name),
            _ => Value::Unknown,
        }
    }
}

fn path_of(directory: Option<&Directory>, which: impl Fn(&Directory) -> &ResolvedPath) -> Value<'_> {
    Value::text(directory.map(|directory| which(directory).path.lossy()))
}

fn flags(operation: &Operation) -> Value<'_> {
    operation
        .flag_names()
        .map_or(Value::Unknown, |names| Value::Texts(names.into_iter().map(Into::into).collect()))
}

/// The path that was passed to the kernel, or by which a namespace was opened.
fn path(operation: &Operation) -> Value<'_> {
    match operation {
        Operation::Chroot { path: PathText::Whole(path) | PathText::Cut(path) }
        | Operation::PivotRoot { new_root: PathText::Whole(path) | PathText::Cut(path), .. } => {
            Value::text(Some(path.lossy()))
        }
        Operation::Setns { target: Some(SetnsTarget::Namespace { path, .. }), .. } => {
            Value::text(path.as_ref().map(Text::lossy))
        }
        _ => Value::Unknown,
    }
}
