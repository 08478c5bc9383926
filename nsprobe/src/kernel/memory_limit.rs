//! The limit of locked memory, which maps and programs may need raised.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Raises the limit. Before 5.11, maps and programs count as locked memory of the process, which may have 64 KB.
/// Dropping this restores the limit, so that no command inherits the raised one.
pub(super) struct MemoryLimit(Option<(u64, u64)>);

impl MemoryLimit {
    pub(super) fn raise() -> Self {
        let former = getrlimit(Resource::RLIMIT_MEMLOCK).ok();
        // Not permitted is harmless if it is not needed; if it is, creating a map will fail.
        let raised = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
        Self(former.filter(|_| raised))
    }
}

/// Returns the reason, in words, if the limit of locked memory is low and cannot be raised.
#[must_use]
pub fn too_low() -> Option<String> {
    let raised = MemoryLimit::raise();
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (raised.0.is_none() && soft != RLIM_INFINITY).then(|| {
        format!(
            "EPERM: the limit of locked memory, {} KiB, is too low, and raising it takes CAP_SYS_RESOURCE: raise it \
             (ulimit -l unlimited)",
            soft / 1024
        )
    })
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Some((soft, hard)) = self.0 {
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard);
        }
    }
}
