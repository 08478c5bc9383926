//! Finds the network namespace of a socket of another process.
//!
//! `/proc` does not show it. So the socket itself is queried, through a duplicate of its descriptor (pidfd_getfd(2),
//! Linux 5.6), closed immediately. The effect: for some microseconds the socket has one more reference, so that a close
//! by its owner at that moment takes effect when the duplicate is closed.
//!
//! A child process does it ([`super::outpost`]). The owner may replace the socket with another file at any moment, and
//! closing a duplicate of that may wait for a file system's server, which not even SIGKILL ends; closing the last
//! duplicate of a socket may wait for its peer (`SO_LINGER`).

use super::nsfs;
use super::outpost::{self, Answer, Reply};
use nix::errno::Errno;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::time::Duration;

/// The time that all sockets of one snapshot that stand still may take together.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// A descriptor of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The process.
    pub pid: u32,
    /// The thread that owns the descriptor, if it has a table of its own.
    pub tid: Option<u32>,
    /// The descriptor.
    pub fd: u32,
}

/// A socket to query.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Its inode, if known.
    pub ino: Option<u64>,
    /// The cookie of its network namespace, if known.
    pub cookie: Option<u64>,
    /// Its descriptors; the first that can be duplicated is used.
    pub descriptors: Vec<Descriptor>,
}

/// The facts that a socket reveals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its inode.
    pub ino: u64,
    /// The cookie of its network namespace, if the kernel provides it.
    pub cookie: Option<u64>,
}

/// Queries the facts of sockets, which changes nothing. Fails like [`Answer::reply`], [`PidFd::of`] and
/// [`PidFd::socket`]; `Err(ENOTSOCK)`: it is no longer a socket.
pub fn facts(questions: &[Question], patience: &mut Duration) -> Vec<io::Result<Facts>> {
    let mut owners = Owners::default();
    let ask = |question: &Question| {
        let facts = owners.first(question, |socket| {
            Ok(Facts { ino: nsfs::identity(socket.as_fd())?.1, cookie: socket.netns_cookie().ok() })
        });
        match facts {
            Ok(Facts { ino, cookie }) => {
                let known = u64::from(cookie.is_some());
                Reply::from([SUCCESS, ino, known, cookie.unwrap_or(0)])
            }
            Err(error) => failure(&error),
        }
    };
    let mut all = Vec::with_capacity(questions.len());
    outpost::each(questions, &[], patience, ask, |_, answer| {
        all.push(decode(answer).and_then(|(numbers, _)| match numbers[..] {
            [_, ino, known, cookie] => Ok(Facts { ino, cookie: (known == 1).then_some(cookie) }),
            _ => Err(Errno::EIO.into()),
        }));
    });
    all
}

/// Opens the network namespaces of sockets, and passes each to `done`; of sockets with the same cookie it opens only
/// that of the first, and passes `None` for the others. Fails like [`facts`] and [`Socket::network_namespace`];
/// `Err(ENOENT)`: it has become a different socket.
pub fn network_namespaces<'a>(
    questions: &'a [Question],
    patience: &mut Duration,
    mut done: impl FnMut(&'a Question, io::Result<Option<OwnedFd>>),
) {
    let mut owners = Owners::default();
    // Local to a child: its successor does not know what it has opened.
    let mut opened = HashSet::new();
    let ask = |question: &Question| {
        if question.cookie.is_some_and(|cookie| opened.contains(&cookie)) {
            return Reply::from([SUCCESS]);
        }
        let namespace = owners.first(question, |socket| {
            let ino = nsfs::identity(socket.as_fd())?.1;
            if question.ino.is_some_and(|expected| expected != ino) {
                return Err(Errno::ENOENT.into());
            }
            socket.network_namespace()
        });
        match namespace {
            Ok(namespace) => {
                opened.extend(question.cookie);
                Reply { descriptor: Some(namespace), ..Reply::from([SUCCESS]) }
            }
            Err(error) => failure(&error),
        }
    };
    outpost::each(questions, &[], patience, ask, |question, answer| {
        done(question, decode(answer).map(|(_, namespace)| namespace));
    });
}

/// Returns true if an error means that the socket is gone.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT | libc::EBADF | libc::ENOTSOCK))
}

/// The process whose descriptors were duplicated last: the next often belongs to the same one.
#[derive(Default)]
struct Owners(Option<(u32, Option<u32>, PidFd)>);

impl Owners {
    /// Queries a duplicate of the first descriptor that works. The error is one that is not [`is_gone`], if there is
    /// one. Must be called in a child process.
    fn first<T>(&mut self, question: &Question, ask: impl Fn(&Socket) -> io::Result<T>) -> io::Result<T> {
        let mut failed = io::Error::from(Errno::ENOENT);
        for &descriptor in &question.descriptors {
            match self.socket(descriptor).and_then(|socket| ask(&socket)) {
                Ok(answer) => return Ok(answer),
                Err(error) if is_gone(&failed) => failed = error,
                Err(_) => {}
            }
        }
        Err(failed)
    }

    fn socket(&mut self, Descriptor { pid, tid, fd }: Descriptor) -> io::Result<Socket> {
        let owner = match self.0.take() {
            Some((last, thread, owner)) if (last, thread) == (pid, tid) => owner,
            _ => PidFd::of(pid, tid)?,
        };
        let (_, _, owner) = self.0.insert((pid, tid, owner));
        let duplicate = owner.socket(fd)?;
        if duplicate.netns_cookie().is_err_and(|error| error.raw_os_error() == Some(libc::ENOTSOCK)) {
            // Left open until the child ends: closing it may block forever, and the others should be queried first.
            let _ = duplicate.0.into_raw_fd();
            return Err(Errno::ENOTSOCK.into());
        }
        Ok(duplicate)
    }
}

/// Builds the reply that is this error.
fn failure(error: &io::Error) -> Reply {
    let errno = error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs();
    Reply::from([u64::from(errno)])
}

/// The number in a reply that is no error.
const SUCCESS: u64 = 0;

/// Returns the numbers and the descriptor of a child's reply, of which the first number is an errno or [`SUCCESS`].
fn decode(answer: Answer) -> io::Result<(Vec<u64>, Option<OwnedFd>)> {
    let reply = answer.reply()?;
    let numbers = reply.numbers();
    match numbers.first().copied().map(i32::try_from) {
        Some(Ok(0)) => Ok((numbers, reply.descriptor)),
        Some(Ok(error)) => Err(io::Error::from_raw_os_error(error)),
        _ => Err(Errno::EIO.into()),
    }
}

mod request {
    //! `SIOCGSKNS` of `<linux/sockios.h>`.
    nix::ioctl_none_bad!(network_namespace, 0x894c);
}

/// A process, or a thread, whose descriptors can be duplicated.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Calls pidfd_open(2), Linux 5.3. `pid` is a process in the caller's own pid namespace or in a descendant.
    /// `Err(ESRCH)`: it is gone.
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: the call takes two integers and returns a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        Ok(Self(owned(fd)?))
    }

    /// Opens the owner of a descriptor: the process, or its thread `tid` if that has a table of its own.
    pub fn of(pid: u32, tid: Option<u32>) -> io::Result<Self> {
        tid.map_or_else(|| Self::open(pid), Self::open_thread)
    }

    /// Opens one thread, which may have descriptors of its own: `PIDFD_THREAD`, Linux 6.9. `Err(EINVAL)`: the kernel is
    /// older.
    fn open_thread(tid: u32) -> io::Result<Self> {
        // SAFETY: as above. PIDFD_THREAD is O_EXCL.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, libc::O_EXCL) };
        Ok(Self(owned(fd)?))
    }

    /// Duplicates the process's descriptor `fd`, which should refer to a socket. The owner decides what it is, and
    /// closing it may take as long as that allows.
    ///
    /// `Err(ENOSYS)`: the kernel is older than 5.6. `Err(EPERM)`: the caller may not attach to the process
    /// (`PTRACE_MODE_ATTACH_REALCREDS`, ptrace(2)). `Err(EBADF)`: there is no such descriptor.
    pub fn socket(&self, fd: u32) -> io::Result<Socket> {
        // SAFETY: the call takes three integers and returns a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), fd, 0) };
        Ok(Socket(owned(fd)?))
    }
}

/// A socket in the caller's own table, such as a duplicate of another process's.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl Socket {
    /// Returns the cookie of the socket's network namespace: `SO_NETNS_COOKIE`, Linux 5.14; from 6.18 the same as
    /// `NS_GET_ID` of the namespace. Changes nothing. `Err(ENOPROTOOPT)`: the kernel is older.
    pub fn netns_cookie(&self) -> io::Result<u64> {
        let mut cookie = 0_u64;
        let mut length: libc::socklen_t = 8;
        // SAFETY: the kernel writes at most `length` bytes to `cookie`, which has as many, and the length
        // to `length`; both outlive the call, and the descriptor is open.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
    }

    /// Opens the socket's network namespace: `SIOCGSKNS`, Linux 4.10. Needs `CAP_NET_ADMIN` in the user namespace that
    /// owns it.
    ///
    /// Newer kernels consider a namespace that only sockets hold inactive; it is active again while the descriptor is
    /// open. A socket of a user program always holds its namespace, so this cannot meet one that is being torn down.
    pub fn network_namespace(&self) -> io::Result<OwnedFd> {
        // SAFETY: the request takes no argument, and the descriptor is open for the whole call.
        let fd = unsafe { request::network_namespace(self.0.as_raw_fd()) }?;
        owned(fd.into())
    }
}

/// Wraps a descriptor that the kernel has just returned; -1 is an error, in errno.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the kernel has just created this descriptor for us, and nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Ok(_) => Err(io::Error::last_os_error()),
        Err(_) => Err(Errno::EOVERFLOW.into()),
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn own_socket_is_in_own_namespace() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let own = PidFd::open(std::process::id()).unwrap();
        let number = |fd: i32| u32::try_from(fd).unwrap();
        let socket = own.socket(number(stream.as_raw_fd())).unwrap();
        // The request needs CAP_NET_ADMIN: without it only the refusal can be tested.
        match socket.network_namespace() {
            Ok(namespace) => {
                let ino = std::fs::File::from(namespace).metadata().unwrap().ino();
                assert_eq!(ino, std::fs::metadata("/proc/self/ns/net").unwrap().ino());
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        let error = own.socket(999_999).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
    #[test]
    fn sockets_are_queried_and_others_are_gone() {
        let (stream, other) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let question = |fds: &[i32]| {
            let descriptor =
                |&fd: &i32| Descriptor { pid: std::process::id(), tid: None, fd: u32::try_from(fd).unwrap() };
            Question { descriptors: fds.iter().map(descriptor).collect(), ..Question::default() }
        };
        let [stream, other, file] = [stream.as_raw_fd(), other.as_raw_fd(), file.as_raw_fd()];
        let questions = [&[stream][..], &[file, other], &[file], &[999_999]].map(question);
        let found = facts(&questions, &mut { PATIENCE });
        if found[0].as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
            // A child may not attach to its parent everywhere (Yama).
            return;
        }
        let ino = |fd: i32| std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino();
        assert_eq!(found[0].as_ref().unwrap().ino, ino(stream));
        assert_eq!(found[1].as_ref().unwrap().ino, ino(other));
        assert_eq!(found[2].as_ref().unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
        assert_eq!(found[3].as_ref().unwrap_err().raw_os_error(), Some(libc::EBADF));
        let known: Vec<Question> = std::iter::zip(&questions, &found)
            .map(|(question, found)| Question {
                cookie: found.as_ref().ok().and_then(|facts| facts.cookie),
                ..question.clone()
            })
            .collect();
        let mut opened = Vec::new();
        network_namespaces(&known, &mut { PATIENCE }, |_, namespace| opened.push(namespace));
        match &opened[0] {
            Ok(namespace) => {
                let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
                assert_eq!(nsfs::identity(namespace.as_ref().unwrap().as_fd()).unwrap().1, own);
                // One is enough if they are known to be the same.
                let again = opened[1].as_ref().unwrap().is_some();
                assert_eq!(again, known[1].cookie.is_none());
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        assert!(is_gone(opened[2].as_ref().unwrap_err()));
    }
}
