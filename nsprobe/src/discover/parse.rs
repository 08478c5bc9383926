//! Parses the texts of `/proc` from bytes; this file does no I/O.

use crate::kernel::status::number;
use crate::model::{NsKind, Text};
use procfs_core::process::{Stat, StatFlags, Status};
use procfs_core::{FromRead as _, LoadAverage};
use std::borrow::Cow;

/// The fields used of `/proc/PID/stat`: proc_pid_stat(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatFacts {
    pub(super) ppid: u32,
    pub(super) start_ticks: u64,
    pub(super) threads: u32,
    pub(super) kernel_thread: bool,
    pub(super) comm: Text,
}

/// Parses `/proc/PID/stat`; `None` if it is malformed.
pub(super) fn stat(bytes: &[u8]) -> Option<StatFacts> {
    // The library slices around the parentheses unchecked: a malformed text would make it panic.
    let open = bytes.iter().position(|&b| b == b'(')?;
    let close = bytes.iter().rposition(|&b| b == b')')?;
    if open == 0 || close < open || bytes.get(close + 1) != Some(&b' ') || bytes.len() < close + 4 {
        return None;
    }
    let stat = Stat::from_read(bytes).ok()?;
    Some(StatFacts {
        ppid: u32::try_from(stat.ppid).ok()?,
        start_ticks: stat.starttime,
        threads: u32::try_from(stat.num_threads).ok()?,
        kernel_thread: stat.flags & StatFlags::PF_KTHREAD.bits() != 0,
        comm: bytes[open + 1..close].into(),
    })
}

/// Parses `/proc/PID/status`, in which only the name may not be UTF-8; `None` if it is malformed.
pub(super) fn status(bytes: &[u8]) -> Option<Status> {
    // The library rejects a text with a single byte that is not UTF-8.
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    Status::from_read(text.as_bytes()).ok()
}

/// Parses the pids of a process in all its pid namespaces, outermost first: the line `NSpid` of `/proc/PID/status`
/// (Linux 4.1). The outermost is the pid namespace of the proc mount.
pub(super) fn pids(status: &[u8]) -> Option<Vec<u32>> {
    let ids = self::status(status)?.nspid?;
    ids.into_iter().map(|id| u32::try_from(id).ok()).collect()
}

/// Parses the number of tasks in all pid namespaces, in the text of `/proc/loadavg`: proc_loadavg(5).
pub(super) fn tasks(loadavg: &[u8]) -> Option<usize> {
    LoadAverage::from_read(loadavg).ok()?.max.try_into().ok()
}

/// Parses the process that a thread belongs to, in the text of `/proc/TID/status`.
pub(super) fn thread_group(status: &[u8]) -> Option<u32> {
    number(status, "Tgid")
}

/// Parses the id of a mount from its line of a `/proc/PID/mountinfo`.
pub(super) fn mount_id(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line.split(|&byte| byte == b' ').next()?).ok()?.parse().ok()
}

/// Returns true if the mount in a line of a `/proc/PID/mountinfo` is at the reader's root.
pub(super) fn is_root_mount(line: &[u8]) -> bool {
    line.split(|&byte| byte == b' ').nth(4) == Some(b"/")
}

/// Parses kind and inode from the text of a namespace link: `net:[4026531833]`.
pub(super) fn namespace_link(text: &[u8]) -> Option<(NsKind, u64)> {
    let (kind, rest) = std::str::from_utf8(text).ok()?.split_once(":[")?;
    Some((kind.parse().ok()?, rest.strip_suffix(']')?.parse().ok()?))
}

/// A mounted namespace file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespaceMount {
    pub(super) kind: NsKind,
    pub(super) ino: u64,
    pub(super) path: Text,
    /// The mount's id.
    pub(super) mount_id: u64,
}

/// A mount of any file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its id.
    pub(super) id: u64,
    /// The part of the file system that is mounted.
    pub(super) root: Vec<u8>,
    /// The mount point.
    pub(super) point: Text,
    /// The type of the file system.
    pub(super) fs_type: Vec<u8>,
}

/// Parses the nsfs mount in a line of `/proc/PID/mountinfo`, proc_pid_mountinfo(5); `None` for any other line.
pub(super) fn namespace_mount(line: &[u8]) -> Option<NamespaceMount> {
    // Most lines are rejected here.
    if !line.windows(8).any(|part| part == b" - nsfs ") {
        return None;
    }
    let Mount { id: mount_id, root, point: path, fs_type } = mount_line(line)?;
    let (kind, ino) = namespace_link(&root).filter(|_| fs_type == b"nsfs")?;
    Some(NamespaceMount { kind, ino, path, mount_id })
}

/// Parses the mount in a line of `/proc/PID/mountinfo` if its id is `id`.
pub(super) fn mount(line: &[u8], id: u64) -> Option<Mount> {
    let number = line.split(|&b| b == b' ').next()?;
    if std::str::from_utf8(number).ok()?.parse() != Ok(id) {
        return None;
    }
    mount_line(line)
}

fn mount_line(line: &[u8]) -> Option<Mount> {
    // Spaces within a field are escaped, and ` - ` ends the optional fields.
    let mut fields = line.split(|&b| b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let root = unescape(fields.nth(2)?);
    let point = unescape(fields.next()?).into();
    let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
    Some(Mount { id, root, point, fs_type })
}

/// Decodes the octal escapes (`\040`) of the mount tables.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        if let Some(byte) = octal {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"931 (a) b (c) S 812 931 931 0 -1 4194560 93 0 0 0 0 0 0 0 20 0 3 0 5217 2314240 \
        131 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn comm_may_contain_parentheses_and_spaces() {
        let facts = stat(STAT).unwrap();
        assert_eq!(
            facts,
            StatFacts {
                ppid: 812,
                start_ticks: 5217,
                threads: 3,
                kernel_thread: false,
                comm: "a) b (c".into()
            }
        );
    }

    #[test]
    fn kernel_threads_are_recognised_by_flag() {
        let text = String::from_utf8(STAT.to_vec()).unwrap().replace(" 4194560 ", " 2129984 ");
        assert!(stat(text.as_bytes()).unwrap().kernel_thread);
    }

    #[test]
    fn truncated_stat_does_not_panic() {
        for end in 0..STAT.len() {
            let _ = stat(&STAT[..end]);
        }
        for text in [&b"()"[..], b"(", b")(", b"1 (x)", b"1 (x) ", b"1 (x) S", b"(x) S 1 1"] {
            assert_eq!(stat(text), None, "{text:?}");
        }
    }

    #[test]
    fn namespace_links_are_parsed() {
        assert_eq!(namespace_link(b"net:[4026531833]"), Some((NsKind::Net, 4_026_531_833)));
        assert_eq!(namespace_link(b"pid_for_children:[1]"), None);
        for text in
            [&b""[..], b"net:[]", b"net:[1", b"net:1", b"new:[1]", b"\xff:[1]", b"net:[99999999999999999999]"]
        {
            assert_eq!(namespace_link(text), None, "{text:?}");
        }
    }

    #[test]
    fn tasks_are_counted_from_loadavg() {
        assert_eq!(tasks(b"0.07 0.11 0.09 2/30147 4711\n"), Some(30147));
        assert_eq!(tasks(b"0.07 0.11 0.09 2\n"), None);
        assert_eq!(tasks(b""), None);
    }

    #[test]
    fn namespace_mounts_are_found_among_others() {
        let mountinfo = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            91 30 0:4 net:[4026532300] /run/netns/a\\040b rw shared:7 master:2 - nsfs nsfs rw\n\
            92 30 0:4 mnt:[4026532301] /x\\134y rw - nsfs nsfs rw\n\
            93 30 0:4 odd:[4026532301] /z rw - nsfs nsfs rw\n\
            94 30 0:9 / /nsfs rw - tmpfs nsfs rw\n\
            95 30";
        let lines = || mountinfo.split(|&b| b == b'\n');
        let found: Vec<_> = lines().filter_map(namespace_mount).collect();
        assert_eq!(
            found,
            [
                NamespaceMount {
                    kind: NsKind::Net,
                    ino: 4_026_532_300,
                    path: "/run/netns/a b".into(),
                    mount_id: 91
                },
                NamespaceMount { kind: NsKind::Mnt, ino: 4_026_532_301, path: "/x\\y".into(), mount_id: 92 },
            ]
        );
        let mount = |id| lines().find_map(|line| mount(line, id));
        let disk = mount(22).unwrap();
        assert_eq!((disk.point, disk.fs_type), (Text::from("/"), b"ext4".to_vec()));
        assert_eq!(mount(95), None);
    }

    #[test]
    fn nested_pids_are_outermost_first() {
        // Taken from the running kernel: the parser needs the whole file.
        let status = std::fs::read("/proc/self/status").unwrap();
        let ids = pids(&status).unwrap();
        assert_eq!(ids.first(), Some(&std::process::id()));
        let text = String::from_utf8(status).unwrap();
        let start = text.find("NSpid:").unwrap();
        let end = start + text[start..].find('\n').unwrap();
        let nested = format!("{}NSpid:\t4242\t17\t1{}", &text[..start], &text[end..]);
        assert_eq!(pids(nested.as_bytes()), Some(vec![4242, 17, 1]));
        assert_eq!(pids(b"Name:\tx\n"), None);
    }
}
