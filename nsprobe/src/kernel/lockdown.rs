//! Kernel lockdown: kernel_lockdown(7), Linux 5.4.

use super::pseudo::PseudoFs;
use std::io;
use std::sync::LazyLock;

/// The current lockdown mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lockdown {
    /// Off, or not built in.
    #[default]
    None,
    /// The kernel may not be changed from userspace.
    Integrity,
    /// Nor may its memory be read.
    Confidentiality,
    /// Not readable, or a mode unknown to nsprobe.
    Unknown,
}

impl Lockdown {
    /// Returns it as read the first time, from securityfs, mounted or not.
    #[must_use]
    pub fn read() -> Self {
        static LOCKDOWN: LazyLock<Lockdown> = LazyLock::new(|| {
            match PseudoFs::securityfs().and_then(|securityfs| securityfs.read("lockdown")) {
                Ok(text) => Lockdown::parse(&text),
                // A kernel without the lockdown module has no such file, and no lockdown.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Lockdown::None,
                Err(_) => Lockdown::Unknown,
            }
        });
        *LOCKDOWN
    }

    /// Parses `/sys/kernel/security/lockdown`, where the mode is in brackets: `none [integrity] confidentiality`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
            Some(("none", _)) => Self::None,
            Some(("integrity", _)) => Self::Integrity,
            Some(("confidentiality", _)) => Self::Confidentiality,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_mode_is_in_brackets() {
        assert_eq!(Lockdown::parse("[none] integrity confidentiality\n"), Lockdown::None);
        assert_eq!(Lockdown::parse("none [integrity] confidentiality\n"), Lockdown::Integrity);
        assert_eq!(Lockdown::parse("none integrity [confidentiality]\n"), Lockdown::Confidentiality);
        assert_eq!(Lockdown::parse(""), Lockdown::Unknown);
        assert_eq!(Lockdown::parse("[new]"), Lockdown::Unknown);
    }
}
