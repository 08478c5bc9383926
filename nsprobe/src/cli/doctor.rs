//! `nsprobe doctor`

use super::output::Output;
use super::{Exit, OUTPUT};
use crate::doctor::{Facts, judge};
use crate::kernel::advice::can_open;
use crate::model::Verdict;
use crate::render::checks;
use anyhow::Context as _;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// JSON, for other programs
    #[arg(short, long, help_heading = OUTPUT)]
    json: bool,

    /// Use ASCII characters only
    #[arg(long, conflicts_with = "json", help_heading = OUTPUT)]
    ascii: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo nsprobe doctor          what works here, what does not, and what to do about it
  nsprobe doctor --json        the same for other programs

doctor changes nothing: the programs that it loads for its checks are unloaded again.
Exit codes: 0 nothing is missing (some things may be limited), 1 something is missing, 2 error.";

/// How many files it opens at a time, and some more.
const FILES: usize = 100;

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    // Fewer would make it report what other limits permit.
    can_open(FILES)?;
    let checks = judge(&Facts::gather()?);
    if args.json {
        checks::json(&checks, out).context("stdout")?;
    } else {
        checks::text(&checks, out.text_style(args.ascii), out).context("stdout")?;
    }
    let missing = checks.iter().any(|check| check.verdict == Verdict::Missing);
    Ok(if missing { Exit::Findings } else { Exit::Done })
}
