//! The texts that facts are read from, from bytes; nothing here opens anything.

use super::facts::Lockdown;

/// The mode in brackets of `/sys/kernel/security/lockdown`: `none [integrity] confidentiality`.
pub(super) fn lockdown(text: &str) -> Lockdown {
    match text.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
        Some(("none", _)) => Lockdown::None,
        Some(("integrity", _)) => Lockdown::Integrity,
        Some(("confidentiality", _)) => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lockdown_mode_is_the_one_in_brackets() {
        assert_eq!(lockdown("[none] integrity confidentiality\n"), Lockdown::None);
        assert_eq!(lockdown("none [integrity] confidentiality\n"), Lockdown::Integrity);
        assert_eq!(lockdown("none integrity [confidentiality]\n"), Lockdown::Confidentiality);
        assert_eq!(lockdown(""), Lockdown::Unknown);
        assert_eq!(lockdown("[new]"), Lockdown::Unknown);
    }
}
