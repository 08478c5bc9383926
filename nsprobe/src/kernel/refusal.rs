//! The reason that the kernel refuses a program, or a point for it.

use crate::kernel::advice::{exhausted, exhausted_with_remedy};
use crate::kernel::lockdown::Lockdown;
use crate::model::errno_name;
use aya::programs::ProgramError;
use std::error::Error;
use std::io;

/// The reason that one hook is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kernel's error, if there was one.
    pub errno: Option<i32>,
    /// The text, such as `EPERM`.
    pub reason: String,
    /// The kernel has no such function, according to its types.
    pub absent: bool,
}

impl Refusal {
    /// Builds a refusal without an errno.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { errno: None, reason: reason.into(), absent: false }
    }

    /// Builds the refusal of a function that this kernel lacks.
    #[must_use]
    pub fn absent(function: &str) -> Self {
        Self { absent: true, ..Self::new(format!("this kernel has no function {function}")) }
    }

    /// Returns the reason, in words, if it is that no more files can be opened.
    #[must_use]
    pub fn exhausted(&self) -> Option<String> {
        exhausted_with_remedy(&io::Error::from_raw_os_error(self.errno?))
    }

    /// Builds a refusal for this error.
    pub(in crate::kernel) fn error(error: &(dyn Error + 'static)) -> Self {
        match errno_of(error) {
            Some(errno) => Self::io(&io::Error::from_raw_os_error(errno)),
            None => Self::new(chain(error)),
        }
    }

    /// Builds a refusal to load a program: this error, and the verifier's message.
    pub(in crate::kernel) fn verifier(error: &io::Error, log: &str) -> Self {
        let refusal = Self::io(error);
        // No descriptor for a program that the verifier has accepted.
        if exhausted(error).is_some() {
            return refusal;
        }
        match verdict(log) {
            Some(said) if reads_by_helper(said) && Lockdown::read() == Lockdown::Confidentiality => {
                let why = "lockdown=confidentiality forbids BPF to read kernel memory by helper";
                Self { reason: format!("{}: {why}", refusal.reason), ..refusal }
            }
            Some(said) => Self { reason: format!("{}: {said}", refusal.reason), ..refusal },
            None => refusal,
        }
    }

    pub(super) fn io(error: &io::Error) -> Self {
        let errno = error.raw_os_error();
        let reason = exhausted(error).or_else(|| errno.map(errno_name)).unwrap_or_else(|| error.to_string());
        Self { errno, ..Self::new(reason) }
    }
}

/// Returns the verifier's finding: its last message, before its statistics.
fn verdict(log: &str) -> Option<&str> {
    let of_its_work = ["processed ", "stack depth ", "verification time ", "insns processed "];
    log.lines().rfind(|line| !line.is_empty() && !of_its_work.iter().any(|start| line.starts_with(start)))
}

/// Returns true if the verifier rejects a helper that reads kernel memory.
fn reads_by_helper(said: &str) -> bool {
    said.contains("helper bpf_probe_read") || said.contains("unknown func bpf_probe_read")
}

/// Builds a refusal from the errno, if there is one, otherwise from the whole error. A verifier's refusal keeps its
/// last message.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn refusal(error: ProgramError) -> Refusal {
    if let ProgramError::LoadError { io_error, verifier_log } = &error {
        return Refusal::verifier(io_error, &verifier_log.to_string());
    }
    Refusal::error(&error)
}

/// Returns the errno at the bottom of an error, if there is one.
#[must_use]
pub fn errno_of(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

/// Formats an error with its causes, on one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya::EbpfError;
    use aya::maps::MapError;

    #[test]
    fn errno_is_found_in_nested_errors() {
        let io_error = io::Error::from_raw_os_error(libc::EPERM);
        let error = EbpfError::from(MapError::CreateError { name: "EVENTS".to_owned(), io_error });
        assert_eq!(errno_of(&error), Some(libc::EPERM));
        assert_eq!(errno_name(libc::EPERM), "EPERM");
    }
}
