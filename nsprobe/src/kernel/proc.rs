//! `/proc`, read but not interpreted: every function returns bytes, link texts, descriptors or errors.
//!
//! Every read of a process may wait for it, so only watched threads do it ([`bounded`]).
//!
//! A process is read through one descriptor of its directory. That directory stays with the process it was opened for:
//! after its end every read fails with ESRCH, even if the pid has been reused.

use super::bounded;
use super::clock::Offset;
use super::entries::numbers;
use super::load;
use super::statx::{FileFacts, MountId};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::read;
use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A proc file system, or a directory laid out like one.
#[derive(Clone, Debug)]
pub struct Proc {
    root: Arc<Path>,
    dir: Arc<OwnedFd>,
    /// The shift of process start times for this reader.
    offset: Offset,
}

impl Proc {
    /// Opens the proc file system at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let dir = nix::fcntl::open(root, directory(), Mode::empty())?;
        Ok(Self { root: root.into(), dir: Arc::new(dir), offset: Offset::own(root) })
    }

    /// Returns the shift of process start times by the reader's time namespace.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// Returns true if it is a proc file system, not a directory laid out like one.
    #[must_use]
    pub fn is_live(&self) -> bool {
        use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
        fstatfs(&*self.dir).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
    }

    /// Returns its path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Estimates the number of processes in all pid namespaces: the link count of a proc file system's root includes
    /// them, and about ten other directories. For any other directory, returns its link count.
    #[must_use]
    pub fn about_how_many(&self) -> usize {
        fstat(&*self.dir).map_or(0, |stat| usize::try_from(stat.st_nlink).unwrap_or(usize::MAX))
    }

    /// Reads `loadavg` from the proc file system itself, not what is mounted over it.
    pub fn load_average(&self) -> io::Result<Vec<u8>> {
        load::average(self.dir.as_fd())
    }

    /// Returns the ids of all visible processes, in ascending order.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let dir = openat(&*self.dir, ".", directory(), Mode::empty())?;
        let mut pids = numbers(dir.as_fd())?;
        pids.sort_unstable();
        Ok(pids)
    }

    /// Reads the whole of a file that belongs to no process, such as `sys/kernel/random/boot_id`.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        read_file(&self.dir, name, &mut bytes)?;
        Ok(bytes)
    }

    /// Opens one process. `Err(ESRCH)` or `Err(ENOENT)`: it is gone; [`Stuck`](bounded::Stuck): it is known to keep
    /// readers waiting.
    pub fn process(&self, pid: u32) -> io::Result<ProcessDir> {
        bounded::begin(pid);
        let dir = self.directory(&pid.to_string())?;
        bounded::enter(pid, dir.owner, || dir.user_map())?;
        Ok(dir)
    }

    /// Opens the calling process, if this is the proc file system of its own pid namespace or of an outer one.
    pub fn this_process(&self) -> io::Result<ProcessDir> {
        self.directory("self")
    }

    /// Returns the caller's pid in this proc file system; `None` if it is not visible there.
    #[must_use]
    pub fn own_pid(&self) -> Option<u32> {
        readlinkat(&*self.dir, "self").ok()?.to_str()?.parse().ok()
    }

    fn directory(&self, name: &str) -> io::Result<ProcessDir> {
        let dir = openat(&*self.dir, name, directory() | OFlag::O_PATH, Mode::empty())?;
        let owner = fstat(&dir)?.st_uid;
        Ok(ProcessDir { dir, owner })
    }
}

const fn directory() -> OFlag {
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC)
}

/// Most files of a process fit in one read of this size.
const CHUNK: usize = 4096;

/// Reads the whole of the file `name` below `dir` into `buffer`.
fn read_file(dir: &OwnedFd, name: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
    let fd = openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    // Not File::read_to_end: it first requests a size, in two more calls, and proc files report 0.
    let mut end = 0;
    loop {
        if buffer.len() < end + CHUNK {
            buffer.resize(end + CHUNK, 0);
        }
        match read(&fd, &mut buffer[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    buffer.truncate(end);
    Ok(())
}

/// Reads the first `most` bytes of a file, or all of a shorter one, into `buffer`: in one read, which the kernel
/// shortens only if it cannot read on.
fn read_some(fd: &OwnedFd, buffer: &mut Vec<u8>, most: usize) -> io::Result<()> {
    buffer.clear();
    buffer.resize(most, 0);
    loop {
        match read(fd, &mut *buffer) {
            Ok(count) => {
                buffer.truncate(count);
                return Ok(());
            }
            Err(Errno::EINTR) => {}
            Err(error) => {
                buffer.clear();
                return Err(error.into());
            }
        }
    }
}

/// The directory of one process, or of one thread.
#[derive(Debug)]
pub struct ProcessDir {
    dir: OwnedFd,
    owner: u32,
}

impl ProcessDir {
    /// Reads the whole of one of its files into `buffer`, whose former content is lost, even after an error.
    pub fn read(&self, name: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
        read_file(&self.dir, name, buffer)
    }

    /// Reads the map of its user namespace's ids to the reader's; empty if that fails. It waits for no lock of the
    /// process.
    fn user_map(&self) -> Vec<u8> {
        let mut map = Vec::new();
        let read = self.read_start("uid_map", &mut map, CHUNK);
        if read.is_ok() { map } else { Vec::new() }
    }

    /// Reads at most the first `most` bytes of one of its files into `buffer`, whose former content is lost, even after
    /// an error.
    pub fn read_start(&self, name: &str, buffer: &mut Vec<u8>, most: usize) -> io::Result<()> {
        buffer.clear();
        let fd = openat(&self.dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        read_some(&fd, buffer, most)
    }

    /// Reads one of its files in parts, for as long as `part` returns true; returns true if that was all of it.
    pub fn read_parts(&self, name: &str, part: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let fd = openat(&self.dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match read(&fd, &mut buffer[..]) {
                Ok(0) => return Ok(true),
                Ok(count) if part(&buffer[..count]) => {}
                Ok(_) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads the text of one of its links.
    pub fn read_link(&self, name: &str) -> io::Result<OsString> {
        Ok(readlinkat(&self.dir, name)?)
    }

    /// Returns the effective user that owned the directory when it was opened: the process's, or 0 while the process is
    /// not dumpable (`PR_SET_DUMPABLE`, prctl(2)).
    #[must_use]
    pub const fn owner(&self) -> u32 {
        self.owner
    }

    /// Returns the device and inode of the target of one of its links.
    pub fn stat(&self, name: &str) -> io::Result<FileStat> {
        Ok(fstatat(&self.dir, name, AtFlags::empty())?)
    }

    /// Returns true if the target of one of its links has been removed from its directory. Involves no file server.
    pub fn is_deleted(&self, name: &CStr) -> io::Result<bool> {
        super::statx::is_deleted(self.dir.as_fd(), name)
    }

    /// Returns the id of the mount that a link's target is in: if the kernel has one, and `unique` is set, the unique
    /// one. Queries no file server.
    pub fn mount_id(&self, name: &CStr, unique: bool) -> io::Result<MountId> {
        super::statx::mount_id(self.dir.as_fd(), name, unique)
    }

    /// Returns the ids of its threads.
    pub fn threads(&self) -> io::Result<Vec<u32>> {
        numbers(openat(&self.dir, "task", directory(), Mode::empty())?.as_fd())
    }

    /// Opens one of its threads: a directory like that of a process.
    pub fn thread(&self, tid: u32) -> io::Result<Self> {
        let name = format!("task/{tid}");
        let dir = openat(&self.dir, name.as_str(), directory() | OFlag::O_PATH, Mode::empty())?;
        Ok(Self { dir, owner: self.owner })
    }

    /// Returns its open descriptors, and the directory to examine them in.
    pub fn descriptors(&self) -> io::Result<(DescriptorDir, Vec<u32>)> {
        let dir = openat(&self.dir, "fd", directory(), Mode::empty())?;
        let numbers = numbers(dir.as_fd())?;
        Ok((DescriptorDir { dir }, numbers))
    }

    /// Opens the namespace that its descriptor `fd` refers to. Only an nsfs file (device `nsfs_dev`) is opened for
    /// reading: by now the descriptor may refer to a FIFO or a device.
    pub fn open_namespace_descriptor(&self, fd: u32, nsfs_dev: u64) -> io::Result<OwnedFd> {
        let how = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let found = openat(&self.dir, format!("fd/{fd}").as_str(), how, Mode::empty())?;
        open_nsfs(&found, nsfs_dev)
    }

    /// Opens the namespace file `name` (`ns/net`) for queries. It keeps the namespace alive until closed.
    pub fn open_namespace(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(openat(&self.dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
    }
}

impl AsFd for ProcessDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// `/proc/PID/fd`.
#[derive(Debug)]
pub struct DescriptorDir {
    dir: OwnedFd,
}

impl DescriptorDir {
    /// Returns the type of the file behind a descriptor. Involves no file server: the cached inode is enough.
    pub fn stat(&self, fd: u32) -> io::Result<FileFacts> {
        super::statx::facts(self.dir.as_fd(), fd)
    }

    /// Reads the link of a descriptor: for an nsfs file `net:[4026531833]`, or a path if it was opened through a mount.
    pub fn read_link(&self, fd: u32) -> io::Result<OsString> {
        Ok(readlinkat(&self.dir, fd.to_string().as_str())?)
    }
}

/// Opens for reading the nsfs file (device `nsfs_dev`) that an `O_PATH` descriptor refers to. `Err(ENOENT)`: it is on
/// another file system, which is not queried.
pub fn open_nsfs(found: &impl AsFd, nsfs_dev: u64) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd as _;
    if super::statx::facts_of(found.as_fd())?.dev != nsfs_dev {
        return Err(Errno::ENOENT.into());
    }
    let path = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    Ok(nix::fcntl::open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}
