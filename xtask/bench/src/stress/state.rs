//! The state of the machine before and after: neither the churn nor nsprobe may leave anything behind.

use super::ledger::Ns;
use crate::ending;
use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The things that could be left behind.
pub struct State {
    /// Namespaces that a process or a thread is in, read from `/proc` here, not by nsprobe.
    pub namespaces: BTreeSet<Ns>,
    mounts: BTreeSet<String>,
    children: BTreeSet<String>,
    descriptors: usize,
}

/// A thing that was left behind.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// A namespace.
    Namespace(Ns),
    /// A mount, as a line of mountinfo.
    Mount(String),
    /// A child of this process.
    Process(String),
    /// This many descriptors of this process.
    Descriptors(usize),
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(ns) => write!(f, "namespace {ns}"),
            Self::Mount(mount) => write!(f, "mount {mount}"),
            Self::Process(pid) => write!(f, "process {pid}"),
            Self::Descriptors(count) => write!(f, "{count} descriptors of our own"),
        }
    }
}

impl State {
    /// Reads the state of the machine.
    pub fn read() -> Result<Self> {
        let own = Pid::this();
        let mut children = BTreeSet::new();
        for task in entries(Path::new("/proc/self/task")) {
            let of_task = fs::read_to_string(task.join("children")).unwrap_or_default();
            children.extend(of_task.split_whitespace().map(str::to_owned));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("mounts")?;
        Ok(Self {
            namespaces: namespaces(),
            mounts: mounts.lines().map(str::to_owned).collect(),
            children,
            descriptors: ending::descriptors(own)?.len(),
        })
    }

    /// The things that exist now and did not exist `before`.
    pub fn left(&self, before: &Self) -> Vec<Left> {
        let mut left = Vec::new();
        left.extend(self.namespaces.difference(&before.namespaces).map(|ns| Left::Namespace(ns.clone())));
        left.extend(self.mounts.difference(&before.mounts).map(|mount| Left::Mount(mount.clone())));
        left.extend(self.children.difference(&before.children).map(|pid| Left::Process(pid.clone())));
        if self.descriptors > before.descriptors {
            left.push(Left::Descriptors(self.descriptors - before.descriptors));
        }
        left
    }
}

/// The namespaces of all processes, threads, and their children, as far as they are readable.
fn namespaces() -> BTreeSet<Ns> {
    let mut found = BTreeSet::new();
    let pid =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
    for process in entries(Path::new("/proc")).into_iter().filter(pid) {
        for task in entries(&process.join("task")) {
            let links = entries(&task.join("ns"));
            found.extend(links.iter().filter_map(|link| Ns::parse(fs::read_link(link).ok()?.to_str()?)));
        }
    }
    found
}

/// The entries of a directory; none if it has vanished.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::Command;

    #[test]
    fn remains_are_found() {
        let before = State::read().expect("a state");
        assert!(before.namespaces.len() >= 8, "{:?}", before.namespaces);
        let mut child = Command::new("sleep").arg("10").spawn().expect("sleep");
        let files: Vec<_> = (0..100).map(|_| File::open("/dev/null").expect("open")).collect();
        let left = State::read().expect("a state").left(&before);
        assert!(left.contains(&Left::Process(child.id().to_string())), "{left:?}");
        assert!(left.iter().any(|left| matches!(left, Left::Descriptors(_))), "{left:?}");
        drop(files);
        child.kill().and_then(|()| child.wait()).expect("sleep ends");
        let left = State::read().expect("a state").left(&before);
        assert!(!left.contains(&Left::Process(child.id().to_string())), "{left:?}");
    }
}
