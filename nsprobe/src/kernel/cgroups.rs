//! Control groups of hierarchy version 2, by the paths that users have: cgroups(7).

use super::own_mounts;
use super::paths::in_child;
use crate::model::text;
use nix::errno::Errno;
use nix::sys::statfs::{FsType, statfs};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

mod by_id;

pub use by_id::Hierarchy;

/// `CGROUP2_SUPER_MAGIC` of `<linux/magic.h>`.
const CGROUP2_MAGIC: FsType = FsType(0x6367_7270);

/// The reason that a control group was not found.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// No version 2 hierarchy is mounted where this process can see it.
    #[error("{path}: no such control group directory, and no hierarchy of version 2 is mounted here", path = text::shown_path(.0))]
    NoHierarchy(PathBuf),
    /// It does not exist.
    #[error("{path}: no such control group: {error}", path = text::shown_path(.path))]
    Absent {
        /// The path as given.
        path: PathBuf,
        /// The error of the lookup.
        error: io::Error,
    },
    /// The list of mounts is not readable.
    #[error("/proc/self/mountinfo: {0}")]
    Mounts(io::Error),
}

/// A mount of the hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// The control group that is mounted, as seen in the reader's cgroup namespace.
    root: PathBuf,
    /// The mount point.
    point: PathBuf,
}

/// True if a version 2 hierarchy has ever been mounted: cgroups(7). Otherwise every task is at its root, which nobody
/// can see.
pub fn is_hierarchy_mounted() -> io::Result<bool> {
    let text = std::fs::read("/proc/self/cgroup")?;
    Ok(text.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"0::")))
}

/// Returns the id of the control group at `path`, which is the inode of its directory. `path` is a directory in a
/// mounted hierarchy, or a path from the root of the hierarchy, as in events. A child process does it, so that it does
/// not wait long for a server.
pub fn find(path: &Path) -> Result<u64, GroupError> {
    let errno = |error: &io::Error| u64::from(error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs());
    let answered = in_child(|| match find_id(path) {
        Ok(id) => [0, id],
        Err(GroupError::NoHierarchy(_)) => [1, 0],
        Err(GroupError::Mounts(error)) => [2, errno(&error)],
        Err(GroupError::Absent { error, .. }) => [3, errno(&error)],
    });
    let absent = |error| GroupError::Absent { path: path.to_owned(), error };
    let [outcome, value] = answered.map_err(absent)?;
    let error = io::Error::from_raw_os_error(i32::try_from(value).unwrap_or(libc::EIO));
    match outcome {
        0 => Ok(value),
        1 => Err(GroupError::NoHierarchy(path.to_owned())),
        2 => Err(GroupError::Mounts(error)),
        _ => Err(absent(error)),
    }
}

/// Does the same without a time limit.
fn find_id(path: &Path) -> Result<u64, GroupError> {
    let text = own_mounts::text().map_err(GroupError::Mounts)?;
    let mounts = parse(&text);
    let is_group = |path: &Path| statfs(path).is_ok_and(|found| found.filesystem_type() == CGROUP2_MAGIC);
    let directory = if is_group(path) {
        path.to_owned()
    } else {
        let Some(top) = mounts.iter().find(|mount| mount.root == Path::new("/")) else {
            return Err(GroupError::NoHierarchy(path.to_owned()));
        };
        top.point.join(path.strip_prefix("/").unwrap_or(path))
    };
    let absent = |error| GroupError::Absent { path: path.to_owned(), error };
    let directory = directory.canonicalize().map_err(absent)?;
    let found = std::fs::metadata(&directory).map_err(absent)?;
    if !found.is_dir() || !is_group(&directory) {
        return Err(absent(Errno::ENOTDIR.into()));
    }
    Ok(found.ino())
}

/// Parses the mounts of the hierarchy in the text of `/proc/PID/mountinfo`: proc_pid_mountinfo(5).
fn parse(text: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let separator = words.iter().position(|word| *word == b"-")?;
        let is_it = words.get(separator + 1) == Some(&&b"cgroup2"[..]);
        let path = |index: usize| words.get(index).map(|word| PathBuf::from(unescaped(word)));
        is_it.then_some(Mount { root: path(3)?, point: path(4)? })
    };
    text.split(|&byte| byte == b'\n').filter_map(mount).collect()
}

/// Decodes the octal escapes of a path, as in `a\040b`.
fn unescaped(word: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let escape = after.get(..3).filter(|_| first == b'\\');
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = if value.is_some() { &after[3..] } else { after };
        bytes.push(value.unwrap_or(first));
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_mounts_are_parsed() {
        let text = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:5 - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 master:1 - cgroup2 cgroup2 rw\n\
            42 31 0:38 /a/b\\040c /mnt/x\\134y rw - cgroup2 none rw\nnonsense\n";
        let mounts = parse(text);
        let mount = |root: &str, point: &str| Mount { root: root.into(), point: point.into() };
        assert_eq!(mounts, [mount("/", "/sys/fs/cgroup/unified"), mount("/a/b c", "/mnt/x\\y")]);
    }

    #[test]
    fn non_cgroup_paths_are_refused() {
        for path in ["/no/such/group", "/proc/1/cgroup"] {
            assert!(find(Path::new(path)).is_err(), "{path}");
        }
    }
}
