//! `/proc` read by hand, independently of nsprobe, to compare with.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The pids of all processes.
pub fn pids() -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// True if the namespaces of every process are readable, as they are for root, except in a sandbox around this
/// machine: then numbers of processes are known.
pub fn all_readable() -> bool {
    let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let unreadable = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/net")).is_err_and(denied);
    !pids().iter().any(unreadable)
}

/// The value of a field of `/proc/PID/status`, such as `NSpid`; `None` if the process is gone.
pub fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/status")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

/// The command name.
pub fn comm(pid: u32) -> Option<String> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&comm).trim_end().to_owned())
}

/// The parent's pid.
pub fn ppid(pid: u32) -> Option<u32> {
    status(pid, "PPid")?.parse().ok()
}

/// The process's pid in every pid namespace it is in, outermost first.
pub fn pids_inside(pid: u32) -> Option<Vec<u32>> {
    status(pid, "NSpid")?.split_whitespace().map(|pid| pid.parse().ok()).collect()
}

/// The inode of each file in `/proc/PID/ns`, by its name: `net`, `pid_for_children`, … .
pub fn namespaces(pid: u32) -> Option<BTreeMap<String, u64>> {
    namespaces_in(&format!("/proc/{pid}/ns"))
}

/// The same for a thread.
pub fn thread_namespaces(pid: u32, tid: u32) -> BTreeMap<String, u64> {
    namespaces_in(&format!("/proc/{pid}/task/{tid}/ns")).expect("a thread")
}

fn namespaces_in(directory: &str) -> Option<BTreeMap<String, u64>> {
    let mut inodes = BTreeMap::new();
    for entry in fs::read_dir(directory).ok()? {
        let entry = entry.ok()?;
        // A link may be unreadable: pid_for_children before the first child.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_str()?.to_owned();
        let ino = target.split_once(":[")?.1.strip_suffix(']')?.parse().ok()?;
        inodes.insert(entry.file_name().to_str()?.to_owned(), ino);
    }
    Some(inodes)
}

/// The inode of one namespace of a process.
pub fn namespace(pid: u32, name: &str) -> Option<u64> {
    namespaces(pid)?.get(name).copied()
}

/// The root directory.
pub fn root(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/root")).ok()
}

/// The start time of the process, in clock ticks after boot.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // The name before the last `)` may hold anything; the start is field 22, and `)` ends field 2.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
