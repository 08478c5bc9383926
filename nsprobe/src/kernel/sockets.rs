//! To which network namespace a socket of another process belongs.
//!
//! Nothing in `/proc` says it. So the socket itself is asked, through a duplicate of its descriptor
//! (pidfd_getfd(2), Linux 5.6), closed at once. What that does: for some microseconds the socket has one
//! more reference, so that a close by its owner right then takes effect when the duplicate goes.

use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

mod request {
    //! `SIOCGSKNS` of `<linux/sockios.h>`.
    nix::ioctl_none_bad!(network_namespace, 0x894c);
}

/// A process, or a thread, whose descriptors can be duplicated.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// pidfd_open(2), Linux 5.3. `pid` is a process of the caller's own pid namespace or of one in it.
    /// `Err(ESRCH)`: it is gone.
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: the call takes two numbers and gives a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        Ok(Self(owned(fd)?))
    }

    /// The owner of a descriptor: the process, or its thread `tid` where that has a table of its own.
    pub fn of(pid: u32, tid: Option<u32>) -> io::Result<Self> {
        tid.map_or_else(|| Self::open(pid), Self::open_thread)
    }

    /// The same for one thread, which may have descriptors of its own: `PIDFD_THREAD`, Linux 6.9.
    /// `Err(EINVAL)`: the kernel is older.
    fn open_thread(tid: u32) -> io::Result<Self> {
        // SAFETY: as above. PIDFD_THREAD is O_EXCL.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, libc::O_EXCL) };
        Ok(Self(owned(fd)?))
    }

    /// A duplicate of the process's descriptor `fd`, if it is a socket.
    ///
    /// `Err(ENOSYS)`: the kernel is older than 5.6. `Err(EPERM)`: the caller may not attach to the
    /// process (`PTRACE_MODE_ATTACH_REALCREDS`, ptrace(2)). `Err(EBADF)`: there is no such descriptor.
    pub fn socket(&self, fd: u32) -> io::Result<Socket> {
        // SAFETY: the call takes three numbers and gives a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), fd, 0) };
        Ok(Socket(owned(fd)?))
    }
}

/// A socket of the caller's own, as a duplicate of another process's is.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl Socket {
    /// The number of the socket's network namespace: `SO_NETNS_COOKIE`, Linux 5.14; from 6.18 on the same
    /// as `NS_GET_ID` gives for the namespace. Changes nothing. `Err(ENOPROTOOPT)`: the kernel is older.
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

    /// Opens the socket's network namespace: `SIOCGSKNS`, Linux 4.10. It needs `CAP_NET_ADMIN` in the user
    /// namespace that owns it.
    ///
    /// A namespace that nothing but sockets holds is counted as inactive by newer kernels, and is active
    /// again while the descriptor is open. A socket of a user program always holds its namespace, so this
    /// cannot meet one that is being torn down.
    pub fn network_namespace(&self) -> io::Result<OwnedFd> {
        // SAFETY: the request takes no argument, and the descriptor is open for the whole call.
        let fd = unsafe { request::network_namespace(self.0.as_raw_fd()) }?;
        owned(fd.into())
    }
}

/// Takes a descriptor that the kernel has just given; -1 is an error, in errno.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Ok(_) => Err(io::Error::last_os_error()),
        Err(_) => Err(Errno::EOVERFLOW.into()),
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
    fn an_own_socket_is_in_the_own_namespace() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let own = PidFd::open(std::process::id()).unwrap();
        let number = |fd: i32| u32::try_from(fd).unwrap();
        let socket = own.socket(number(stream.as_raw_fd())).unwrap();
        // Asking needs CAP_NET_ADMIN: without it the refusal is all there is to see.
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
}
