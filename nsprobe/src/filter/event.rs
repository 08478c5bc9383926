//! The fields of an event, by their paths in the JSON of `trace`.

use super::value::{Field, Fields, Type, Value};
use crate::model::{
    Caller, Cgroup, CloneChild, Directory, Event, NsId, NsSlot, Operation, Outcome, PathText, Pid,
    ResolvedPath, Seen, SetnsTarget, Text, errno_name,
};

/// An event.
pub struct EventRow<'a>(pub &'a Event);

impl EventRow<'_> {
    /// The fields. Of `changed` and `unsure`, which are objects, the names of what they have.
    pub const FIELDS: &'static [Field] = &[
        Field::new("event", Type::Text),
        Field::new("abi", Type::Text),
        Field::new("process.pid", Type::Number),
        Field::new("process.tid", Type::Number),
        Field::new("process.ppid", Type::Number),
        Field::new("process.pids", Type::Numbers),
        Field::new("process.comm", Type::Text),
        Field::new("process.uid", Type::Number),
        Field::new("process.gid", Type::Number),
        Field::new("process.euid", Type::Number),
        Field::new("process.cap_effective", Type::Text),
        Field::new("process.start_ticks", Type::Number),
        Field::new("process.exe", Type::Text),
        Field::new("process.exe_state", Type::Texts),
        Field::new("process.arguments", Type::Texts),
        Field::new("process.cgroup", Type::Text),
        Field::new("process.cgroup_id", Type::Text),
        Field::new("args.flags", Type::Texts),
        Field::new("args.fd", Type::Number),
        Field::new("args.path", Type::Text),
        Field::new("args.new_root", Type::Text),
        Field::new("args.new_root_resolved", Type::Text),
        Field::new("args.put_old", Type::Text),
        Field::new("args.put_old_resolved", Type::Text),
        Field::new("args_seen", Type::Text),
        Field::new("target.kind", Type::Text),
        Field::new("target.ino", Type::Number),
        Field::new("target.kernel_id", Type::Text),
        Field::new("target.path", Type::Text),
        Field::new("target.pid", Type::Number),
        Field::new("target.tid", Type::Number),
        Field::new("target.comm", Type::Text),
        Field::new("child.pid", Type::Number),
        Field::new("child.tid", Type::Number),
        Field::new("child.ppid", Type::Number),
        Field::new("child.pids", Type::Numbers),
        Field::new("child.cgroup", Type::Text),
        Field::new("child.cgroup_id", Type::Text),
        Field::new("result", Type::Number),
        Field::new("errno", Type::Text),
        Field::new("restarted", Type::Text),
        Field::new("denied", Type::Text),
        Field::new("duration_ns", Type::Number),
        Field::new("changed", Type::Texts),
        Field::new("changed.cgroup.before", Type::Number),
        Field::new("changed.cgroup.after", Type::Number),
        Field::new("changed.ipc.before", Type::Number),
        Field::new("changed.ipc.after", Type::Number),
        Field::new("changed.mnt.before", Type::Number),
        Field::new("changed.mnt.after", Type::Number),
        Field::new("changed.net.before", Type::Number),
        Field::new("changed.net.after", Type::Number),
        Field::new("changed.pid.before", Type::Number),
        Field::new("changed.pid.after", Type::Number),
        Field::new("changed.time.before", Type::Number),
        Field::new("changed.time.after", Type::Number),
        Field::new("changed.user.before", Type::Number),
        Field::new("changed.user.after", Type::Number),
        Field::new("changed.uts.before", Type::Number),
        Field::new("changed.uts.after", Type::Number),
        Field::new("changed.pid_for_children.before", Type::Number),
        Field::new("changed.pid_for_children.after", Type::Number),
        Field::new("changed.time_for_children.before", Type::Number),
        Field::new("changed.time_for_children.after", Type::Number),
        Field::new("changed.root.before", Type::Text),
        Field::new("changed.root.after", Type::Text),
        Field::new("changed.cwd.before", Type::Text),
        Field::new("changed.cwd.after", Type::Text),
        Field::new("unsure", Type::Texts),
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
        Field::new("root", Type::Text),
        Field::new("root_state", Type::Texts),
        Field::new("cwd", Type::Text),
        Field::new("cwd_state", Type::Texts),
    ];
}

impl Fields for EventRow<'_> {
    fn value(&self, name: &str) -> Value<'_> {
        let event = self.0;
        match name.split_once('.') {
            Some(("process", name)) => caller(&event.process, name),
            Some(("args", name)) => argument(&event.operation, name),
            Some(("target", name)) => target(&event.operation, name),
            Some(("child", name)) => match &event.operation {
                Operation::Clone { child: Some(task), .. } => child(task, name),
                _ => Value::Unknown,
            },
            Some(("changed", name)) => change(event, name),
            Some(("namespaces", name)) => inode(slot(name).and_then(|slot| *event.after.get(slot))),
            Some(_) => Value::Unknown,
            None => of_call(event, name),
        }
    }
}

fn of_call<'a>(event: &'a Event, name: &str) -> Value<'a> {
    let after = |directory: &'a Option<Directory>| directory.as_ref().map(|directory| &directory.after);
    match name {
        "event" => Value::text(Some(event.operation.name())),
        // Native calls have none.
        "abi" => Value::text(event.abi().filter(|_| event.compat == Some(true))),
        "args_seen" => Value::text(event.seen.filter(|seen| *seen != Seen::Entry).map(Seen::name)),
        "result" => match event.outcome {
            Outcome::Success(result) => Value::Signed(result),
            Outcome::Failure(_) => Value::Signed(-1),
            Outcome::Restarted(_) | Outcome::Unseen => Value::Unknown,
        },
        "errno" => match event.outcome {
            Outcome::Failure(errno) => Value::text(Some(errno_name(errno))),
            _ => Value::Unknown,
        },
        "restarted" => match event.outcome {
            Outcome::Restarted(errno) => Value::text(Some(errno_name(errno))),
            _ => Value::Unknown,
        },
        "denied" => Value::text(event.denied_by()),
        "duration_ns" => Value::number(
            event.duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        ),
        "changed" => {
            let slots = event.changed_slots().map(|(slot, ..)| slot.name());
            let directories = [("root", &event.root), ("cwd", &event.cwd)];
            let directories =
                directories.into_iter().filter(|(_, it)| it.as_ref().is_some_and(Directory::differs));
            Value::Texts(slots.chain(directories.map(|(name, _)| name)).map(Into::into).collect())
        }
        "unsure" => Value::Texts(event.unsure_slots().map(|slot| slot.name().into()).collect()),
        "root" => path(after(&event.root)),
        "root_state" => state(after(&event.root)),
        "cwd" => path(after(&event.cwd)),
        "cwd_state" => state(after(&event.cwd)),
        _ => Value::Unknown,
    }
}

fn caller<'a>(process: &'a Caller, name: &str) -> Value<'a> {
    match name {
        "pid" => Value::number(Some(process.pid)),
        "tid" => Value::number(Some(process.tid)),
        "ppid" => Value::number(process.ppid),
        "pids" => pids(&process.pids),
        "comm" => Value::text((!process.comm.is_empty()).then(|| process.comm.lossy())),
        "uid" => Value::number(process.uid),
        "gid" => Value::number(process.gid),
        "euid" => Value::number(process.euid),
        "cap_effective" => Value::text(process.cap_effective.map(|mask| format!("{mask:016x}"))),
        "start_ticks" => Value::number(process.start_ticks),
        "exe" => path(process.exe.as_ref()),
        "exe_state" => state(process.exe.as_ref()),
        "arguments" => process.arguments.as_ref().map_or(Value::Unknown, |arguments| {
            Value::Texts(arguments.iter().map(String::from_utf8_lossy).collect())
        }),
        "cgroup" | "cgroup_id" => cgroup(process.cgroup.as_ref(), name),
        _ => Value::Unknown,
    }
}

fn child<'a>(child: &'a CloneChild, name: &str) -> Value<'a> {
    match name {
        "pid" => Value::number(Some(child.pid)),
        "tid" => Value::number(Some(child.tid)),
        "ppid" => Value::number(child.ppid),
        "pids" => pids(&child.pids),
        _ => cgroup(child.cgroup.as_ref(), name),
    }
}

fn argument<'a>(operation: &'a Operation, name: &str) -> Value<'a> {
    match (name, operation) {
        ("flags", operation) => operation
            .flag_names()
            .map_or(Value::Unknown, |names| Value::Texts(names.into_iter().map(Into::into).collect())),
        ("fd", Operation::Setns { fd, .. }) => Value::Signed((*fd).into()),
        ("path", Operation::Chroot { path: text })
        | ("new_root", Operation::PivotRoot { new_root: text, .. })
        | ("put_old", Operation::PivotRoot { put_old: text, .. }) => match text {
            PathText::Whole(path) | PathText::Cut(path) => Value::text(Some(path.lossy())),
            PathText::Unreadable => Value::Unknown,
        },
        ("new_root_resolved", Operation::PivotRoot { new_root_at: at, .. })
        | ("put_old_resolved", Operation::PivotRoot { put_old_at: at, .. }) => path(at.as_ref()),
        _ => Value::Unknown,
    }
}

fn target<'a>(operation: &'a Operation, name: &str) -> Value<'a> {
    let Operation::Setns { target: Some(target), .. } = operation else { return Value::Unknown };
    match (name, target) {
        ("kind", SetnsTarget::Namespace { id, .. }) => Value::text(Some(id.kind.name())),
        ("ino", SetnsTarget::Namespace { id, .. }) => Value::Number(id.ino),
        ("kernel_id", SetnsTarget::Namespace { kernel_id, .. }) => {
            Value::text(kernel_id.map(|id| id.to_string()))
        }
        ("path", SetnsTarget::Namespace { path, .. }) => Value::text(path.as_ref().map(Text::lossy)),
        ("pid", SetnsTarget::Process { pid, .. }) => Value::number(Some(*pid)),
        ("tid", SetnsTarget::Process { tid, .. }) => Value::number(Some(*tid)),
        ("comm", SetnsTarget::Process { comm, .. }) => Value::text(comm.as_ref().map(Text::lossy)),
        _ => Value::Unknown,
    }
}

/// What is before and after a change: `net.before`.
fn change<'a>(event: &'a Event, name: &str) -> Value<'a> {
    let Some((name, when)) = name.split_once('.') else { return Value::Unknown };
    let directory = match name {
        "root" => event.root.as_ref(),
        "cwd" => event.cwd.as_ref(),
        name => {
            let change = event.changed_slots().find(|(slot, ..)| slot.name() == name);
            return inode(change.map(|(_, before, after)| if when == "before" { before } else { after }));
        }
    };
    let directory = directory.filter(|directory| directory.differs());
    path(directory.map(|directory| if when == "before" { &directory.before } else { &directory.after }))
}

fn slot(name: &str) -> Option<NsSlot> {
    NsSlot::ALL.into_iter().find(|slot| slot.name() == name)
}

fn inode<'a>(id: Option<NsId>) -> Value<'a> {
    Value::number(id.map(|id| id.ino))
}

fn pids(pids: &[Pid]) -> Value<'_> {
    if pids.is_empty() {
        return Value::Unknown;
    }
    Value::Numbers(pids.iter().copied().map(u64::from).collect())
}

fn cgroup<'a>(cgroup: Option<&'a Cgroup>, name: &str) -> Value<'a> {
    match name {
        "cgroup" => Value::text(cgroup.map(|cgroup| cgroup.path.lossy())),
        "cgroup_id" => Value::text(cgroup.map(|cgroup| cgroup.id.to_string())),
        _ => Value::Unknown,
    }
}

fn path(path: Option<&ResolvedPath>) -> Value<'_> {
    Value::text(path.map(|path| path.path.lossy()))
}

/// What is unusual about a path; unknown without one.
fn state(path: Option<&ResolvedPath>) -> Value<'_> {
    path.map_or(Value::Unknown, |path| Value::Texts(path.state().map(Into::into).collect()))
}
