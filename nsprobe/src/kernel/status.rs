//! Files of `/proc` with a value on each line, such as `/proc/PID/status` and `/proc/PID/fdinfo/FD`.

/// Returns the value on the line of `name`, without the spaces around it. No name or value of such a file contains a line
/// break: in a command name it is escaped.
#[must_use]
pub fn value<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    let named = |line: &'a [u8]| line.strip_prefix(name.as_bytes())?.strip_prefix(b":");
    let value = text.split(|&byte| byte == b'\n').find_map(named)?;
    std::str::from_utf8(value).ok().map(str::trim)
}

/// Returns the number on the line of `name`.
#[must_use]
pub fn number<T: std::str::FromStr>(text: &[u8], name: &str) -> Option<T> {
    value(text, name)?.parse().ok()
}

/// Returns the state in the text of a `/proc/PID/status`, such as `R`: proc_pid_status(5).
pub(super) fn state(status: &[u8]) -> Option<char> {
    value(status, "State")?.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name_whatever_the_command_name() {
        let status = b"Name:\tState:\tS\nUmask:\t0022\nState:\tR (running)\nTgid:\t\t17 \nodd:\xff\n";
        assert_eq!(value(status, "State"), Some("R (running)"));
        assert_eq!((state(status), number(status, "Tgid")), (Some('R'), Some(17)));
        assert_eq!((value(status, "Stat"), value(status, "odd")), (None, None));
        assert_eq!(number::<u64>(status, "State"), None);
        assert_eq!((state(b"Name:\tsh\nState:\t"), state(b"")), (None, None));
        let fdinfo = b"pos:\t0\nmnt_id:\t27\nprog_type:\t26\nrecursion_misses:\t17\nverified_insns:\t9\n";
        assert_eq!((number(fdinfo, "mnt_id"), number(fdinfo, "recursion_misses")), (Some(27), Some(17)));
        assert_eq!(number::<u32>(b"mnt_id:\tx\n", "mnt_id"), None);
    }
}
