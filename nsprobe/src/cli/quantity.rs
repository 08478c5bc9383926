//! Times, sizes and counts on the command line.

use crate::model::Pid;
use jiff::SignedDuration;
use std::time::Duration;

/// The longest time span: ten years. Clocks can be added to it.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// A time span: `5s`, `1m30s`, `200ms`, and `5` for five seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time span such as 5s, 1m30s or 200ms".to_owned();
    let span = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text.parse().map_err(|_| wrong())?,
    };
    let span = Duration::try_from(span).map_err(|_| wrong())?;
    match span {
        Duration::ZERO => Err("must be greater than zero".to_owned()),
        span if span > LONGEST => Err("must be at most ten years: 87600h".to_owned()),
        span => Ok(span),
    }
}

/// A pid.
pub(super) fn pid(text: &str) -> Result<Pid, String> {
    text.parse().map_err(|_| "not a process id".to_owned())
}

/// A number of events.
pub(super) fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("must be greater than zero".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("not a number of events".to_owned()),
    }
}

/// Bytes of a ring buffer: `65536`, `64K`, `4M`, `1G`.
pub(super) fn buffer(text: &str) -> Result<u32, String> {
    const RANGE: std::ops::RangeInclusive<u64> = 4096..=1 << 30;
    let (digits, shift) = match text.trim_end_matches(['k', 'm', 'g', 'K', 'M', 'G']) {
        digits if digits.len() + 1 < text.len() => (text, 0),
        digits => match text[digits.len()..].to_ascii_uppercase().as_str() {
            "K" => (digits, 10),
            "M" => (digits, 20),
            "G" => (digits, 30),
            _ => (digits, 0),
        },
    };
    let number: u64 = digits.parse().map_err(|_| "not a size such as 65536, 64K or 4M".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| RANGE.contains(bytes));
    bytes.and_then(|bytes| u32::try_from(bytes).ok()).ok_or_else(|| "must be from 4K to 1G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_with_their_units() {
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(duration("87600h"), Ok(LONGEST));
        for wrong in ["", "s", "5 parsecs", "-5s", "-5", "0", "0s", "1e9", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for long in ["87601h", "4294967295", "9223372036854775807s"] {
            assert!(duration(long).is_err_and(|why| why.contains("ten years")), "{long}");
        }
    }

    #[test]
    fn pids_and_counts_are_parsed_or_refused_with_a_reason() {
        assert_eq!((pid("7"), count("7")), (Ok(7), Ok(7)));
        for wrong in ["", "x", "-1", "99999999999999999999"] {
            assert_eq!(pid(wrong), Err("not a process id".to_owned()), "{wrong}");
            assert_eq!(count(wrong), Err("not a number of events".to_owned()), "{wrong}");
        }
        assert!(count("0").is_err_and(|why| why.contains("greater than zero")));
    }

    #[test]
    fn sizes_are_parsed_with_their_units() {
        assert_eq!(buffer("4096"), Ok(4096));
        assert_eq!(buffer("64K"), Ok(65536));
        assert_eq!(buffer("4m"), Ok(4 << 20));
        assert_eq!(buffer("1G"), Ok(1 << 30));
        for wrong in ["", "K", "4KB", "4KK", "-4K", "1", "2G", "4 K", "18446744073709551615G"] {
            assert!(buffer(wrong).is_err(), "{wrong}");
        }
    }
}
