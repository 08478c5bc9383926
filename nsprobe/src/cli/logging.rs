//! `-v` and `NSPROBE_LOG`: messages about what nsprobe does, on stderr.

use super::output;
use crate::model::text;
use env_logger::{Builder, Target};
use log::LevelFilter;

/// The variable that replaces the selection of `-v`, in the form of the crate `env_logger`.
const VARIABLE: &str = "NSPROBE_LOG";

/// Writes messages to stderr from now on: none, or with `-v` the choices that nsprobe makes, with `-vv` also the
/// steps and their duration. `NSPROBE_LOG` takes a level, or levels by module.
pub(super) fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Off,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut builder = Builder::new();
    builder.filter_module("nsprobe", level);
    if let Some(levels) = std::env::var_os(VARIABLE) {
        let levels = levels.to_string_lossy();
        match unknown(&levels) {
            None => _ = builder.parse_filters(&levels),
            Some(unknown) => output::complain(&format_args!(
                "{VARIABLE} is ignored: {} is neither a level (off, error, warn, info, debug, trace) nor a module of nsprobe \
                 (nsprobe, nsprobe::trace=debug)",
                text::shown(unknown)
            )),
        }
    }
    // Nothing goes through the crate's own writer: it would wait for a reader of stderr.
    builder.target(Target::Stderr).format(|_, record| {
        output::complain(&format_args!("{}: {}", record.level().as_str().to_lowercase(), record.args()));
        Ok(())
    });
    // Fails if there is a logger already, as in a program that uses the library.
    let _ = builder.try_init();
}

/// The first selection that selects nothing: the crate accepts any word as a module.
fn unknown(levels: &str) -> Option<&str> {
    let (selections, _pattern) = levels.split_once('/').unwrap_or((levels, ""));
    let is_level = |text: &str| text.trim().parse::<LevelFilter>().is_ok();
    let is_module = |text: &str| text.trim().split("::").next() == Some("nsprobe");
    selections.split(',').filter(|selection| !selection.trim().is_empty()).find(|selection| !match selection
        .split_once('=')
    {
        None => is_level(selection) || is_module(selection),
        Some((module, level)) => is_module(module) && (level.trim().is_empty() || is_level(level)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_that_selects_nothing_is_found() {
        for good in ["", "info", "nsprobe=debug", "nsprobe::trace=trace,nsprobe::kernel", "OFF", "debug/took"]
        {
            assert_eq!(unknown(good), None, "{good}");
        }
        for (bad, which) in [
            ("loud", "loud"),
            ("info,nsprobe=loud", "nsprobe=loud"),
            ("other=info", "other=info"),
            ("7", "7"),
        ] {
            assert_eq!(unknown(bad), Some(which));
        }
    }
}
