//! Follows the path to a mounted namespace's file without waiting for anybody.
//!
//! A directory on the path may be on a file system whose server has stopped answering (FUSE, NFS), or one that mounts
//! something on access (autofs); in another mount namespace the tenant decides that. So a walk uses what the kernel has
//! cached (Linux 5.12), which always includes mount points; otherwise it goes step by step, and looks up names only in
//! file systems of a type known to need no server.

use super::context::Context;
use super::lines::{self, Line};
use super::parse;
use crate::kernel::mount_room::Turn;
use crate::kernel::paths;
use crate::kernel::proc::open_nsfs;
use crate::model::{NsId, Pid, Text};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

/// A mount of a namespace's file, and from where it is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountPoint {
    /// The mount namespace that contains it.
    pub(super) mount_namespace: NsId,
    /// The process at whose root directory the path begins; `None`: nsprobe's own.
    pub(super) reader: Option<Pid>,
    /// The mount's id in mountinfo.
    pub(super) mount_id: u64,
    /// The mount point.
    pub(super) path: Text,
}

impl MountPoint {
    /// Returns the path for nsprobe, and for anyone with its root directory.
    pub(super) fn own_path(&self) -> Text {
        let mut path = self.reader.map(|pid| format!("/proc/{pid}/root")).unwrap_or_default().into_bytes();
        path.extend(self.path.as_bytes());
        path.into()
    }

    /// Opens the file. `Err(ENOENT)`: something else, or nothing, is mounted there; [`Unreachable`]: it would take a
    /// server, or more than this `turn`.
    pub(super) fn open(&self, context: &Context, turn: &mut Turn) -> io::Result<OwnedFd> {
        let process = match self.reader {
            Some(pid) => context.proc.process(pid)?,
            None => context.proc.this_process()?,
        };
        let root = if self.reader.is_some() { paths::root_of(&process) } else { paths::own_root() }?;
        let find = |mount: u64| {
            let mut found = None;
            let whole = lines::mounts(&process, 0, turn, &mut |line| {
                if let Line::Whole(line) = line {
                    found = parse::mount(line, mount);
                }
                found.is_none()
            })?;
            if found.is_none() && !whole {
                return Err(io::Error::other(self.unreachable(Obstacle::TooMuch)));
            }
            Ok(found)
        };
        let found = match paths::cached(&root, self.path.as_path()) {
            // An old kernel, or not all of it is cached: the reason may be harmless.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EAGAIN | libc::ENOSYS)) =>
            {
                self.step_by_step(root, find)?
            }
            result => result?,
        };
        // Even reading its device may involve a server. In nsprobe's own mount namespace no tenant decides.
        if self.reader.is_some() && paths::mount_id(&found)? != self.mount_id {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        open_nsfs(&found, context.nsfs_dev)
    }

    fn step_by_step(
        &self,
        root: OwnedFd,
        mut find: impl FnMut(u64) -> io::Result<Option<parse::Mount>>,
    ) -> io::Result<OwnedFd> {
        let (mut at, mut local) = (root, None);
        for component in self.path.as_path().components() {
            let Component::Normal(name) = component else { continue };
            let mount = paths::mount_id(&at)?;
            if local != Some(mount) {
                // Read while the mount is held open, so that its id cannot be reused.
                let obstacle = match find(mount)? {
                    Some(found) if is_local(&found.fs_type) => None,
                    Some(found) => Some(Obstacle::Mount(found.point, found.fs_type.into())),
                    None => Some(Obstacle::NotVisible),
                };
                if let Some(obstacle) = obstacle {
                    return Err(io::Error::other(self.unreachable(obstacle)));
                }
                local = Some(mount);
            }
            at = paths::step(&at, Path::new(name))?;
        }
        Ok(at)
    }

    /// Returns the reason that it is not opened.
    pub(super) const fn unreachable(&self, obstacle: Obstacle) -> Unreachable {
        Unreachable { obstacle, mount_namespace: self.mount_namespace }
    }
}

/// Types of file systems that look up a name without a server: in this kernel, in memory or on a disk. Not overlay,
/// which may be on top of any other.
const LOCAL: [&str; 18] = [
    "bcachefs", "btrfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "nsfs",
    "proc", "ramfs", "rootfs", "squashfs", "sysfs", "tmpfs", "vfat",
];

fn is_local(fs_type: &[u8]) -> bool {
    fs_type == b"xfs" || LOCAL.iter().any(|local| local.as_bytes() == fs_type)
}

/// An obstacle on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// A mount that may involve a server: its mount point and the type of its file system.
    Mount(Text, Text),
    /// A mount that is not in mountinfo.
    NotVisible,
    /// The number of mounts: following all paths would take too long.
    TooMuch,
}

/// An obstacle that is not passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub(super) struct Unreachable {
    obstacle: Obstacle,
    mount_namespace: NsId,
}

impl Unreachable {
    fn text(&self) -> String {
        let within = self.mount_namespace;
        match &self.obstacle {
            Obstacle::Mount(point, fs_type) => format!(
                "mounted below {point} ({fs_type}) in {within}, where looking up a name may wait for a server"
            ),
            Obstacle::NotVisible => {
                format!(
                    "mounted below a mount of {within} that is not visible, where names are not looked up"
                )
            }
            Obstacle::TooMuch => {
                format!("mounted in {within}, and following all paths to mounts would take too long")
            }
        }
    }

    /// Returns the reason that nothing was found, if that was it.
    pub(super) fn reason(error: &io::Error) -> Option<String> {
        error.get_ref()?.downcast_ref::<Self>().map(Self::text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NsKind;

    fn mount(reader: Option<Pid>, path: &str) -> MountPoint {
        MountPoint {
            mount_namespace: NsId::new(NsKind::Mnt, 4, 4_026_531_832),
            reader,
            mount_id: 1,
            path: path.into(),
        }
    }

    #[test]
    fn path_starts_at_the_readers_root() {
        assert_eq!(mount(None, "/run/netns/a").own_path(), Text::from("/run/netns/a"));
        assert_eq!(mount(Some(7), "/run/netns/a").own_path(), Text::from("/proc/7/root/run/netns/a"));
    }

    #[test]
    fn only_local_file_systems_are_entered() {
        let here = mount(None, "/a/b");
        let root = || paths::own_root().unwrap();
        let id = paths::mount_id(&root()).unwrap();
        let at = |fs_type: &str| {
            let text = format!("{id} 1 0:9 / / rw - {fs_type} x rw").into_bytes();
            here.step_by_step(root(), |mount| Ok(parse::mount(&text, mount))).unwrap_err()
        };
        for fs_type in ["fuse", "fuse.sshfs", "nfs4", "9p", "autofs", "overlay", "ext"] {
            let reason = Unreachable::reason(&at(fs_type)).unwrap();
            assert!(
                reason.starts_with(&format!("mounted below / ({fs_type}) in mnt:[4026531832]")),
                "{reason}"
            );
        }
        for fs_type in ["ext4", "xfs", "tmpfs"] {
            let error = at(fs_type);
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{fs_type}: {error}");
        }
        let unseen = here.step_by_step(root(), |_| Ok(None)).unwrap_err();
        assert!(Unreachable::reason(&unseen).unwrap().contains("not visible"));
    }
}
