//! What keeps a namespace alive besides the processes in it.

use super::reference::NamespaceRef;
use super::values::{Base64, text};
use super::word::{Word, Words as _, words};
use crate::model::{self, HeldBy, Pid, TcpState, text as shown};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::net::SocketAddr;

/// A holder, by its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Holder<'a> {
    /// A thread that is in the namespace while its process is not.
    Thread {
        /// Process id in the pid namespace of the /proc that was read.
        pid: Pid,
        /// Thread id.
        tid: Pid,
    },
    /// A process or thread whose next child will be in the namespace.
    ForChildren {
        /// Process id in the pid namespace of the /proc that was read.
        pid: Pid,
        /// Id of the thread whose next child will be in the namespace. Null for the first thread of the process.
        tid: Option<Pid>,
    },
    /// An open file descriptor of the namespace's nsfs file.
    Descriptor {
        /// Process id in the pid namespace of the /proc that was read.
        pid: Pid,
        /// Thread id, if the thread has its own descriptor table. Null otherwise.
        tid: Option<Pid>,
        /// File descriptor.
        fd: u32,
    },
    /// An open socket that belongs to the namespace.
    Socket {
        /// Process id in the pid namespace of the /proc that was read.
        pid: Pid,
        /// Thread id, if the thread has its own descriptor table. Null otherwise.
        tid: Option<Pid>,
        /// File descriptor.
        fd: u32,
    },
    /// A bind mount of the namespace's nsfs file, as made by `ip netns add`.
    BindMount {
        /// Mount namespace that the mount is in.
        mount_namespace: NamespaceRef,
        /// Path of the mount point, as seen in that mount namespace.
        path: Cow<'a, str>,
        /// All bytes of `path`, in which U+FFFD stands for bytes that are not UTF-8; absent if `path` is all UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        path_base64: Option<Base64<'a>>,
        /// True if that is nsprobe's own mount namespace.
        here: bool,
    },
    /// A mount of a file system that holds the namespace: the proc of a pid namespace, or a file system mounted in a
    /// user namespace. Linux 6.18 and later, with BPF; searched for only if the namespace has no process and no other
    /// known holder.
    Mount {
        /// Type of the file system.
        fs_type: Cow<'a, str>,
        /// Mount namespace that the mount is in.
        mount_namespace: NamespaceRef,
        /// Path of the mount point, as seen in that mount namespace. Null if not readable.
        path: Option<Cow<'a, str>>,
        /// All bytes of `path`, in which U+FFFD stands for bytes that are not UTF-8; absent if `path` is all UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        path_base64: Option<Base64<'a>>,
        /// True if that is nsprobe's own mount namespace.
        here: bool,
    },
    /// A file system that holds the namespace as a `mount` does, but has no mount point: it was unmounted while in
    /// use, or never attached.
    DetachedMount {
        /// Type of the file system.
        fs_type: Cow<'a, str>,
        /// Major number of its device, as in st_dev of a file in the file system.
        dev_major: u32,
        /// Minor number of its device.
        dev_minor: u32,
    },
    /// A connection that belongs to the namespace but no longer to a process: it waits for the answer to its FIN. Linux
    /// 6.18 and later, with BPF; searched for only if the namespace has no process and no other known holder.
    Connection {
        /// Protocol of the connection.
        protocol: Word<Protocol>,
        /// Local address and port: `127.0.0.1:80`, `[::1]:80`.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        local: SocketAddr,
        /// Remote address and port.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        remote: SocketAddr,
        /// State of the connection. Null for any other state.
        state: Option<Word<TcpState>>,
    },
    /// A namespace whose parent or owner is this namespace.
    Ancestor {
        /// That namespace.
        of: NamespaceRef,
    },
    /// An open file that holds the namespace without referring to it. Linux 6.18 and later, with BPF; searched for only
    /// if the namespace has no process and no other known holder.
    #[serde(untagged)]
    File {
        /// Way in which the file holds the namespace. tun: a tun or tap device. pidfd: a pidfd of a process that was in
        /// the namespace. proc_file: a file or directory of /proc/PID of a process that was in the namespace.
        /// file_system: a file in a file system of the namespace (the proc of a pid namespace, or a file system mounted
        /// in a user namespace). credentials: a file opened with credentials of the namespace. peer_credentials: a
        /// socket whose peer had credentials of the namespace (SO_PEERCRED). peer_process: a socket whose peer was a
        /// process in the namespace (SO_PEERPIDFD). signals: a file whose signals go to a process or process group of
        /// the namespace (F_SETOWN). mount_list: a list of the mounts of the namespace, for example /proc/PID/mounts.
        /// proc_net: a file below a /proc/PID/net of the namespace. in_flight: a Unix socket with a message in flight
        /// that carries a descriptor of the namespace, or a socket that belongs to the namespace.
        #[serde(rename = "type")]
        by: Word<HeldBy>,
        /// Process id in the pid namespace of the /proc that was read.
        pid: Pid,
        /// Thread id, if the thread has its own descriptor table. Null otherwise.
        tid: Option<Pid>,
        /// File descriptor.
        fd: u32,
    },
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 1] = [Self::Tcp];

    /// The protocol's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
        }
    }
}

words! {
    Protocol: Protocol::ALL;
}

impl<'a> From<&'a model::Holder> for Holder<'a> {
    fn from(holder: &'a model::Holder) -> Self {
        use model::Holder as Of;
        match holder {
            Of::Thread { pid, tid } => Self::Thread { pid: *pid, tid: *tid },
            Of::ForChildren { pid, tid } => Self::ForChildren { pid: *pid, tid: *tid },
            Of::Descriptor { pid, tid, fd } => Self::Descriptor { pid: *pid, tid: *tid, fd: *fd },
            Of::Socket { pid, tid, fd } => Self::Socket { pid: *pid, tid: *tid, fd: *fd },
            Of::BindMount { mount_namespace, path, here } => Self::BindMount {
                mount_namespace: (*mount_namespace).into(),
                path: path.lossy(),
                path_base64: Base64::of(path),
                here: *here,
            },
            Of::File { by, pid, tid, fd } => Self::File { by: Word(*by), pid: *pid, tid: *tid, fd: *fd },
            Of::Mount { fs_type, mount_namespace, path, here } => Self::Mount {
                fs_type: fs_type.lossy(),
                mount_namespace: (*mount_namespace).into(),
                path: path.as_ref().map(model::Text::lossy),
                path_base64: path.as_ref().and_then(Base64::of),
                here: *here,
            },
            Of::DetachedMount { fs_type, dev: (dev_major, dev_minor) } => {
                Self::DetachedMount { fs_type: fs_type.lossy(), dev_major: *dev_major, dev_minor: *dev_minor }
            }
            Of::Connection { local, remote, state } => Self::Connection {
                protocol: Word(Protocol::Tcp),
                local: *local,
                remote: *remote,
                state: (*state != TcpState::Other).then_some(Word(*state)),
            },
            Of::Ancestor { of } => Self::Ancestor { of: (*of).into() },
        }
    }
}

impl Holder<'_> {
    /// The holder; `dev` is the device of nsfs.
    #[must_use]
    pub fn into_model(self, dev: u64) -> model::Holder {
        use model::Holder as Of;
        match self {
            Self::Thread { pid, tid } => Of::Thread { pid, tid },
            Self::ForChildren { pid, tid } => Of::ForChildren { pid, tid },
            Self::Descriptor { pid, tid, fd } => Of::Descriptor { pid, tid, fd },
            Self::Socket { pid, tid, fd } => Of::Socket { pid, tid, fd },
            Self::BindMount { mount_namespace, path, path_base64, here } => Of::BindMount {
                mount_namespace: mount_namespace.id(dev),
                path: text(path, path_base64),
                here,
            },
            Self::Mount { fs_type, mount_namespace, path, path_base64, here } => Of::Mount {
                fs_type: text(fs_type, None),
                mount_namespace: mount_namespace.id(dev),
                path: path.map(|path| text(path, path_base64)),
                here,
            },
            Self::DetachedMount { fs_type, dev_major, dev_minor } => {
                Of::DetachedMount { fs_type: text(fs_type, None), dev: (dev_major, dev_minor) }
            }
            Self::Connection { local, remote, state, .. } => {
                Of::Connection { local, remote, state: state.map_or(TcpState::Other, |Word(state)| state) }
            }
            Self::Ancestor { of } => Of::Ancestor { of: of.id(dev) },
            Self::File { by: Word(by), pid, tid, fd } => Of::File { by, pid, tid, fd },
        }
    }
}

/// The fields of holders of all types. Reading the type first would keep the rest in memory meanwhile, however large.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: String,
    pid: Option<Pid>,
    tid: Option<Pid>,
    fd: Option<u32>,
    mount_namespace: Option<NamespaceRef>,
    path: Option<Cow<'static, str>>,
    path_base64: Option<Base64<'static>>,
    here: Option<bool>,
    fs_type: Option<Cow<'static, str>>,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    state: Option<String>,
    dev_major: Option<u32>,
    dev_minor: Option<u32>,
    of: Option<NamespaceRef>,
}

impl Fields {
    /// The holder, or `None` if fields are missing.
    fn holder(self) -> Option<Known> {
        let Self { pid, tid, fd, path_base64, here, .. } = self;
        Some(Known(Some(match self.kind.as_str() {
            "thread" => Holder::Thread { pid: pid?, tid: tid? },
            "for_children" => Holder::ForChildren { pid: pid?, tid },
            "descriptor" => Holder::Descriptor { pid: pid?, tid, fd: fd? },
            "socket" => Holder::Socket { pid: pid?, tid, fd: fd? },
            "bind_mount" => Holder::BindMount {
                mount_namespace: self.mount_namespace?,
                path: self.path?,
                path_base64,
                here: here?,
            },
            "mount" => Holder::Mount {
                fs_type: self.fs_type?,
                mount_namespace: self.mount_namespace?,
                path: self.path,
                path_base64,
                here: here?,
            },
            "detached_mount" => Holder::DetachedMount {
                fs_type: self.fs_type?,
                dev_major: self.dev_major?,
                dev_minor: self.dev_minor?,
            },
            "connection" => Holder::Connection {
                protocol: Word(Protocol::Tcp),
                local: self.local?,
                remote: self.remote?,
                state: self.state.and_then(|name| TcpState::parse(&name)).map(Word),
            },
            "ancestor" => Holder::Ancestor { of: self.of? },
            other => match HeldBy::parse(other) {
                Some(by) => Holder::File { by: Word(by), pid: pid?, tid, fd: fd? },
                None => return Some(Known(None)),
            },
        })))
    }
}

/// A holder, or nothing if its type is from a later version.
#[derive(Deserialize)]
#[serde(try_from = "Fields")]
struct Known(Option<Holder<'static>>);

impl TryFrom<Fields> for Known {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let kind = shown::shown(&fields.kind);
        fields.holder().ok_or_else(|| format!("a holder `{kind}` with missing fields"))
    }
}

/// Reads the holders whose types are known.
pub(super) fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Holder<'static>>, D::Error> {
    let all = Vec::<Known>::deserialize(deserializer)?;
    Ok(all.into_iter().filter_map(|Known(holder)| holder).collect())
}
