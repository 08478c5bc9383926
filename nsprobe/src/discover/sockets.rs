//! Network namespaces that only a socket holds.
//!
//! `/proc` does not show the network namespace of a socket, so each socket is queried once, whoever shares it; see
//! [`kernel::sockets`](crate::kernel::sockets) for the effects. Querying the namespace's id changes nothing. Opening
//! the namespace makes one that only sockets hold active again for that moment, so this is done only if its id is not
//! known otherwise and BPF may not read it from the kernel's tables: for one socket per such namespace. Before Linux
//! 6.18 the ids of namespaces are not known, and one socket of every namespace is queried for it; before 5.14, every
//! socket.
//!
//! With BPF on the kernel's own tables none of this is needed: the record of a socket contains its namespace.
//!
//! A tenant may replace a socket with any file while it is queried, so a child process does that, and is given up if it
//! does not answer; what it has not answered is a gap.
//!
//! Descriptors of tun devices, which also belong to a network namespace, are left alone: before Linux 6.10, querying
//! them could bring a freed namespace back into use.

use super::builder::Builder;
use super::found::{SocketDescriptor, SocketNetns};
use super::index::NamespaceIndex;
use super::records::SocketNamespace;
use super::{opener, tasks};
use crate::kernel::listns::{self, NsHandle};
use crate::kernel::nsfs;
use crate::kernel::sockets::{
    Descriptor, Facts, PATIENCE, Question, Socket, facts, is_gone, network_namespaces,
};
use crate::model::{GapKind, Holder, NsId, NsKind};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

impl Builder {
    /// Adds the network namespaces of `sockets` that have no members, each with its sockets.
    ///
    /// If a namespace has an id (Linux 6.18), no socket is touched. Before, one socket of a namespace not found
    /// otherwise is queried for it, which changes nothing there: no namespace was ever inactive.
    pub(super) fn add_socket_namespaces(&mut self, sockets: &[SocketNetns]) {
        let mut opened = open_without_id(sockets, &self.index);
        for &SocketNetns { pid, tid, fd, namespace } in sockets {
            let id = namespace.id;
            if !self.index.knows(id) {
                let fd = match namespace.kernel_id {
                    Some(kernel_id) => listns::open(NsHandle::of(id, kernel_id)).ok(),
                    None => opened.remove(&id),
                };
                match fd.filter(|fd| opener::is(fd.as_fd(), id).unwrap_or(false)) {
                    Some(fd) => self.query(id, fd),
                    None => self.record_unverified(namespace),
                }
            }
            let entry = self.index.entry(id);
            if entry.namespace.processes == 0 {
                entry.held(Holder::Socket { pid, tid, fd });
            }
        }
    }

    /// Queries `sockets` for their network namespaces, and adds those that no process or thread is in, each with its
    /// sockets.
    pub(super) fn query_sockets(&mut self, sockets: &[SocketDescriptor]) {
        if sockets.is_empty() {
            return;
        }
        // Descriptors are duplicated from a process by its pid in the caller's pid namespace.
        if !self.context.own_pids {
            let reason =
                "network namespaces that only sockets hold: this /proc belongs to a different pid namespace";
            return self.gaps.add(GapKind::Source, reason, None);
        }
        let tables = self.context.bpf;
        let mut search = Search { builder: self, tables, by_cookie: HashMap::new(), patience: PATIENCE };
        search.learn_cookies();
        search.ask(distinct(sockets));
    }
}

/// Opens the namespaces of `sockets` that were not found otherwise and have no id, by one socket of each.
fn open_without_id(sockets: &[SocketNetns], index: &NamespaceIndex) -> HashMap<NsId, OwnedFd> {
    let mut seen = HashSet::new();
    let mut first = |socket: &&SocketNetns| {
        let SocketNamespace { id, kernel_id, .. } = socket.namespace;
        kernel_id.is_none() && !index.knows(id) && seen.insert(id)
    };
    let unknown: Vec<&SocketNetns> = sockets.iter().filter(|socket| first(socket)).collect();
    let question = |socket: &&SocketNetns| {
        let descriptor = Descriptor { pid: socket.pid, tid: socket.tid, fd: socket.fd };
        Question { descriptors: vec![descriptor], ..Question::default() }
    };
    let questions: Vec<Question> = unknown.iter().map(question).collect();
    let mut opened = Vec::with_capacity(questions.len());
    network_namespaces(&questions, &mut { PATIENCE }, |_, namespace| opened.push(namespace.ok().flatten()));
    let opened = std::iter::zip(unknown, opened);
    opened.filter_map(|(socket, fd)| Some((socket.namespace.id, fd?))).collect()
}

/// Returns the distinct sockets, in the order of their first descriptors.
fn distinct(descriptors: &[SocketDescriptor]) -> Vec<Question> {
    let mut questions: Vec<Question> = Vec::new();
    let mut by_ino = HashMap::new();
    for &SocketDescriptor { pid, tid, fd, ino } in descriptors {
        let index = *by_ino.entry(ino).or_insert(questions.len());
        if index == questions.len() {
            questions.push(Question { ino: Some(ino), ..Question::default() });
        }
        questions[index].descriptors.push(Descriptor { pid, tid, fd });
    }
    questions
}

struct Search<'a> {
    builder: &'a mut Builder,
    /// True until the kernel's tables, the source for ids not known yet, have been read.
    tables: bool,
    by_cookie: HashMap<u64, NsId>,
    /// The time that sockets may still take.
    patience: Duration,
}

impl Search<'_> {
    /// Reads the cookies of the namespaces known so far, if the kernel makes them comparable.
    fn learn_cookies(&mut self) {
        let own = UnixDatagram::unbound().map(|socket| Socket::from(OwnedFd::from(socket)));
        let own_namespace = std::fs::File::open("/proc/self/ns/net");
        let (Ok(socket), Ok(namespace)) = (own, own_namespace) else { return };
        let (Ok(cookie), Ok(id)) = (socket.netns_cookie(), nsfs::id(namespace.as_fd(), NsKind::Net)) else {
            return;
        };
        self.by_cookie.insert(cookie, id);
        // They equal the ids from Linux 6.18 on; on a kernel where they differ they are not used.
        if nsfs::kernel_id(namespace.as_fd(), NsKind::Net) == Some(cookie) {
            self.by_cookie.extend(self.builder.index.kernel_ids(NsKind::Net));
        } else {
            // Nor would those in the kernel's tables help.
            self.tables = false;
        }
    }

    /// Adds the namespaces of sockets from the kernel's own tables. This takes BPF, and activates none of them.
    fn learn_from_tables(&mut self) {
        if !std::mem::take(&mut self.tables) {
            return;
        }
        // Refused: the sockets themselves can still be queried.
        if let Ok(sockets) = tasks::sockets(&self.builder.context) {
            self.builder.add_socket_namespaces(&sockets);
            self.by_cookie.extend(self.builder.index.kernel_ids(NsKind::Net));
        }
    }

    /// Queries all sockets for their cookies, then those with a cookie of no known namespace for the namespace.
    fn ask(&mut self, mut questions: Vec<Question>) {
        let answers = facts(&questions, &mut self.patience);
        let mut cookies = answers.iter().filter_map(|facts| facts.as_ref().ok()?.cookie);
        if cookies.any(|cookie| !self.by_cookie.contains_key(&cookie)) {
            self.learn_from_tables();
        }
        let mut unknown = Vec::new();
        for (mut question, answer) in questions.drain(..).zip(answers) {
            match answer {
                Ok(Facts { ino, cookie }) => {
                    question.cookie = cookie;
                    // If the namespace has members, it does not matter which socket it was.
                    match cookie.and_then(|cookie| self.by_cookie.get(&cookie)).copied() {
                        Some(id) if question.ino == Some(ino) => self.hold(id, &question),
                        Some(_) => {}
                        None => unknown.push(question),
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                    let reason = "network namespaces that only sockets hold cannot be found";
                    return self.builder.gaps.add(
                        GapKind::Source,
                        reason,
                        Some("Linux 5.6 can duplicate sockets"),
                    );
                }
                Err(error) => self.failed(&question, &error),
            }
        }
        let mut patience = self.patience;
        network_namespaces(&unknown, &mut patience, |question, answer| {
            if let Err(error) = answer.and_then(|namespace| self.found(question, namespace)) {
                self.failed(question, &error);
            }
        });
    }

    /// Adds the namespace of a socket; `None`: one with the same cookie led to it.
    fn found(&mut self, question: &Question, namespace: Option<OwnedFd>) -> io::Result<()> {
        let known = question.cookie.and_then(|cookie| self.by_cookie.get(&cookie)).copied();
        let id = match (namespace, known) {
            (Some(namespace), _) => {
                let id = nsfs::id(namespace.as_fd(), NsKind::Net)?;
                if let Some(cookie) = question.cookie {
                    self.by_cookie.insert(cookie, id);
                }
                if !self.builder.index.knows(id) {
                    self.builder.query(id, namespace);
                }
                id
            }
            (None, Some(id)) => id,
            // The descriptor did not arrive: too many are open.
            (None, None) => return Err(io::Error::from_raw_os_error(libc::EMFILE)),
        };
        self.hold(id, question);
        Ok(())
    }

    /// Counts a socket that could not be queried.
    fn failed(&mut self, question: &Question, error: &io::Error) {
        let of_thread = question.descriptors.iter().any(|descriptor| descriptor.tid.is_some());
        match error.raw_os_error() {
            _ if is_gone(error) => {}
            Some(libc::EINVAL) if of_thread => {
                let reason = "in a thread's own descriptor table";
                self.builder.gaps.add(GapKind::Sockets, reason, Some("use BPF, or Linux 6.9"));
            }
            Some(libc::ETIMEDOUT) => {
                let reason =
                    "the network namespace was not found in time: a process delays queries of its sockets";
                self.builder.gaps.add(GapKind::Sockets, reason, Some("--source bpf"));
            }
            _ => self.builder.gaps.add_error(GapKind::Sockets, error),
        }
    }

    /// Adds a socket as a holder, if the namespace has no members, which would have many.
    fn hold(&mut self, id: NsId, question: &Question) {
        let entry = self.builder.index.entry(id);
        if entry.namespace.processes == 0 {
            for &Descriptor { pid, tid, fd } in &question.descriptors {
                entry.held(Holder::Socket { pid, tid, fd });
            }
        }
    }
}
