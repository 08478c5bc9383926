//! Control groups of version 2.

use super::stage;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A control group, below the one for the tests of this process; removed with all its descendants when this is
/// dropped.
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    /// Creates `name` in the group for the tests of this process; `None` if no hierarchy of version 2 is mounted.
    pub fn make(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
        let mut words = mounts.lines().map(|line| line.split(' '));
        let mount = words.find_map(|mut words| {
            let path = words.nth(1)?;
            (words.next()? == "cgroup2").then(|| path.to_owned())
        })?;
        let group = Path::new(&mount).join(format!("nsprobe-{}", std::process::id())).join(name);
        fs::create_dir_all(&group).expect("a control group");
        Some(Self(group))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is busy until the last process has been reaped.
        let removed = stage::wait(|| remove(&self.0).ok());
        let _ = self.0.parent().map(fs::remove_dir);
        // A second panic would discard the results of all other tests.
        assert!(removed.is_some() || std::thread::panicking(), "{} is left", self.0.display());
    }
}

/// Removes a control group after its descendants. The files in it are the kernel's.
fn remove(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
