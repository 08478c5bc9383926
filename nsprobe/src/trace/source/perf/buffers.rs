//! The buffers of all CPUs.

use crate::kernel::advice::{exhausted, how_to_get_them, remedy};
use crate::kernel::capabilities::{Capability, has_all_users};
use crate::kernel::sideband::{Sideband, online, page_size};
use crate::trace::TraceError;
use nix::errno::Errno;
use std::io;

/// Opens buffers on all CPUs, of `bytes` in total; less if that much may not be locked in memory.
pub(super) fn open_all(bytes: u32) -> Result<Vec<Sideband>, TraceError> {
    let refused =
        |error: io::Error| TraceError::Refused(format!("this kernel refuses the source `perf`: {error}"));
    let online = online().map_err(refused)?;
    let mut each = (bytes as usize / online.len().max(1)).next_power_of_two().max(page_size());
    loop {
        let mut cpus = Vec::with_capacity(online.len());
        let opened = online.iter().try_for_each(|&cpu| match Sideband::open(cpu, each) {
            Ok(sideband) => {
                cpus.push(sideband);
                Ok(())
            }
            // It has just gone offline.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            Err(error) => Err(error),
        });
        match opened {
            Ok(()) => return Ok(cpus),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && each > page_size() => each /= 2,
            Err(error) => {
                if let Some(exhausted) = exhausted(&error) {
                    return Err(TraceError::Refused(exhausted));
                }
                let errno = error.raw_os_error().map(Errno::from_raw);
                return Err(TraceError::Refused(match errno {
                    Some(errno @ (Errno::EACCES | Errno::EPERM)) => format!(
                        "this kernel refuses the source `perf`: {errno:?}: {}",
                        match remedy(&[Capability::SysAdmin]) {
                            Some(_) if !has_all_users() => {
                                format!(
                                    "it needs CAP_PERFMON in the initial user namespace: {}",
                                    how_to_get_them()
                                )
                            }
                            Some(_) => format!(
                                "it needs CAP_PERFMON, or CAP_SYS_ADMIN (before Linux 5.8, and of some kernels where \
                                 kernel.perf_event_paranoid is 3): {}",
                                how_to_get_them()
                            ),
                            None => "a seccomp filter or a security module forbids it".to_owned(),
                        }
                    ),
                    _ => format!("this kernel refuses the source `perf`: {error}"),
                }));
            }
        }
    }
}
