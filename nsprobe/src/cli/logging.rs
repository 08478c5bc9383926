//! `-v` and `NSPROBE_LOG`: what nsprobe does, on stderr.

use crate::model::text;
use env_logger::{Builder, Target};
use log::LevelFilter;
use std::io::Write as _;

/// Which messages are written instead of those that `-v` selects, in the form of the crate `env_logger`.
const VARIABLE: &str = "NSPROBE_LOG";

/// Writes messages to stderr from now on: none, or with `-v` the choices that nsprobe makes, with `-vv` also the steps and
/// how long they took. `NSPROBE_LOG` takes a level, or levels by module.
pub(super) fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Off,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut builder = Builder::new();
    builder.filter_module("nsprobe", level);
    if let Ok(levels) = std::env::var(VARIABLE) {
        builder.parse_filters(&levels);
    }
    builder.target(Target::Stderr).format(|out, record| {
        // A message may quote what a tenant has named.
        let message = record.args().to_string();
        writeln!(out, "nsprobe: {}: {}", record.level().as_str().to_lowercase(), text::guarded(&message))
    });
    // Fails when there is a logger already, as in a program that uses the library.
    let _ = builder.try_init();
}
