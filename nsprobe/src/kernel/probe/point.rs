//! Attachment points of programs.

use super::Probe;
use crate::kernel::btf::Prototype;
use std::fmt;

/// A point in the kernel where a program can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A tracepoint, with typed access to its arguments (Linux 5.5).
    TpBtf(&'static str),
    /// The entry of a kernel function (Linux 5.5; x86-64 and, from 6.0, arm64).
    Fentry(&'static str),
    /// The return of a kernel function.
    Fexit(&'static str),
    /// The entry of a kernel function by an fprobe, which is not preempted (Linux 5.18).
    Fprobe(&'static str),
    /// The return of a kernel function, likewise.
    FprobeReturn(&'static str),
    /// A tracepoint of the category `syscalls`, by perf_event_open(2).
    Syscall(&'static str),
    /// One of the category `raw_syscalls`: for every system call.
    EverySyscall(&'static str),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TpBtf(name) => write!(f, "tp_btf/{name}"),
            Self::Fentry(name) => write!(f, "fentry/{name}"),
            Self::Fexit(name) => write!(f, "fexit/{name}"),
            Self::Fprobe(name) => write!(f, "kprobe.multi/{name}"),
            Self::FprobeReturn(name) => write!(f, "kretprobe.multi/{name}"),
            Self::Syscall(name) => write!(f, "tracepoint/syscalls/{name}"),
            Self::EverySyscall(name) => write!(f, "tracepoint/raw_syscalls/{name}"),
        }
    }
}

impl Point {
    /// Returns the function whose entry or return it is; `None` for a tracepoint.
    #[must_use]
    pub const fn function(self) -> Option<&'static str> {
        match self {
            Self::Fentry(name) | Self::Fexit(name) | Self::Fprobe(name) | Self::FprobeReturn(name) => {
                Some(name)
            }
            Self::TpBtf(_) | Self::Syscall(_) | Self::EverySyscall(_) => None,
        }
    }

    /// Returns the function of an fprobe, and whether it is for its return.
    pub(super) const fn fprobe(self) -> Option<(&'static str, bool)> {
        match self {
            Self::Fprobe(name) => Some((name, false)),
            Self::FprobeReturn(name) => Some((name, true)),
            _ => None,
        }
    }
}

/// A program of the object, and its attachment point. Several tracepoints may share a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hook {
    /// The program's name in the object.
    pub program: &'static str,
    /// The attachment point.
    pub point: Point,
}

impl Hook {
    /// Returns true if it is one of those that record which calls get past seccomp.
    pub(super) fn is_for_denied(&self) -> bool {
        self.program == "enter_denied"
    }
}

impl Probe {
    /// Returns the prototype at `point`, if the kernel provides it.
    #[must_use]
    pub fn prototype(&self, point: Point) -> Option<&Prototype> {
        match point {
            Point::TpBtf(name) => self.prototypes.get(&format!("btf_trace_{name}")),
            point => self.prototypes.get(point.function()?),
        }
    }
}
