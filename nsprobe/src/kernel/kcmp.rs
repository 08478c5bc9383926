//! Whether two tasks share a table: kcmp(2), Linux 3.5 with `CONFIG_KCMP`.

use nix::errno::Errno;
use std::io;

/// `KCMP_FILES` of `<linux/kcmp.h>`.
const FILES: libc::c_int = 2;

/// Whether two threads, by their ids in the caller's pid namespace, have one table of descriptors. A task that is
/// ending has none, and shares that with others of its kind.
///
/// `Err(ESRCH)`: one of them is gone. `Err(EPERM)`: the caller may not look at one of them
/// (`PTRACE_MODE_READ_REALCREDS`, ptrace(2)). `Err(ENOSYS)`: the kernel has no kcmp(2).
pub fn share_descriptors(one: u32, other: u32) -> io::Result<bool> {
    // SAFETY: the call takes five numbers, of which the last two mean nothing here, and gives a number.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, FILES, 0, 0) };
    Ok(Errno::result(order)? == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::gettid;

    #[test]
    fn a_thread_shares_its_descriptors_until_it_leaves() {
        let own = std::process::id();
        let thread = std::thread::spawn(move || {
            let tid = gettid().as_raw().cast_unsigned();
            let before = share_descriptors(own, tid).unwrap();
            unshare(CloneFlags::CLONE_FILES).unwrap();
            (before, share_descriptors(own, tid).unwrap())
        });
        assert_eq!(thread.join().unwrap(), (true, false));
        assert_eq!(share_descriptors(own, u32::MAX >> 1).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
