//! The details of an event, and the kernel fields from which they are read.

use nsprobe_ebpf::{FIELDS, Field};

/// The fields from which the path of a directory is read.
pub(super) const PATH_FIELDS: &[Field] = &[
    Field::PathMnt,
    Field::PathDentry,
    Field::VfsmountRoot,
    Field::MountVfsmount,
    Field::MountMountpoint,
    Field::MountParent,
    Field::DentryParent,
    Field::DentryName,
    Field::QstrName,
];

/// The details that events lack on a kernel without some fields, in words. `has` tests if a field exists.
#[must_use]
pub fn unreadable(has: impl Fn(Field) -> bool) -> Vec<String> {
    let mut lacks: Vec<String> = DETAILS
        .iter()
        .filter_map(|(what, fields)| {
            let absent = fields.iter().copied().find(|&field| !has(field))?;
            Some(format!("{what}: this kernel has no {}", FIELDS[absent as usize]))
        })
        .collect();
    let by_operations = has(Field::NsCommonOps) && has(Field::ProcNsOperationsType);
    if !has(Field::NsCommonType) && !by_operations {
        lacks.push("the kind of a setns target: this kernel has no ns_common.ns_type".to_owned());
    }
    if !has(Field::KernfsParent) && !has(Field::KernfsParentRcu) {
        lacks.push("paths of control groups: this kernel has no kernfs_node.parent".to_owned());
    }
    lacks
}

/// The details of an event, each with the fields from which it is read.
const DETAILS: &[(&str, &[Field])] = &[
    (
        "process and thread ids of parents and children",
        &[Field::TaskTgid, Field::TaskPid, Field::TaskRealParent],
    ),
    (
        "process ids inside pid namespaces",
        &[
            Field::TaskGroupLeader,
            Field::TaskThreadPid,
            Field::PidLevel,
            Field::PidNumbers,
            Field::UpidSize,
            Field::UpidNr,
        ],
    ),
    ("users and groups", &[Field::TaskCred, Field::CredUid, Field::CredGid, Field::CredEuid]),
    ("capabilities", &[Field::CredCapEffective]),
    (
        "shares of the buffer by owners of user namespaces",
        &[Field::UserNsLevel, Field::UserNsParent, Field::UserNsOwner],
    ),
    ("shares of the buffer by owners of control groups", &[Field::KernfsIattr, Field::KernfsIattrUid]),
    ("when processes started", &[Field::TaskStartBoottime]),
    ("programs", &[Field::TaskMm, Field::MmExeFile]),
    ("command lines", &[Field::MmArgStart, Field::MmArgEnd]),
    (
        "control groups",
        &[Field::TaskCgroups, Field::CssSetCgroup, Field::CgroupNode, Field::KernfsId, Field::KernfsName],
    ),
    ("namespaces", &[Field::TaskNsproxy, Field::NsCommonInum]),
    ("cgroup namespaces", &[Field::NsproxyCgroup, Field::CgroupNsCommon]),
    ("ipc namespaces", &[Field::NsproxyIpc, Field::IpcNsCommon]),
    ("mnt namespaces", &[Field::NsproxyMnt, Field::MntNsCommon]),
    ("net namespaces", &[Field::NsproxyNet, Field::NetNsCommon]),
    ("pid namespaces", &[Field::UpidNs, Field::PidNsCommon]),
    ("pid namespaces for children", &[Field::NsproxyPidForChildren]),
    ("time namespaces", &[Field::NsproxyTime, Field::TimeNsCommon]),
    ("time namespaces for children", &[Field::NsproxyTimeForChildren]),
    ("user namespaces", &[Field::CredUserNs, Field::UserNsCommon]),
    ("uts namespaces", &[Field::NsproxyUts, Field::UtsNsCommon]),
    (
        "targets of setns",
        &[
            Field::TaskFiles,
            Field::FilesFdt,
            Field::FdtableMaxFds,
            Field::FdtableFd,
            Field::FileInode,
            Field::InodeSb,
            Field::SuperBlockMagic,
            Field::InodePrivate,
        ],
    ),
    ("paths of setns targets", &[Field::FilePath]),
    (
        "the process that a pidfd stands for",
        &[
            Field::PidTasks,
            Field::TaskPidLinks,
            Field::FilePrivate,
            Field::ProcInodePid,
            Field::ProcInodeInode,
        ],
    ),
    ("root and working directories", &[Field::TaskFs, Field::FsRoot, Field::FsPwd]),
    ("paths of directories", PATH_FIELDS),
    (
        "whether directories and programs are detached",
        &[Field::MountNamespace, Field::MntNsCommon, Field::NsCommonInum],
    ),
    ("whether directories and programs are deleted", &[Field::DentryHash, Field::HashBack]),
];
