//! Errno values: their names and libc's texts.

use nix::errno::Errno;
use std::io;

/// Values of `<linux/errno.h>` for use inside the kernel only; some reach user space all the same, such as 524 where
/// BPF is refused.
const KERNEL_ONLY: &[(i32, &str)] = &[
    (512, "ERESTARTSYS"),
    (513, "ERESTARTNOINTR"),
    (514, "ERESTARTNOHAND"),
    (515, "ENOIOCTLCMD"),
    (516, "ERESTART_RESTARTBLOCK"),
    (517, "EPROBE_DEFER"),
    (518, "EOPENSTALE"),
    (519, "ENOPARAM"),
    (521, "EBADHANDLE"),
    (522, "ENOTSYNC"),
    (523, "EBADCOOKIE"),
    (524, "ENOTSUPP"),
    (525, "ETOOSMALL"),
    (526, "ESERVERFAULT"),
    (527, "EBADTYPE"),
    (528, "EJUKEBOX"),
    (529, "EIOCBQUEUED"),
    (530, "ERECALLCONFLICT"),
    (531, "ENOGRACE"),
];

/// The name, such as `EPERM`; `errno N` for a value without a name.
#[must_use]
pub fn errno_name(errno: i32) -> String {
    if let Some((_, name)) = KERNEL_ONLY.iter().find(|(number, _)| *number == errno) {
        return (*name).to_owned();
    }
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

/// The C library's text, strerror(3); `None` for a value without one.
#[must_use]
pub fn errno_text(errno: i32) -> Option<String> {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.strip_suffix(&format!(" (os error {errno})"))?;
    (Errno::from_raw(errno) != Errno::UnknownErrno).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_errnos_have_names_and_unknown_ones_their_number() {
        let names = [(1, "EPERM"), (513, "ERESTARTNOINTR"), (524, "ENOTSUPP"), (9999, "errno 9999")];
        for (errno, name) in names {
            assert_eq!(errno_name(errno), name);
        }
        assert_eq!((errno_text(524), errno_text(0)), (None, None));
    }
}
