//! `/proc`, read and not interpreted: every function gives bytes, link texts, descriptors or errors.
//!
//! Whatever is read of a process may wait for it, so that only threads do it that are watched
//! ([`bounded`]).
//!
//! A process is read through one descriptor of its directory. That directory stays with the process it was
//! opened for: after its end every read fails with ESRCH, even when the pid has been given to another.

use super::bounded;
use super::clock::Offset;
use super::entries::numbers;
use super::statx::FileFacts;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
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
    /// By how much it shifts the start of processes for this reader.
    offset: Offset,
}

impl Proc {
    /// Opens the proc file system at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let dir = nix::fcntl::open(root, directory(), Mode::empty())?;
        Ok(Self { root: root.into(), dir: Arc::new(dir), offset: Offset::own(root) })
    }

    /// By how much the reader's time namespace shifts what it tells of the start of processes.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// Whether it is a proc file system, and no directory laid out like one.
    #[must_use]
    pub fn is_live(&self) -> bool {
        use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
        fstatfs(&*self.dir).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// About how many processes there are, in all pid namespaces: the links of a proc file system's root count them,
    /// and some ten directories that are no process's. Where it is another directory, its links.
    #[must_use]
    pub fn about_how_many(&self) -> usize {
        fstat(&*self.dir).map_or(0, |stat| usize::try_from(stat.st_nlink).unwrap_or(usize::MAX))
    }

    /// The text of `loadavg`, by the proc file system itself: container managers mount a file of their own over it.
    pub fn load_average(&self) -> io::Result<Vec<u8>> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let mut bytes = Vec::new();
        read_some(&openat2(&*self.dir, "loadavg", how)?, &mut bytes, CHUNK)?;
        Ok(bytes)
    }

    /// The ids of all processes that it shows, in ascending order.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let dir = openat(&*self.dir, ".", directory(), Mode::empty())?;
        let mut pids = numbers(dir.as_fd())?;
        pids.sort_unstable();
        Ok(pids)
    }

    /// The whole of one of the files that belong to no process, such as `sys/kernel/random/boot_id`.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        read_file(&self.dir, name, &mut bytes)?;
        Ok(bytes)
    }

    /// One process. `Err(ESRCH)` or `Err(ENOENT)`: it is gone; [`Stuck`](bounded::Stuck): it is known to keep others
    /// waiting.
    pub fn process(&self, pid: u32) -> io::Result<ProcessDir> {
        bounded::begin(pid);
        let dir = self.directory(&pid.to_string())?;
        bounded::enter(pid, dir.owner, || dir.user_map())?;
        Ok(dir)
    }

    /// The calling process, where this is the proc file system of its own pid namespace or of an outer one.
    pub fn this_process(&self) -> io::Result<ProcessDir> {
        self.directory("self")
    }

    /// The caller's process id as this proc file system numbers it; `None` when it is not visible in it.
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

/// The whole of the file `name` below `dir`, in `buffer`.
fn read_file(dir: &OwnedFd, name: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
    let fd = openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    // Not File::read_to_end: it first asks for a size, in two more calls, and proc files say 0.
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

/// The first `most` bytes of a file, or all of it where it is shorter, in `buffer`: in one read, of which the kernel cuts
/// short only what it cannot read on.
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
    /// The whole of one of its files, in `buffer`; what was in it is gone, also after an error.
    pub fn read(&self, name: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
        read_file(&self.dir, name, buffer)
    }

    /// How its user namespace maps ids to the reader's; empty where that cannot be read. It waits for no lock of the process.
    fn user_map(&self) -> Vec<u8> {
        let mut map = Vec::new();
        let read = self.read_start("uid_map", &mut map, CHUNK);
        if read.is_ok() { map } else { Vec::new() }
    }

    /// At most the first `most` bytes of one of its files, in `buffer`; what was in it is gone, also after an error.
    pub fn read_start(&self, name: &str, buffer: &mut Vec<u8>, most: usize) -> io::Result<()> {
        buffer.clear();
        let fd = openat(&self.dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        read_some(&fd, buffer, most)
    }

    /// One of its files in parts, for as long as `part` returns true; returns whether that was all of it.
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

    /// The text of one of its links.
    pub fn read_link(&self, name: &str) -> io::Result<OsString> {
        Ok(readlinkat(&self.dir, name)?)
    }

    /// The effective user that owned the directory when it was opened: the process's, or 0 while the process is not
    /// dumpable (`PR_SET_DUMPABLE`, prctl(2)).
    #[must_use]
    pub const fn owner(&self) -> u32 {
        self.owner
    }

    /// Device and inode of what one of its links points at.
    pub fn stat(&self, name: &str) -> io::Result<FileStat> {
        Ok(fstatat(&self.dir, name, AtFlags::empty())?)
    }

    /// Whether what one of its links points at is in no directory any more. Asks no file server.
    pub fn is_deleted(&self, name: &CStr) -> io::Result<bool> {
        super::statx::is_deleted(self.dir.as_fd(), name)
    }

    /// The ids of its threads.
    pub fn threads(&self) -> io::Result<Vec<u32>> {
        numbers(openat(&self.dir, "task", directory(), Mode::empty())?.as_fd())
    }

    /// One of its threads: a directory like that of a process.
    pub fn thread(&self, tid: u32) -> io::Result<Self> {
        let name = format!("task/{tid}");
        let dir = openat(&self.dir, name.as_str(), directory() | OFlag::O_PATH, Mode::empty())?;
        Ok(Self { dir, owner: self.owner })
    }

    /// The numbers of its open descriptors, and the directory to look at them in.
    pub fn descriptors(&self) -> io::Result<(DescriptorDir, Vec<u32>)> {
        let dir = openat(&self.dir, "fd", directory(), Mode::empty())?;
        let numbers = numbers(dir.as_fd())?;
        Ok((DescriptorDir { dir }, numbers))
    }

    /// Opens the namespace that its descriptor `fd` stands for. Nothing but an nsfs file (device
    /// `nsfs_dev`) is opened for reading: the number may stand for a FIFO or a device by now.
    pub fn open_namespace_descriptor(&self, fd: u32, nsfs_dev: u64) -> io::Result<OwnedFd> {
        let how = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let found = openat(&self.dir, format!("fd/{fd}").as_str(), how, Mode::empty())?;
        open_nsfs(&found, nsfs_dev)
    }

    /// Opens the namespace file `name` (`ns/net`) for questions. It keeps the namespace alive until closed.
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
    /// What kind of file a descriptor stands for. Asks no file server: what is known of the inode is enough.
    pub fn stat(&self, fd: u32) -> io::Result<FileFacts> {
        super::statx::facts(self.dir.as_fd(), fd)
    }

    /// What the link of a descriptor reads: of an nsfs file `net:[4026531833]`, or a path when it was
    /// opened through a mount.
    pub fn read_link(&self, fd: u32) -> io::Result<OsString> {
        Ok(readlinkat(&self.dir, fd.to_string().as_str())?)
    }
}

/// Opens for reading the nsfs file (device `nsfs_dev`) that an `O_PATH` descriptor stands for. `Err(ENOENT)`: it is a
/// file of another file system, which is not asked for anything.
pub fn open_nsfs(found: &impl AsFd, nsfs_dev: u64) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd as _;
    if super::statx::facts_of(found.as_fd())?.dev != nsfs_dev {
        return Err(Errno::ENOENT.into());
    }
    let path = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    Ok(nix::fcntl::open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}
