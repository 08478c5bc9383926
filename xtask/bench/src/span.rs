//! Time spans on the command line.

use std::time::Duration;

/// A time span such as `30s` or `10min`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?;
    Duration::try_from(span).map_err(|error| error.to_string())
}
