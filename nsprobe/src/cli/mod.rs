//! One file per subcommand: arguments → plain options → a library call → stdout.

mod completions;
mod conditions;
mod diff;
mod doctor;
mod feed;
mod filters;
mod gaps;
mod help;
mod lines;
mod list;
mod logging;
mod man;
mod output;
mod passwd;
mod printed;
mod quantity;
mod source;
mod trace;
mod tree;
mod users;
mod which;

use crate::kernel::inherited;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use output::{Color, Output};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// List the Linux namespaces of this machine, their members and holders, and trace the calls that change them
#[derive(Debug, Parser)]
#[command(name = "nsprobe", version, arg_required_else_help = true, subcommand_required = true)]
#[command(after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// Use colour
    ///
    /// `auto` uses it on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = OUTPUT)]
    color: Color,

    /// Report on stderr what nsprobe does; -vv in detail
    ///
    /// The environment variable NSPROBE_LOG selects messages by level and module, such as `nsprobe=debug`.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = OUTPUT)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

/// Headings of the options in every help text.
const SELECT: &str = "Select";
const OUTPUT: &str = "Output";
const METHOD: &str = "Method";

const EXAMPLES: &str = "\
Examples:
  nsprobe tree                      processes, and where their namespaces differ
  nsprobe list --kind net           the network namespaces, one per row
  sudo nsprobe trace -- COMMAND     what COMMAND does to namespaces
  nsprobe doctor                    what this kernel and these privileges allow

Exit codes: 0 done; 1 nothing found, or a problem or a difference found; 2 error.";

#[derive(Debug, Subcommand)]
enum Command {
    /// List namespaces, one per row
    List(list::Args),
    /// Show processes or namespaces as a tree
    Tree(tree::Args),
    /// Show what came, went and changed since a snapshot
    Diff(diff::Args),
    /// Trace who creates, joins or leaves a namespace or changes its root
    Trace(trace::Args),
    /// Check what this kernel, these privileges and this environment allow, with remedies for the rest
    Doctor(doctor::Args),
    /// Write a completion script for a shell to stdout
    Completions(completions::Args),
    /// Write a manual page to stdout
    #[command(hide = true)]
    Man(man::Args),
}

/// The outcome of a command, apart from errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Success.
    Done,
    /// Nothing was found, or a finding needs attention.
    Findings,
    /// A command that nsprobe ran for its caller ended with this code.
    Command(u8),
}

/// Runs the command line of this process and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let code = code();
    output::finish_messages();
    code
}

fn code() -> ExitCode {
    if let Err(error) = begin() {
        output::complain(&error);
        return ExitCode::from(2);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.exit_code() != 0 || !inherited::stdout_is_closed() => {
            return output::usage(error);
        }
        Err(_) => return closed(),
    };
    if inherited::stdout_is_closed() && !cli.command.writes_elsewhere() {
        return closed();
    }
    logging::start(cli.verbose);
    match run(&cli) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Findings) => ExitCode::from(1),
        Ok(Exit::Command(code)) => ExitCode::from(code),
        // The reader has seen enough: `nsprobe list | head -1` does not fail.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format_args!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Reports that there is nowhere to write to.
fn closed() -> ExitCode {
    output::complain(&"stdout is closed: output would be lost; use >/dev/null to discard it");
    ExitCode::from(2)
}

impl Command {
    /// True if the command writes nothing to stdout.
    const fn writes_elsewhere(&self) -> bool {
        matches!(self, Self::Trace(args) if args.has_output())
    }
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let mut out = Output::new(cli.color).context("stdout")?;
    // Without threads a trace fails with an error; the others read processes all the same.
    if matches!(cli.command, Command::List(_) | Command::Tree(_) | Command::Diff(_) | Command::Doctor(_))
        && let Some(why) = inherited::without_threads()
    {
        output::complain(&format_args!("{why}: a process whose reading does not return holds nsprobe up"));
    }
    let exit = match &cli.command {
        Command::List(args) => list::run(args, &mut out),
        Command::Tree(args) => tree::run(args, &mut out),
        Command::Diff(args) => diff::run(args, &mut out),
        Command::Trace(args) => trace::run(args, &mut out),
        Command::Doctor(args) => doctor::run(args, &mut out),
        Command::Completions(args) => completions::run(args, &mut out),
        Command::Man(args) => man::run(args, &mut out),
    }?;
    out.flush().context("stdout")?;
    Ok(exit)
}

/// Checks how nsprobe was started, before any of the command line is trusted.
fn begin() -> anyhow::Result<()> {
    if inherited::is_set_id() {
        anyhow::bail!(
            "installed set-user-id or set-group-id: anybody who runs it would have its privileges; remove the bit, \
             and use sudo"
        );
    }
    inherited::raise_file_limit();
    inherited::keep_ended_children();
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
