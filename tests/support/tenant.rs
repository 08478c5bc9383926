//! A tenant who leaves a namespace behind: this test program, started again in its own namespaces, which has
//! something open until that has been taken over, and ends.

use super::orphans::inode;
use super::stage::wait;
use nix::sys::socket::{getsockopt, sockopt};
use nsprobe::kernel::sockets::{PidFd, Socket};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

/// The environment variable with the file it has to open.
const WHAT: &str = "NSPROBE_TEST_TENANT";
/// The socket to connect to.
const WHERE: &str = "NSPROBE_TEST_TENANT_SOCKET";

/// The remains of a tenant.
pub struct Left {
    /// The inode of its namespace of the requested kind.
    pub ino: u64,
    /// The file it had open.
    pub file: Option<Socket>,
    /// The socket whose peer it was.
    pub connection: UnixStream,
}

/// Starts this program by unshare(1) with these arguments, and takes over what it opens; `before_its_end` is called
/// with its pid while it lives. `what`: a path, `signals` (a pipe whose signals go to the tenant), or nothing.
pub fn leave(unshare: &[&str], kind: &str, what: &str, before_its_end: impl FnOnce(u32)) -> Left {
    let dir = tempfile::tempdir().expect("a directory");
    // A path, because abstract names belong to a network namespace.
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    let mut command = Command::new("unshare");
    command.args(unshare).arg(std::env::current_exe().expect("this program"));
    command.args(["--exact", "holders_files::tenant", "--test-threads=1"]);
    command.env(WHAT, format!("{kind} {what}")).env(WHERE, &path).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("unshare starts");
    listener.set_nonblocking(true).expect("a socket");
    let accepted = wait(|| {
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "{unshare:?} {what}: it ended without a report");
        listener.accept().ok()
    });
    let (mut connection, _) = accepted.expect("it connects");
    connection.set_nonblocking(false).expect("a socket");
    // Its whole report: the inode, and the descriptor.
    let mut report = [0; 16];
    connection.read_exact(&mut report).expect("a report");
    let [ino, fd] = [0, 8].map(|at| u64::from_ne_bytes(report[at..at + 8].try_into().expect("8 bytes")));
    let peer = getsockopt(&connection, sockopt::PeerCredentials).expect("SO_PEERCRED");
    let pid = u32::try_from(peer.pid()).expect("a pid");
    let take = |fd| PidFd::open(pid).and_then(|process| process.socket(fd)).expect("its descriptor");
    let file = u32::try_from(fd).ok().map(take);
    before_its_end(pid);
    connection.shutdown(Shutdown::Write).expect("a socket");
    let status = child.wait().expect("a child");
    assert!(status.success(), "{unshare:?} {what}: {status}");
    Left { ino, file, connection }
}

/// Leaves a TCP connection within this network namespace that waits for an answer to its end, at both of its ends.
fn orphan_connection() {
    let lo = |state| super::stage::succeed(Command::new("ip").args(["link", "set", "lo", state]));
    lo("up");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = std::net::TcpStream::connect(listener.local_addr().expect("a port")).expect("a connection");
    let server = listener.accept().expect("a connection");
    lo("down");
    drop((client, server));
}

/// In the process that was started for it: opens the file, reports it, and ends when it may.
pub fn run() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let (kind, what) = what.split_once(' ').expect("a kind and what");
    let path = std::env::var(WHERE).expect("a socket");
    let mut connection = UnixStream::connect(path).expect("somebody listens");
    let ino = inode(&std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace"));
    let file = match what {
        "" => None,
        "tcp" => {
            orphan_connection();
            None
        }
        "signals" => {
            let (read, _) = nix::unistd::pipe().expect("a pipe");
            // SAFETY: a call with integers only.
            let set = unsafe { libc::fcntl(read.as_raw_fd(), libc::F_SETOWN, libc::getpid()) };
            assert_eq!(set, 0, "F_SETOWN");
            Some(read)
        }
        "/dev/net/tun" => Some(OpenOptions::new().read(true).write(true).open(what).expect(what).into()),
        path => Some(OwnedFd::from(File::open(path).expect(path))),
    };
    let fd = file.as_ref().map_or(u64::MAX, |file| u64::try_from(file.as_raw_fd()).expect("a descriptor"));
    connection.write_all(&[ino.to_ne_bytes(), fd.to_ne_bytes()].concat()).expect("a report");
    // Until the other process has seen what it needs.
    let _ = connection.read_to_end(&mut Vec::new());
}
