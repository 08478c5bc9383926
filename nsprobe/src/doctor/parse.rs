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

/// The effective capabilities, from `/proc/self/status`; none when the line is not there.
pub(super) fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
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

    #[test]
    fn capabilities_are_hexadecimal() {
        assert_eq!(capabilities("Name:\tx\nCapPrm:\tff\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
        assert_eq!(capabilities("Name:\tx\n"), 0);
    }
}
