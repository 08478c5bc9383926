//! perf_event_open(2): its attributes, and BPF programs on tracepoints.

use nix::sys::ioctl::ioctl_param_type;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `struct perf_event_attr` as of Linux 4.1 (`PERF_ATTR_SIZE_VER5`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) kind: u32,
    pub(super) size: u32,
    pub(super) config: u64,
    pub(super) sample_period: u64,
    pub(super) sample_type: u64,
    pub(super) read_format: u64,
    pub(super) flags: u64,
    /// Or, with the flag `watermark`, bytes.
    pub(super) wakeup_events: u32,
    pub(super) breakpoint_type: u32,
    pub(super) config1: u64,
    pub(super) config2: u64,
    pub(super) branch_sample_type: u64,
    pub(super) sample_regs_user: u64,
    pub(super) sample_stack_user: u32,
    pub(super) clockid: i32,
    pub(super) sample_regs_intr: u64,
    pub(super) aux_watermark: u32,
    pub(super) sample_max_stack: u16,
    pub(super) reserved: u16,
}

/// `PERF_ATTR_SIZE_VER5`.
const ATTRIBUTES_SIZE: u32 = 112;
const _: () = assert!(size_of::<Attributes>() == ATTRIBUTES_SIZE as usize);

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// `PERF_FORMAT_LOST` (Linux 6.0): read(2) returns how many records found no room.
pub(super) const PERF_FORMAT_LOST: u64 = 1 << 4;

/// Opens an event for any process on the CPU `cpu`, in no group.
pub(super) fn open(attributes: Attributes, cpu: i32) -> io::Result<OwnedFd> {
    let attributes = Attributes { size: ATTRIBUTES_SIZE, ..attributes };
    let (pid, group) = (-1, -1);
    // SAFETY: the attributes are as long as they say and outlive the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, pid, cpu, group, PERF_FLAG_FD_CLOEXEC)
    };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

mod ioctl {
    nix::ioctl_write_int!(set_bpf, b'$', 8);
    nix::ioctl_none!(enable, b'$', 0);
}

/// Runs `program` whenever the tracepoint with this id is hit, on every CPU, until the descriptor is closed. Needs
/// `CAP_PERFMON`.
pub fn attach(tracepoint: u64, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: PERF_TYPE_TRACEPOINT,
        config: tracepoint,
        sample_period: 1,
        ..Attributes::default()
    };
    // The CPU is that of the event's own counter: a tracepoint's BPF programs belong to the tracepoint and run wherever
    // it is hit.
    let event = open(attributes, 0)?;
    let program = ioctl_param_type::from(program.as_raw_fd().unsigned_abs());
    // SAFETY: an open perf event and an open BPF program, which the kernel checks.
    unsafe { ioctl::set_bpf(event.as_raw_fd(), program) }?;
    // SAFETY: an open perf event.
    unsafe { ioctl::enable(event.as_raw_fd()) }?;
    Ok(event)
}
