//! Error numbers, by name and by what libc says of them.

use nix::errno::Errno;
use std::io;

/// Numbers of `<linux/errno.h>` that calls return inside the kernel only; some reach a caller all the same, as 524 does
/// where BPF is refused.
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

/// `EPERM`; a number without a name is given as such.
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

/// What the C library says of it: strerror(3); `None` of a number that it has no text for.
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
    fn numbers_of_the_kernel_have_names_and_unknown_ones_are_numbers() {
        let names = [(1, "EPERM"), (513, "ERESTARTNOINTR"), (524, "ENOTSUPP"), (9999, "errno 9999")];
        for (errno, name) in names {
            assert_eq!(errno_name(errno), name);
        }
        assert_eq!((errno_text(524), errno_text(0)), (None, None));
    }
}
