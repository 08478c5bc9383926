//! The state nsprobe inherited from its parent: open descriptors, ignored signals, the limit of descriptors. COMMAND
//! inherits the same, whatever nsprobe and Rust's runtime have changed for themselves.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The closed ones of the descriptors 0, 1 and 2, one bit each.
static CLOSED: AtomicU64 = AtomicU64::new(0);

/// The ignored signals, one bit each.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// The soft and the hard limit of open descriptors, if the soft one was raised.
static FILES: OnceLock<(libc::rlim_t, libc::rlim_t)> = OnceLock::new();

/// Signals whose inherited disposition matters: those that end nsprobe or report its child, and the one that Rust's
/// runtime ignores before `main`.
const SIGNALS: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGXCPU, Signal::SIGCHLD, Signal::SIGPIPE];

/// The C library calls this before Rust's runtime opens `/dev/null` for closed descriptors and ignores `SIGPIPE`.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn() = remember;

extern "C" fn remember() {
    for fd in 0..=2 {
        // SAFETY: F_GETFD takes an integer and touches no memory; any integer is allowed.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
    for signal in SIGNALS {
        if is_ignored_now(signal) {
            IGNORED.fetch_or(1 << signal as i32, Ordering::Relaxed);
        }
    }
}

fn is_ignored_now(signal: Signal) -> bool {
    // SAFETY: all zero is a value of the C struct: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: with no new action this only writes the present one to `action`, which lives for the call.
    let read = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut action) };
    read == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Returns true if stdout was closed: output is then lost without an error.
#[must_use]
pub fn stdout_is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed) & 1 << libc::STDOUT_FILENO != 0
}

/// Returns true if this signal was ignored, and should stay so.
pub(super) fn is_ignored(signal: Signal) -> bool {
    IGNORED.load(Ordering::Relaxed) & 1 << signal as i32 != 0
}

/// Returns the reason that no thread can be started, if known: the kernel refuses threads to a process whose children
/// would be in a different pid namespace.
#[must_use]
pub fn without_threads() -> Option<&'static str> {
    let namespace = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}"));
    let own = namespace("pid").ok()?;
    // Older kernels do not show such a namespace before it has a member.
    let differs = namespace("pid_for_children")
        .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |children| children != own);
    differs.then_some(
        "no thread can be started: children of nsprobe would be in a different pid namespace (unshare --pid needs --fork)",
    )
}

/// Returns true if nsprobe is set-user-id or set-group-id and run by another user.
///
/// `AT_SECURE` is not used: it is also set if a security module has another domain for nsprobe, and if file
/// capabilities give nsprobe, but not COMMAND, what the administrator meant to give.
#[must_use]
pub fn is_set_id() -> bool {
    use nix::unistd::{getegid, geteuid, getgid, getuid};
    getuid() != geteuid() || getgid() != getegid()
}

/// Raises the soft limit of open descriptors to the hard one. If that fails, the limit stays, and the file that then
/// cannot be opened reports it.
pub fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
    {
        let _ = FILES.set((soft, hard));
    }
}

/// Makes ended children remain until they are reaped, even if `SIGCHLD` was ignored: otherwise the pid of one that has
/// ended may be reused by the time that nsprobe kills it.
pub fn keep_ended_children() {
    // SAFETY: the default action is no function of this program. It fails for no signal that there is.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
}

/// Restores the inherited state in the calling process. For a child between fork and exec: async-signal-safe.
pub(super) fn restore() -> io::Result<()> {
    for fd in 0..=2 {
        if CLOSED.load(Ordering::Relaxed) & 1 << fd != 0 {
            // SAFETY: in the child nothing owns these descriptors but Rust's standard streams, which are not used again
            // before exec.
            unsafe { libc::close(fd) };
        }
    }
    for signal in [Signal::SIGPIPE, Signal::SIGCHLD] {
        let handler = if is_ignored(signal) { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: neither is a function of this program, so nothing of it is run at a signal.
        if unsafe { libc::signal(signal as i32, handler) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    if let Some(&(soft, hard)) = FILES.get() {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    }
    Ok(())
}
