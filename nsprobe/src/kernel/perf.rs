//! BPF programs on tracepoints, by perf events.

use nix::sys::ioctl::ioctl_param_type;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// The first edition of `struct perf_event_attr` (`PERF_ATTR_SIZE_VER0`), which has all that is needed.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

/// `PERF_ATTR_SIZE_VER0`.
const ATTRIBUTES_SIZE: u32 = 64;
const _: () = assert!(size_of::<Attributes>() == ATTRIBUTES_SIZE as usize);

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

mod ioctl {
    nix::ioctl_write_int!(set_bpf, b'$', 8);
    nix::ioctl_none!(enable, b'$', 0);
}

/// Runs `program` whenever the tracepoint with this id is passed, on every CPU, until the descriptor is
/// closed. Needs `CAP_PERFMON`.
pub fn attach(tracepoint: u64, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: PERF_TYPE_TRACEPOINT,
        size: ATTRIBUTES_SIZE,
        config: tracepoint,
        sample_period: 1,
        ..Attributes::default()
    };
    // Any process, CPU 0, no group. The CPU is that of the event's own counter: a tracepoint's BPF programs
    // hang on the tracepoint and run wherever it is passed.
    let (pid, cpu, group) = (-1, 0, -1);
    // SAFETY: the attributes are as long as they say and outlive the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, pid, cpu, group, PERF_FLAG_FD_CLOEXEC)
    };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    let event = unsafe { OwnedFd::from_raw_fd(fd) };
    let program = ioctl_param_type::from(program.as_raw_fd().unsigned_abs());
    // SAFETY: an open perf event and the number of an open BPF program, which the kernel checks.
    unsafe { ioctl::set_bpf(event.as_raw_fd(), program) }?;
    // SAFETY: an open perf event.
    unsafe { ioctl::enable(event.as_raw_fd()) }?;
    Ok(event)
}
