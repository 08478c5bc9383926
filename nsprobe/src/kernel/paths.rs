//! Path walks that wait for no file system's server: names are looked up only in file systems known to be local, or in
//! the kernel's caches.

use super::outpost::{self, Answer, Reply};
use super::proc::ProcessDir;
use super::{relay, status};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// `RESOLVE_CACHED` of `<linux/openat2.h>`, Linux 5.12.
const RESOLVE_CACHED: u64 = 0x20;

/// The time that a path given by the user may take.
const PATIENCE: Duration = Duration::from_millis(250);

/// The number of attempts at a walk that a rename or a mount elsewhere may disturb.
const ATTEMPTS: u32 = 3;

/// The flags of every open: the file is found, not opened, and no server is involved.
const FOUND: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

/// Opens the caller's own root directory.
pub fn own_root() -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open("/", FOUND | OFlag::O_DIRECTORY, Mode::empty())?)
}

/// Opens the root directory of a process.
pub fn root_of(process: &ProcessDir) -> io::Result<OwnedFd> {
    // Follows the link, which is in `/proc`: that involves no other file system.
    let how = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
    Ok(openat(process, "root", how, Mode::empty())?)
}

/// Finds what `path` leads to below `root`, only from the kernel's caches: no server is involved, nothing is mounted on
/// demand, no symbolic link is followed. Mount points are always cached.
///
/// `Err(EAGAIN)`: not everything is cached. `Err(EINVAL)`: the kernel is older than 5.12.
pub fn cached(root: &impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::from_bits_retain(RESOLVE_CACHED);
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match openat2(root, path, OpenHow::new().flags(FOUND).resolve(resolve)) {
            Err(Errno::EAGAIN) if left > 0 => {}
            result => return Ok(result?),
        }
    }
}

/// Finds `name` in the directory `dir`, which must be on a local file system: that file system looks the name up.
pub fn step(dir: &impl AsFd, name: &Path) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, FOUND, Mode::empty())?)
}

/// Returns the id in mountinfo of the mount that `fd` is on: from `fdinfo`, because statx(2) would involve the file
/// system.
pub fn mount_id(fd: &impl AsFd) -> io::Result<u64> {
    let file = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let file = nix::fcntl::open(file.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = [0; 256];
    let length = nix::unistd::read(&file, &mut text)?;
    status::number(&text[..length], "mnt_id").ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns the device and inode that a path given by the user leads to, anywhere; fails like a child process and
/// stat(2).
pub fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let [error, dev, ino] = in_child(|| match nix::sys::stat::stat(path) {
        Ok(file) => [0, file.st_dev, file.st_ino],
        Err(error) => [u64::from((error as i32).unsigned_abs()), 0, 0],
    })?;
    match i32::try_from(error) {
        Ok(0) => Ok((dev, ino)),
        number => Err(io::Error::from_raw_os_error(number.unwrap_or(libc::EIO))),
    }
}

/// Returns true if a path given by the user exists; fails like a child process.
pub fn is_there(path: &Path) -> io::Result<bool> {
    let [there] = in_child(|| [u64::from(nix::sys::stat::lstat(path).is_ok())])?;
    Ok(there != 0)
}

/// Makes a call that may wait for a file system's server in a child process. `ErrorKind::TimedOut`: it does not answer;
/// other errors mean that it was not made.
pub(super) fn in_child<const N: usize>(ask: impl Fn() -> [u64; N]) -> io::Result<[u64; N]> {
    let ask = |&(): &()| Reply::from(ask());
    let (mut answered, asked) = (Err(Errno::EIO.into()), Instant::now());
    outpost::each(&[()], &[], &mut { PATIENCE }, ask, |(), answer| {
        answered = match answer {
            Answer::NotBegun(reason) => Err(io::Error::other(reason)),
            answer @ Answer::Waiting => Err(relay::no_answer(answer, asked)),
            answer => answer.reply(),
        };
    });
    answered?.numbers().try_into().map_err(|_| Errno::EIO.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_is_found_by_id() {
        let proc = cached(&own_root().unwrap(), Path::new("/proc"));
        let proc = proc.or_else(|_| step(&own_root().unwrap(), Path::new("proc"))).unwrap();
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let id = mount_id(&proc).unwrap().to_string();
        let line = mountinfo.lines().find(|line| line.split(' ').next() == Some(&id)).unwrap();
        assert_eq!(line.split(' ').nth(4), Some("/proc"));
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/proc", dir.path().join("link")).unwrap();
        let root = own_root().unwrap();
        let found = cached(&root, &dir.path().join("link/self"));
        assert!(matches!(found.unwrap_err().raw_os_error(), Some(libc::ELOOP | libc::EAGAIN | libc::EINVAL)));
    }
}
