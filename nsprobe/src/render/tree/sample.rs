//! Snapshots made by hand for the tests of this module.

use super::{By, Options, text};
use crate::model::{
    Arguments, Holder, Initial, Namespace, NsId, NsKind, NsSlot, Pid, Process, Root, Slots, Snapshot,
};
use crate::render::style::TextStyle;

const DEV: u64 = 4;

/// A snapshot under construction. Its processes are in the initial namespaces until they enter others.
pub(super) struct Sample {
    pub snapshot: Snapshot,
}

impl Sample {
    pub fn new() -> Self {
        let mut sample = Self::without_initial();
        for kind in NsKind::ALL {
            sample.namespace(Self::initial(kind)).initial = Initial::Yes;
        }
        sample.namespace(Self::initial(NsKind::User)).owner_uid = Some(0);
        sample
    }

    /// A snapshot in which the initial namespaces are not known.
    pub fn without_initial() -> Self {
        Self { snapshot: Snapshot::default() }
    }

    pub fn initial(kind: NsKind) -> NsId {
        NsId::new(kind, DEV, 4_026_531_830 + kind as u64)
    }

    /// A process in the initial namespaces; without a command line it is named after its pid.
    pub fn process(&mut self, pid: Pid, parent: Pid, command: &str) -> &mut Process {
        let slots = Slots::from_fn(|slot| Some(Self::initial(slot.kind())));
        self.insert(Process {
            pid,
            ppid: parent,
            pids: vec![pid],
            start_ticks: u64::from(pid) * 100,
            threads: 1,
            kernel_thread: false,
            uid: 0,
            comm: format!("task{pid}").into(),
            arguments: Arguments::of(command.split(' ').filter(|argument| !argument.is_empty())),
            namespaces: Some(slots),
            root: Root::Whole,
        })
    }

    /// A child of `parent` in the same namespaces.
    pub fn copy(&mut self, pid: Pid, parent: Pid, command: &str) -> &mut Process {
        let namespaces = self.snapshot.process(parent).unwrap().namespaces;
        let process = self.process(pid, parent, command);
        process.namespaces = namespaces.or(process.namespaces);
        process
    }

    fn insert(&mut self, process: Process) -> &mut Process {
        let processes = &mut self.snapshot.processes;
        let at = processes.partition_point(|other| other.pid < process.pid);
        processes.insert(at, process);
        &mut processes[at]
    }

    /// Puts a process in the namespace with this inode.
    pub fn enter(&mut self, pid: Pid, kind: NsKind, ino: u64) {
        self.enter_slot(pid, NsSlot::In(kind), ino);
        match kind {
            NsKind::Pid => self.enter_slot(pid, NsSlot::PidForChildren, ino),
            NsKind::Time => self.enter_slot(pid, NsSlot::TimeForChildren, ino),
            _ => {}
        }
    }

    pub fn enter_slot(&mut self, pid: Pid, slot: NsSlot, ino: u64) {
        let id = NsId::new(slot.kind(), DEV, ino);
        self.namespace(id);
        let at = self.snapshot.processes.binary_search_by_key(&pid, |process| process.pid).unwrap();
        *self.snapshot.processes[at].namespaces.as_mut().unwrap().get_mut(slot) = Some(id);
    }

    /// The namespace `id`, created if it does not exist; owned by the initial user namespace.
    pub fn namespace(&mut self, id: NsId) -> &mut Namespace {
        let namespaces = &mut self.snapshot.namespaces;
        let at = namespaces.partition_point(|other| other.id < id);
        if namespaces.get(at).is_none_or(|other| other.id != id) {
            let top = Self::initial(NsKind::User);
            let nested = matches!(id.kind, NsKind::Pid | NsKind::User) && id != Self::initial(id.kind);
            let namespace = Namespace {
                initial: Initial::No,
                parent: nested.then(|| Self::initial(id.kind)),
                owner: (id != top).then_some(top),
                ..Namespace::new(id)
            };
            namespaces.insert(at, namespace);
        }
        &mut namespaces[at]
    }

    /// A namespace held by a bind mount.
    pub fn bind_mount(&mut self, kind: NsKind, ino: u64, path: &str) {
        let mount_namespace = Self::initial(NsKind::Mnt);
        let holder = Holder::BindMount { mount_namespace, path: path.into(), here: true };
        self.namespace(NsId::new(kind, DEV, ino)).holders.push(holder);
    }

    /// The snapshot with members counted and leaders found, as discovery does it.
    pub fn finished(&self) -> Snapshot {
        let mut snapshot = self.snapshot.clone();
        for namespace in &mut snapshot.namespaces {
            let slot = NsSlot::In(namespace.id.kind);
            let mut inside = self
                .snapshot
                .processes
                .iter()
                .filter(|process| process.namespace(slot) == Some(namespace.id));
            namespace.leader = inside.clone().next().map(|process| process.pid);
            namespace.processes = inside.by_ref().count() as u64;
        }
        snapshot
    }
}

/// The tree of a sample with default options.
pub(super) fn show(sample: &Sample) -> String {
    show_with(sample, TextStyle::PLAIN, |_| ())
}

/// The tree of a sample with options changed by `change`.
pub(super) fn show_with(
    sample: &Sample,
    text_style: TextStyle,
    change: impl FnOnce(&mut Options<'_>),
) -> String {
    let user_name = |uid| match uid {
        0 => Some("root".to_owned()),
        1000 => Some("alice".to_owned()),
        _ => None,
    };
    let mut options =
        Options { by: By::Process, all: false, pid: None, ns: None, wanted: None, user_name: &user_name };
    change(&mut options);
    let mut out = Vec::new();
    text(&mut out, &sample.finished(), &options, text_style).unwrap();
    String::from_utf8(out).unwrap()
}
