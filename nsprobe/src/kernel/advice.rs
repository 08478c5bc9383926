//! Advice on how to get capabilities, true for whoever reads it.

use super::capabilities::{Capability, Effective, has_all_users};
use super::tracefs;
use nix::sys::resource::{Resource, getrlimit};
use std::io;
use std::sync::LazyLock;

/// The start of advice that names capabilities.
pub const WITH_SUDO: &str = "run with sudo, or with ";
/// The text between two of them.
pub const AND: &str = " and ";

/// The advice to see all processes.
pub const WITH_HOSTS_PIDS: &str = "run on the host, or in the host's pid namespace (docker: --pid=host)";

/// The facts that the advice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Privileges {
    /// True if the process is in the initial user namespace: the kernel checks for capabilities there.
    initial_user_namespace: bool,
    /// True if its effective user is 0.
    root: bool,
    effective: Effective,
}

/// Returns how this process can get those of `needed` that it lacks; `None` if it lacks none.
#[must_use]
pub fn remedy(needed: &[Capability]) -> Option<String> {
    advise(needed, privileges())
}

/// Returns how this process can get the right to trace calls; `None` if it lacks no capability for that. Without
/// function tracing it needs the files of tracefs, which root owns; whether it does, and whether tracefs must be
/// mounted, is known only once BPF may be used.
#[must_use]
pub fn remedy_to_trace() -> Option<String> {
    let Privileges { root, effective, .. } = privileges();
    let mut needed = effective.missing_to_trace();
    if needed.is_empty() && !tracefs::is_mounted_here() {
        needed.push(Capability::SysAdmin);
    }
    if !root {
        needed.push(Capability::DacReadSearch);
    }
    remedy(&needed)
}

/// Returns how to get capabilities that have just been named.
#[must_use]
pub fn how_to_get_them() -> &'static str {
    let Privileges { initial_user_namespace, root, .. } = privileges();
    match (initial_user_namespace, root) {
        (false, _) => "run outside this user namespace, where they would count",
        (true, true) => "start it with them, which this root lacks (docker: --cap-add)",
        (true, false) => "run with sudo",
    }
}

/// Explains the kernel's EPERM to a process that has the capabilities for BPF. A user namespace that maps all users to
/// themselves cannot be distinguished from the initial one.
#[must_use]
pub const fn forbidden_despite_capabilities() -> &'static str {
    "this process has the capabilities, so a seccomp filter or a security module forbids it, or this is a user \
     namespace that maps all users"
}

/// Needed for each of thousands of processes, with the same result for all.
fn privileges() -> Privileges {
    static PRIVILEGES: LazyLock<Privileges> = LazyLock::new(|| Privileges {
        initial_user_namespace: has_all_users(),
        root: nix::unistd::geteuid().is_root(),
        effective: Effective::read().unwrap_or_default(),
    });
    *PRIVILEGES
}

/// Returns the text for an error that means too many open files; `None` for any other error.
#[must_use]
pub fn exhausted(error: &io::Error) -> Option<String> {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            Some(format!("EMFILE: the limit of open files, {limit}, is too low"))
        }
        Some(libc::ENFILE) => Some("ENFILE: the machine's limit of open files is reached".to_owned()),
        _ => None,
    }
}

/// Returns the same with a remedy.
#[must_use]
pub fn exhausted_with_remedy(error: &io::Error) -> Option<String> {
    let remedy = match error.raw_os_error() {
        Some(libc::ENFILE) => "raise it (sysctl fs.file-max)",
        _ => "raise it (ulimit -n)",
    };
    exhausted(error).map(|exhausted| format!("{exhausted}: {remedy}"))
}

/// Returns the message of an error. Where the cause is that no file can be opened, the message names the limit and the remedy.
#[must_use]
pub fn message(error: &dyn std::fmt::Display) -> String {
    [libc::EMFILE, libc::ENFILE].into_iter().fold(error.to_string(), |text, errno| {
        let error = io::Error::from_raw_os_error(errno);
        let reason = exhausted_with_remedy(&error).unwrap_or_default();
        text.replace(&error.to_string(), &reason)
    })
}

/// Returns the error of starting a thread or a process; if a limit is the cause, with a text that names it.
#[must_use]
pub fn not_started(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => io::Error::other(NO_MORE_PROCESSES),
        _ => error,
    }
}

/// The reason that no thread or process can be started.
pub const NO_MORE_PROCESSES: &str = "EAGAIN: a limit of processes (ulimit -u, pids.max) is reached";

/// Checks that this many more files can be opened.
pub fn can_open(count: usize) -> io::Result<()> {
    let first = std::fs::File::open("/")?;
    let others: io::Result<Vec<std::fs::File>> = (1..count).map(|_| first.try_clone()).collect();
    others.map(drop)
}

fn advise(needed: &[Capability], privileges: Privileges) -> Option<String> {
    let lacking: Vec<&str> = needed
        .iter()
        .filter(|&&capability| !privileges.initial_user_namespace || !privileges.effective.has(capability))
        .map(|capability| capability.name())
        .collect();
    if lacking.is_empty() {
        return None;
    }
    let names = lacking.join(AND);
    Some(match (privileges.initial_user_namespace, privileges.root) {
        (false, _) => format!("run outside this user namespace, where {names} would count"),
        (true, true) => format!("start it with {names}, which this root lacks (docker: --cap-add)"),
        (true, false) => format!("{WITH_SUDO}{names}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{Bpf, Perfmon, SysPtrace};

    #[test]
    fn advice_fits_the_reader() {
        let effective = |mask: u64| Effective::parse(format!("CapEff:\t{mask:016x}\n").as_bytes()).unwrap();
        let said = |initial_user_namespace, root, mask| {
            let privileges = Privileges { initial_user_namespace, root, effective: effective(mask) };
            advise(&[Bpf, Perfmon, SysPtrace], privileges).unwrap_or_default()
        };
        let answers = [
            said(true, false, 0),
            said(true, false, 1 << 38 | 1 << 39),
            said(true, true, !(1 << 19)),
            said(true, true, u64::MAX),
            said(false, true, u64::MAX),
        ];
        insta::assert_snapshot!(answers.join("\n"), @r"
        run with sudo, or with CAP_BPF and CAP_PERFMON and CAP_SYS_PTRACE
        run with sudo, or with CAP_SYS_PTRACE
        start it with CAP_SYS_PTRACE, which this root lacks (docker: --cap-add)

        run outside this user namespace, where CAP_BPF and CAP_PERFMON and CAP_SYS_PTRACE would count
        ");
    }
}
