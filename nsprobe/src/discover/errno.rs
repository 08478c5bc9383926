//! Classifies errors of reading `/proc/PID`.

use std::io;

/// Returns true if the process is gone.
pub(super) fn vanished(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
}

/// Returns true if the reader lacks permission.
pub(super) fn denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
