//! The flags of clone(2), unshare(2) and setns(2), by name.

use super::NsKind;

/// `<linux/sched.h>`, in ascending order. The low byte is clone(2)'s exit signal, not flags; it has only
/// `CLONE_NEWTIME`, for the calls without an exit signal.
const CLONE_FLAGS: [(u64, &str); 31] = [
    (0x0000_0080, "CLONE_NEWTIME"),
    (0x0000_0100, "CLONE_VM"),
    (0x0000_0200, "CLONE_FS"),
    (0x0000_0400, "CLONE_FILES"),
    (0x0000_0800, "CLONE_SIGHAND"),
    (0x0000_1000, "CLONE_PIDFD"),
    (0x0000_2000, "CLONE_PTRACE"),
    (0x0000_4000, "CLONE_VFORK"),
    (0x0000_8000, "CLONE_PARENT"),
    (0x0001_0000, "CLONE_THREAD"),
    (0x0002_0000, "CLONE_NEWNS"),
    (0x0004_0000, "CLONE_SYSVSEM"),
    (0x0008_0000, "CLONE_SETTLS"),
    (0x0010_0000, "CLONE_PARENT_SETTID"),
    (0x0020_0000, "CLONE_CHILD_CLEARTID"),
    (0x0040_0000, "CLONE_DETACHED"),
    (0x0080_0000, "CLONE_UNTRACED"),
    (0x0100_0000, "CLONE_CHILD_SETTID"),
    (0x0200_0000, "CLONE_NEWCGROUP"),
    (0x0400_0000, "CLONE_NEWUTS"),
    (0x0800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x8000_0000, "CLONE_IO"),
    (0x1_0000_0000, "CLONE_CLEAR_SIGHAND"),
    (0x2_0000_0000, "CLONE_INTO_CGROUP"),
    // From here on since Linux 7.1 or later.
    (0x4_0000_0000, "CLONE_AUTOREAP"),
    (0x8_0000_0000, "CLONE_NNP"),
    (0x10_0000_0000, "CLONE_PIDFD_AUTOKILL"),
    (0x20_0000_0000, "CLONE_EMPTY_MNTNS"),
];

/// The flags that unshare takes besides those of namespaces, in ascending order (`check_unshare_flags` in
/// kernel/fork.c). Where clone has `CLONE_PARENT_SETTID`, unshare has a flag of its own.
const UNSHARE_FLAGS: [(u64, &str); 7] = [
    (0x0000_0100, "CLONE_VM"),
    (0x0000_0200, "CLONE_FS"),
    (0x0000_0400, "CLONE_FILES"),
    (0x0000_0800, "CLONE_SIGHAND"),
    (0x0001_0000, "CLONE_THREAD"),
    (0x0004_0000, "CLONE_SYSVSEM"),
    (0x0010_0000, "UNSHARE_EMPTY_MNTNS"),
];

/// The kinds of namespaces that unshare creates with these flags, as `CLONE_NEW*`; other flags stay.
/// `UNSHARE_EMPTY_MNTNS` (Linux 7.1 or later) creates a mount namespace by itself.
#[must_use]
pub const fn kinds_of_unshare(flags: u64) -> u64 {
    if flags & 0x0010_0000 == 0 { flags } else { flags | NsKind::Mnt.clone_flag() }
}

/// The names of the clone flags that are set, in ascending order; bits without a name come last, as one hexadecimal
/// number.
#[must_use]
pub(super) fn clone_flag_names(flags: u64) -> Vec<String> {
    names(flags, CLONE_FLAGS)
}

/// The same for unshare, which takes fewer flags: 0x8000_0000 is not `CLONE_IO` there.
#[must_use]
pub(super) fn unshare_flag_names(flags: u64) -> Vec<String> {
    let mut known: Vec<(u64, &str)> =
        CLONE_FLAGS.into_iter().filter(is_namespace).chain(UNSHARE_FLAGS).collect();
    known.sort_unstable();
    names(flags, known)
}

/// The same for setns, whose second argument has only flags of namespaces: 0x100 is not `CLONE_VM` there.
#[must_use]
pub(super) fn namespace_flag_names(flags: u64) -> Vec<String> {
    names(flags, CLONE_FLAGS.into_iter().filter(is_namespace))
}

fn is_namespace(&(flag, _): &(u64, &str)) -> bool {
    NsKind::from_clone_flag(flag).is_some()
}

fn names<'a>(flags: u64, known: impl IntoIterator<Item = (u64, &'a str)>) -> Vec<String> {
    let mut rest = flags;
    let mut names = Vec::new();
    for (flag, name) in known {
        if flags & flag != 0 {
            names.push(name.to_owned());
            rest &= !flag;
        }
    }
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_namespace_has_its_flag() {
        for kind in NsKind::ALL {
            let [name] = clone_flag_names(kind.clone_flag()).try_into().expect("one name");
            let suffix =
                if kind == NsKind::Mnt { "NEWNS".to_owned() } else { format!("NEW{kind}").to_uppercase() };
            assert_eq!(name, format!("CLONE_{suffix}"));
        }
    }

    #[test]
    fn unknown_flag_bits_stay_visible() {
        assert_eq!(clone_flag_names(0), Vec::<String>::new());
        assert_eq!(clone_flag_names(0x4000_0000 | 1 << 40 | 0x11), ["CLONE_NEWNET", "0x10000000011"]);
        assert_eq!(namespace_flag_names(0x4000_0000 | 0x1_0100), ["CLONE_NEWNET", "0x10100"]);
        assert_eq!(namespace_flag_names(0x80), ["CLONE_NEWTIME"]);
        assert_eq!(
            unshare_flag_names(0x8010_0280),
            ["CLONE_NEWTIME", "CLONE_FS", "UNSHARE_EMPTY_MNTNS", "0x80000000"]
        );
    }
}
