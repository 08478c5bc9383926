//! Compares the tables of two tasks: kcmp(2), Linux 3.5 with `CONFIG_KCMP`.

use nix::errno::Errno;
use std::cmp::Ordering;
use std::io;

/// `KCMP_FILES` of `<linux/kcmp.h>`.
const FILES: libc::c_int = 2;

/// Compares the descriptor tables of two threads, by their ids in the caller's pid namespace: equal is the same table,
/// and the order of others stays the same until the kernel restarts. Tasks that are ending have none, and so compare as
/// equal.
///
/// `Err(ESRCH)`: one of them is gone. `Err(EPERM)`: the caller may not inspect one of them
/// (`PTRACE_MODE_READ_REALCREDS`, ptrace(2)). `Err(ENOSYS)`: the kernel has no kcmp(2).
pub fn compare_descriptors(one: u32, other: u32) -> io::Result<Ordering> {
    // SAFETY: the call takes five integers, the last two of which are unused here, and returns an integer.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, FILES, 0, 0) };
    match Errno::result(order)? {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        _ => Err(io::Error::other("kcmp(2) returned no order")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::gettid;

    #[test]
    fn thread_shares_descriptors_until_unshare() {
        let own = std::process::id();
        let thread = std::thread::spawn(move || {
            let tid = gettid().as_raw().cast_unsigned();
            let before = compare_descriptors(own, tid).unwrap();
            unshare(CloneFlags::CLONE_FILES).unwrap();
            (before, compare_descriptors(own, tid).unwrap(), compare_descriptors(tid, own).unwrap())
        });
        let (before, after, reversed) = thread.join().unwrap();
        assert_eq!(before, Ordering::Equal);
        assert_ne!(after, Ordering::Equal);
        assert_eq!(after, reversed.reverse());
        assert_eq!(compare_descriptors(own, u32::MAX >> 1).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
