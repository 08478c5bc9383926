//! What the errors of reading `/proc/PID` mean.

use std::io;

/// Whether an error says that the process is gone.
pub(super) fn vanished(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
}

/// Whether an error says that the reader is not allowed.
pub(super) fn denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
