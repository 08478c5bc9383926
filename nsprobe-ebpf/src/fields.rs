//! The kernel struct fields the probe reads, by name.
//!
//! Rust compiled to BPF carries no relocations, and struct layouts differ between kernels. So each field's byte offset
//! is looked up in the running kernel's BTF before the probe is loaded, and passed to it in a read-only array that
//! [`Field`] indexes.

use core::fmt;

/// The offset of a field that the running kernel lacks.
pub const ABSENT: u32 = u32::MAX;

/// The source of a field's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSource {
    /// The struct, as BTF names it.
    pub type_name: &'static str,
    /// Its member; empty for the size of the struct itself.
    pub member: &'static str,
}

impl fmt::Display for FieldSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.type_name, self.member)
    }
}

macro_rules! fields {
    ($($variant:ident = $type_name:literal $member:literal),* $(,)?) => {
        /// A kernel struct field (or struct size) that the probe reads; the index into its offset array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        #[expect(missing_docs, reason = "each is named for its struct and member; the table says which")]
        pub enum Field { $($variant),* }

        /// The source of every field, in the order of [`Field`].
        pub const FIELDS: &[FieldSource] = &[
            $(FieldSource { type_name: $type_name, member: $member }),*
        ];

        impl Field {
            /// Every field, in index order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

fields! {
    TaskNsproxy = "task_struct" "nsproxy",
    TaskCred = "task_struct" "real_cred",
    TaskPid = "task_struct" "pid",
    TaskTgid = "task_struct" "tgid",
    TaskThreadPid = "task_struct" "thread_pid",
    TaskRealParent = "task_struct" "real_parent",
    TaskGroupLeader = "task_struct" "group_leader",
    TaskFiles = "task_struct" "files",
    TaskFlags = "task_struct" "flags",
    TaskComm = "task_struct" "comm",
    TaskStartBoottime = "task_struct" "start_boottime",
    TaskSignal = "task_struct" "signal",
    TaskThreadInfo = "task_struct" "thread_info",
    ThreadInfoStatus = "thread_info" "status",
    TaskFs = "task_struct" "fs",
    TaskMm = "task_struct" "mm",
    TaskCgroups = "task_struct" "cgroups",
    TaskStack = "task_struct" "stack",
    // Empty on a kernel without CONFIG_SECCOMP.
    TaskSeccomp = "task_struct" "seccomp",
    SeccompMode = "seccomp" "mode",
    MmArgStart = "mm_struct" "arg_start",
    MmArgEnd = "mm_struct" "arg_end",
    MmExeFile = "mm_struct" "exe_file",
    CssSetCgroup = "css_set" "dfl_cgrp",
    CgroupNode = "cgroup" "kn",
    KernfsId = "kernfs_node" "id",
    // Renamed with 6.15.
    KernfsParent = "kernfs_node" "parent",
    KernfsParentRcu = "kernfs_node" "__parent",
    // For a directory whose owner has been changed.
    KernfsIattr = "kernfs_node" "iattr",
    KernfsIattrUid = "kernfs_iattrs" "ia_uid",
    KernfsName = "kernfs_node" "name",
    SignalNrThreads = "signal_struct" "nr_threads",
    FsRoot = "fs_struct" "root",
    FsPwd = "fs_struct" "pwd",
    NsproxyCgroup = "nsproxy" "cgroup_ns",
    NsproxyIpc = "nsproxy" "ipc_ns",
    NsproxyMnt = "nsproxy" "mnt_ns",
    NsproxyNet = "nsproxy" "net_ns",
    NsproxyPidForChildren = "nsproxy" "pid_ns_for_children",
    NsproxyTime = "nsproxy" "time_ns",
    NsproxyTimeForChildren = "nsproxy" "time_ns_for_children",
    NsproxyUts = "nsproxy" "uts_ns",
    NsproxySize = "nsproxy" "",
    CgroupNsCommon = "cgroup_namespace" "ns",
    IpcNsCommon = "ipc_namespace" "ns",
    MntNsCommon = "mnt_namespace" "ns",
    NetNsCommon = "net" "ns",
    PidNsCommon = "pid_namespace" "ns",
    TimeNsCommon = "time_namespace" "ns",
    UserNsCommon = "user_namespace" "ns",
    UtsNsCommon = "uts_namespace" "ns",
    NsCommonInum = "ns_common" "inum",
    // The kind as a CLONE_NEW* flag: in the namespace itself from 6.18, before in its operations.
    NsCommonType = "ns_common" "ns_type",
    NsCommonOps = "ns_common" "ops",
    // Since 6.18; before, mount namespaces had an id of their own.
    NsCommonId = "ns_common" "ns_id",
    ProcNsOperationsType = "proc_ns_operations" "type",
    // The kernel's lists of namespaces (6.18; from 6.19 they are in other structs, and listns(2) reads them).
    NsCommonRef = "ns_common" "__ns_ref",
    NsCommonTreeNode = "ns_common" "ns_tree_node",
    NsCommonListNode = "ns_common" "ns_list_node",
    NsTreeRoot = "ns_tree" "ns_tree",
    NsTreeList = "ns_tree" "ns_list",
    NsTreeType = "ns_tree" "type",
    RbRootNode = "rb_root" "rb_node",
    RbNodeParent = "rb_node" "__rb_parent_color",
    ListNext = "list_head" "next",
    ListPrev = "list_head" "prev",
    CredUid = "cred" "uid",
    CredGid = "cred" "gid",
    CredEuid = "cred" "euid",
    CredCapEffective = "cred" "cap_effective",
    CredUserNs = "cred" "user_ns",
    UserNsLevel = "user_namespace" "level",
    UserNsParent = "user_namespace" "parent",
    UserNsOwner = "user_namespace" "owner",
    PidLevel = "pid" "level",
    PidNumbers = "pid" "numbers",
    PidTasks = "pid" "tasks",
    TaskPidLinks = "task_struct" "pid_links",
    UpidNr = "upid" "nr",
    UpidNs = "upid" "ns",
    UpidSize = "upid" "",
    FilesFdt = "files_struct" "fdt",
    FdtableMaxFds = "fdtable" "max_fds",
    FdtableFd = "fdtable" "fd",
    FileInode = "file" "f_inode",
    FilePath = "file" "f_path",
    FilePrivate = "file" "private_data",
    ProcInodePid = "proc_inode" "pid",
    ProcInodeInode = "proc_inode" "vfs_inode",
    InodeSb = "inode" "i_sb",
    InodePrivate = "inode" "i_private",
    SuperBlockMagic = "super_block" "s_magic",
    PathMnt = "path" "mnt",
    PathDentry = "path" "dentry",
    VfsmountRoot = "vfsmount" "mnt_root",
    MountVfsmount = "mount" "mnt",
    MountMountpoint = "mount" "mnt_mountpoint",
    MountParent = "mount" "mnt_parent",
    // Null for a mount that is no longer in a mount namespace.
    MountNamespace = "mount" "mnt_ns",
    DentryParent = "dentry" "d_parent",
    DentryName = "dentry" "d_name",
    DentryHash = "dentry" "d_hash",
    // Null for a dentry that is in no hash table: it cannot be looked up by name.
    HashBack = "hlist_bl_node" "pprev",
    QstrName = "qstr" "name",
    SocketSock = "socket" "sk",
    SockCommon = "sock" "__sk_common",
    SockCommonNet = "sock_common" "skc_net",
    NetUserNs = "net" "user_ns",
    // Holders of a namespace that do not refer to it.
    FileCred = "file" "f_cred",
    // A pointer since 6.12.
    FileOwner = "file" "f_owner",
    FileOwnerPid = "fown_struct" "pid",
    SockCommonFamily = "sock_common" "skc_family",
    // Messages queued in a Unix socket, and the descriptors in them.
    SockReceiveQueue = "sock" "sk_receive_queue",
    QueueNext = "sk_buff_head" "next",
    SkbNext = "sk_buff" "next",
    SkbControl = "sk_buff" "cb",
    UnixSkbFiles = "unix_skb_parms" "fp",
    ScmFilesCount = "scm_fp_list" "count",
    ScmFilesFile = "scm_fp_list" "fp",
    // The table of TCP connections, which network namespaces share.
    NetIpv4 = "net" "ipv4",
    Ipv4DeathRow = "netns_ipv4" "tcp_death_row",
    DeathRowHashinfo = "inet_timewait_death_row" "hashinfo",
    HashinfoTable = "inet_hashinfo" "ehash",
    HashinfoMask = "inet_hashinfo" "ehash_mask",
    SockCommonNode = "sock_common" "skc_nulls_node",
    SockCommonState = "sock_common" "skc_state",
    SockCommonRemote = "sock_common" "skc_daddr",
    SockCommonLocal = "sock_common" "skc_rcv_saddr",
    SockCommonRemotePort = "sock_common" "skc_dport",
    SockCommonLocalPort = "sock_common" "skc_num",
    SockCommonRemote6 = "sock_common" "skc_v6_daddr",
    SockCommonLocal6 = "sock_common" "skc_v6_rcv_saddr",
    SockSocket = "sock" "sk_socket",
    SockPeerPid = "sock" "sk_peer_pid",
    SockPeerCred = "sock" "sk_peer_cred",
    SockCommonProt = "sock_common" "skc_prot",
    ProtoName = "proto" "name",
    SuperBlockInfo = "super_block" "s_fs_info",
    SuperBlockUserNs = "super_block" "s_user_ns",
    // The kernel's list of superblocks, and the mounts of each (a chain of pointers since 6.18).
    SuperBlockList = "super_block" "s_list",
    SuperBlockRoot = "super_block" "s_root",
    SuperBlockDev = "super_block" "s_dev",
    SuperBlockType = "super_block" "s_type",
    SuperBlockMounts = "super_block" "s_mounts",
    FileSystemTypeName = "file_system_type" "name",
    DentrySb = "dentry" "d_sb",
    VfsmountSb = "vfsmount" "mnt_sb",
    MountNextForSb = "mount" "mnt_next_for_sb",
    MountIdUnique = "mount" "mnt_id_unique",
    ProcFsInfoPidNs = "proc_fs_info" "pid_ns",
    SeqFilePrivate = "seq_file" "private",
    ProcMountsNs = "proc_mounts" "ns",
    KernelCloneFlags = "kernel_clone_args" "flags",
    // The registers that carry the arguments of a system call (x86-64).
    PtRegsFirst = "pt_regs" "di",
    PtRegsSecond = "pt_regs" "si",
    // Its result, and its syscall number.
    PtRegsResult = "pt_regs" "ax",
    PtRegsNumber = "pt_regs" "orig_ax",
    PtRegsSize = "pt_regs" "",
    // The same for a 32-bit call.
    PtRegsFirst32 = "pt_regs" "bx",
    PtRegsSecond32 = "pt_regs" "cx",
}

const _: () = assert!(FIELDS.len() == Field::ALL.len());
