//! Determines the namespaces of processes whose `/proc/PID/ns` may not be read, from files that anybody may read.
//!
//! The kernel protects the links in `ns/`, but not these: `/proc/PID/net` is the directory of the process's network
//! namespace, and each namespace's files there have their own inodes; a mount has a unique id and is in one mount
//! namespace, so two processes with a line of `mountinfo` in common share it; and a process in the pid namespace that
//! `/proc` shows has a single pid in `status`. Nothing is known of the other kinds.

use super::context::Context;
use super::lines::{self, Line};
use super::parse;
use crate::kernel::bounded;
use crate::kernel::mount_room::{self as room, Room};
use crate::kernel::proc::ProcessDir;
use crate::model::{NsId, NsKind, NsSlot, Pid, Process};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// The findings about processes that may not be read.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    /// Namespaces of theirs, once per process.
    pub(super) inside: Vec<NsId>,
    /// The kinds for which some process's namespace is unknown.
    pub(super) unknown: BTreeSet<NsKind>,
    /// Number of such processes.
    pub(super) processes: u64,
}

/// A property shared by all members of a network or mount namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Token {
    /// The inode of a file of the network namespace.
    Net(u64),
    /// The id of a mount.
    Mount(u64),
}

impl Whereabouts {
    /// Examines those of `processes` whose namespaces are unknown.
    pub(super) fn find(context: &Context, processes: &[Process]) -> Self {
        let mut found = Self::default();
        let denied: Vec<&Process> = processes.iter().filter(|process| process.namespaces.is_none()).collect();
        if denied.is_empty() {
            return found;
        }
        found.unknown.extend(NsKind::ALL.into_iter().filter(|kind| !KINDS.contains(kind)));
        let room = Arc::new(Mutex::new(Room::for_mounts()));
        let known = known(context, processes, &room);
        let own = context.own_pid_namespace();
        let (pids, of_thread): (Vec<Pid>, _) =
            (denied.iter().map(|process| process.pid).collect(), context.proc.clone());
        let tokens = bounded::each(pids, move |&pid, _| {
            of_thread.process(pid).ok().map(|dir| [net(&dir), mount(&dir, &room)])
        });
        for (process, tokens) in std::iter::zip(denied, tokens) {
            found.processes += 1;
            // Gone: as if it had ended before. Nothing is known of one that does not answer.
            let Some(tokens) = tokens.unwrap_or(Some([None; 2])) else { continue };
            let pid = own.filter(|_| process.pids.len() == 1);
            let tokens = tokens.map(|token| token.and_then(|token| known.get(&token).copied()));
            for (kind, id) in KINDS.into_iter().zip([tokens[0], tokens[1], pid]) {
                match id {
                    Some(id) => found.inside.push(id),
                    None => drop(found.unknown.insert(kind)),
                }
            }
        }
        found
    }
}

const KINDS: [NsKind; 3] = [NsKind::Net, NsKind::Mnt, NsKind::Pid];

/// Returns the tokens of the network and mount namespaces that have a readable member, taken from one member each.
fn known(context: &Context, processes: &[Process], room: &Arc<Mutex<Room>>) -> HashMap<Token, NsId> {
    let mut handles: HashMap<NsId, Pid> = HashMap::new();
    for process in processes {
        for kind in [NsKind::Net, NsKind::Mnt] {
            if let Some(id) = process.namespace(NsSlot::In(kind)) {
                handles.entry(id).or_insert(process.pid);
            }
        }
    }
    let (context, room) = (context.clone(), Arc::clone(room));
    let token = move |&(id, pid): &(NsId, Pid), _: &mut Vec<u8>| {
        let dir = context.proc.process(pid).ok()?;
        let token = if id.kind == NsKind::Net { net(&dir) } else { mount(&dir, &room) }?;
        // It may have changed namespaces since.
        let still = context.namespace(&dir, NsSlot::In(id.kind)).ok()?;
        (still == Some(id)).then_some((token, id))
    };
    let tokens = bounded::each(handles.into_iter().collect(), token);
    tokens.into_iter().filter_map(|token| token.ok().flatten()).collect()
}

fn net(dir: &ProcessDir) -> Option<Token> {
    dir.stat("net/dev").ok().map(|file| Token::Net(file.st_ino))
}

/// Returns the lowest id of its mounts, which all processes with the same mount namespace and root share. `None` also
/// if there are more mounts than are read.
fn mount(dir: &ProcessDir, room: &Mutex<Room>) -> Option<Token> {
    let mut turn = room.lock().unwrap_or_else(PoisonError::into_inner).turn(room::ONE);
    let mut least = None;
    let whole = lines::mounts(dir, 0, &mut turn, &mut |line| {
        if let Line::Whole(line) = line
            && let Some(id) = parse::mount_id(line)
        {
            least = Some(least.map_or(id, |least: u64| least.min(id)));
        }
        true
    });
    room.lock().unwrap_or_else(PoisonError::into_inner).settle(turn.used());
    least.filter(|_| whole.is_ok_and(|whole| whole)).map(Token::Mount)
}
