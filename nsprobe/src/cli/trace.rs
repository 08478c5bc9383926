//! `nsprobe trace`

use super::conditions::ConditionArgs;
use super::lines::{Format, Lines, totals};
use super::output::{self, Output};
use super::{Exit, METHOD, OUTPUT, SELECT, filters, help, quantity};
use crate::filter::EventRow;
use crate::kernel::destination;
use crate::model::text;
use crate::trace::command::CommandEnd;
use crate::trace::hooks::{Call, Plan};
use crate::trace::options::Options;
use crate::trace::plan::Choice;
use crate::trace::session::{self, Ended};
use crate::trace::sink::OutputEnd;
use crate::trace::{TraceError, take_snapshot};
use anyhow::Context as _;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = help::MORE, after_long_help = after_help())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag, and they combine")]
pub(super) struct Args {
    /// Only what COMMAND and its descendants do, until it ends
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    /// Only these calls
    #[arg(short, long, value_enum, value_delimiter = ',', value_name = "CALL,...", default_values_t = Call::ALL)]
    #[arg(hide_possible_values = true, hide_default_value = true, help_heading = SELECT)]
    #[arg(
        long_help = "Only these calls: clone (fork, vfork and clone3 too), unshare, setns, chroot, pivot_root; by default all"
    )]
    event: Vec<Call>,

    #[command(flatten)]
    conditions: ConditionArgs,

    /// Only events for which EXPR is true
    ///
    /// An expression of fields, comparisons, text.matches('regex'), &&, || and !; see below.
    #[arg(short, long, value_name = "EXPR", help_heading = SELECT)]
    filter: Option<String>,

    /// New tasks: only those in a different namespace, or all
    ///
    /// Compared with the parent's namespaces; for a clone that fails, those that its child would have had.
    #[arg(long, value_enum, default_value_t = Clone::Namespaces, value_name = "WHICH", help_heading = SELECT)]
    clone: Clone,

    /// Also unshare and setns that succeed and change nothing
    #[arg(short, long, help_heading = SELECT)]
    all: bool,

    /// Also namespaces as they are created and destroyed
    ///
    /// Only fentry and fprobes see when a namespace is destroyed.
    #[arg(long, help_heading = SELECT)]
    lifecycle: bool,

    /// End after this time: 5s, 1m30s, 200ms
    ///
    /// A bare number counts seconds.
    #[arg(short, long, value_parser = quantity::duration, value_name = "TIME", help_heading = OUTPUT)]
    duration: Option<Duration>,

    /// End after this many events
    #[arg(short = 'n', long, value_parser = quantity::count, value_name = "NUMBER", help_heading = OUTPUT)]
    count: Option<u64>,

    /// JSON, one object per line
    #[arg(short, long, help_heading = OUTPUT)]
    json: bool,

    /// Write the lines to this file, not to stdout
    ///
    /// The file is truncated first. Only COMMAND then writes to stdout.
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    output: Option<PathBuf>,

    /// Sources of events to choose from
    ///
    /// Hooks on kernel functions cost other system calls nothing, but not every kernel permits them. Of a list,
    /// nsprobe takes the best one permitted, whatever the order; if none is permitted, that is an error.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Source::Auto], value_name = "SOURCE,...", help_heading = METHOD)]
    source: Vec<Source>,

    /// Time between two scans of /proc
    ///
    /// For the source proc, which needs no privileges.
    #[arg(long, value_parser = quantity::duration, default_value = "1s", value_name = "TIME", help_heading = METHOD)]
    interval: Duration,

    /// Also 32-bit system calls, by tracepoints
    ///
    /// Needed only where kernel functions cannot be hooked. Every system call of the machine then runs a program.
    #[arg(long, help_heading = METHOD)]
    compat: bool,

    /// Also calls that a seccomp filter refuses
    ///
    /// Only those for which the filter returns an error. Slows every system call of the machine.
    #[arg(long, help_heading = METHOD)]
    denied: bool,

    /// Maximum number of entries of a table that tenants fill, to test what happens when it is full
    #[arg(long, default_value_t = u32::MAX, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER", hide = true)]
    room: u32,

    /// Kernel memory for unwritten events
    ///
    /// Rounded up to a power of two.
    #[arg(long, value_parser = quantity::buffer, default_value = "4M", value_name = "SIZE", help_heading = METHOD)]
    buffer: u32,

    /// Use ASCII characters only
    #[arg(long, help_heading = OUTPUT)]
    ascii: bool,

    /// Write to stderr only errors and what cannot be seen
    ///
    /// If calls, failures or roots cannot be seen, one sentence still says so.
    #[arg(short, long, help_heading = OUTPUT)]
    quiet: bool,
}

impl Args {
    /// True if the lines go to a separate file.
    pub(super) const fn has_output(&self) -> bool {
        self.output.is_some()
    }
}

const EXAMPLES: &str = r#"Examples:
  sudo nsprobe trace                              the whole machine, until Ctrl-C
  sudo nsprobe trace -- unshare --net true        one command with its descendants
  sudo nsprobe trace --event setns --count 10     the next ten calls of setns
  sudo nsprobe trace --kind net,uts -- unshare --net --uts true
  sudo nsprobe trace --failed -- nsenter --net=/dev/null true
                                                  calls that fail
  sudo nsprobe trace --pid 1 --follow --duration 5s
                                                  a process and its descendants
  sudo nsprobe trace --uid nobody --ok --duration 5s
                                                  what a user's programs do
  sudo nsprobe trace --ns /proc/self/ns/net --event setns --duration 5s
  sudo nsprobe trace --cgroup /machine.slice --comm runc
  sudo nsprobe trace --filter "'user' in changed" -- unshare --user true
  sudo nsprobe trace --filter "target.path.contains('netns')" --duration 5s
  sudo nsprobe trace --denied --failed --duration 5s
                                                  failures, by seccomp too
  sudo nsprobe trace --lifecycle -d 5s            namespaces created and destroyed
  sudo nsprobe trace --clone all --duration 5s    every new task
  nsprobe trace --interval 200ms --duration 2s    without privileges
  sudo nsprobe trace --json | jq -c 'select(.errno) | [.event, .errno]'

An event is shown if it matches all options; of a list, one value is enough. With BPF, all but --filter are decided in the kernel, so that other events need no room in the buffer, unless --lifecycle is given, which needs every call. Without BPF, --follow, --cgroup, --failed and --denied are refused.

Pids are those of the initial pid namespace; in brackets, those in the inner pid namespaces.

Needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), for tracepoints CAP_DAC_READ_SEARCH too, and Linux 5.10 or later with BTF. Without BPF, nsprobe reads the records of perf (CAP_PERFMON), which report successful calls without their arguments; without that, it scans /proc every --interval.

Exit codes: 0 done (also when the reader closed the pipe), 2 error, or the reader has stalled and the end could not be written. With a COMMAND, its own code, or 128 + N when signal N ended it; 127 when it was not found, 126 when it could not be run. If the trace ends first, COMMAND goes on, and the code is 0. Ctrl-C goes to COMMAND too: the trace ends when COMMAND does, or at the second Ctrl-C."#;

fn after_help() -> String {
    help::long(EXAMPLES, EventRow::FIELDS)
}

impl ValueEnum for Call {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clone {
    Namespaces,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// The best of these that this machine allows
    Auto,
    /// BPF at entry and return of kernel functions; on a preemptible kernel, auto tries it last
    Fentry,
    /// The same by fprobes (Linux 6.14); auto uses them on a preemptible kernel
    Fprobes,
    /// Tracepoints of the traced system calls
    Tracepoints,
    /// Records of perf, without BPF: successful calls, without their arguments
    Perf,
    /// Scans of /proc every --interval: sees only changes that last longer
    Proc,
}

impl Source {
    /// `None` for the best source that works.
    const fn plan(self) -> Option<Plan> {
        match self {
            Self::Auto => None,
            Self::Fentry => Some(Plan::Fentry),
            Self::Fprobes => Some(Plan::Fprobes),
            Self::Tracepoints => Some(Plan::Tracepoints),
            Self::Perf => Some(Plan::Perf),
            Self::Proc => Some(Plan::Proc),
        }
    }
}

/// The time that opening `--output` may take: as long as the trace, within these limits.
const MIN_TO_OPEN: Duration = Duration::from_millis(250);
const MAX_TO_OPEN: Duration = Duration::from_secs(5);

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    let filter = filters::compile(args.filter.as_deref(), EventRow::FIELDS)?;
    if args.command.is_empty() && std::env::args_os().next_back().is_some_and(|last| last == "--") {
        anyhow::bail!("there is no COMMAND after `--`: leave out the `--` to trace the whole machine");
    }
    let every_clone = args.clone == Clone::All;
    if every_clone && !args.event.contains(&Call::Clone) {
        anyhow::bail!("--clone all needs clone among the calls of --event");
    }
    let options = Options {
        source: choice(&args.source),
        calls: args.event.clone(),
        conditions: args.conditions.resolve()?,
        every_clone,
        unchanged: args.all,
        compat: args.compat,
        denied: args.denied,
        lifecycle: args.lifecycle,
        ring_bytes: args.buffer,
        room: args.room,
        interval: args.interval,
        duration: args.duration,
        count: args.count,
        command: args.command.clone(),
    };
    let (file, text_style) = match &args.output {
        None => (out.file().context("stdout")?.into(), out.text_style(args.ascii)),
        Some(path) => {
            let patience =
                args.duration.map_or(MAX_TO_OPEN, |duration| duration.clamp(MIN_TO_OPEN, MAX_TO_OPEN));
            let file = destination::create(path, patience).with_context(|| output_name(path))?;
            (file, out.text_style_of_file(args.ascii))
        }
    };
    let format = if args.json { Format::Json(Box::default()) } else { Format::Human(text_style) };
    let filter = filter.map(filters::Counting::new);
    let mut lines = Lines::new(file, format, filter, args.quiet)?;
    output::messages_in_background()?;
    let ended = session::run(&options, &take_snapshot(), &mut [&mut lines])
        .map_err(|error| refused(error, options.source != Choice::Auto))?;
    let name = args.output.as_deref().map_or_else(|| "stdout".to_owned(), output_name);
    let has_failed = ended.outputs.iter().any(|output| output.error.is_some());
    if matches!(ended.command, CommandEnd::None) && !args.command.is_empty() && has_failed {
        output::complain(&"COMMAND was not started");
    }
    finish(ended, args.quiet, name)
}

/// The reason why no trace began; if the source was `chosen`, with a hint that there may be others.
fn refused(error: TraceError, chosen: bool) -> anyhow::Error {
    if chosen && error.is_refusal() {
        return anyhow::anyhow!("{error}; without --source, trace takes the best one that is permitted");
    }
    error.into()
}

fn choice(sources: &[Source]) -> Choice {
    let plans = sources.iter().map(|source| source.plan()).collect::<Option<Vec<Plan>>>();
    match plans.as_deref() {
        None => Choice::Auto,
        Some([plan]) => Choice::Only(*plan),
        Some(plans) => Choice::Among(plans.iter().copied().collect()),
    }
}

fn output_name(path: &Path) -> String {
    format!("--output {}", text::shown_path(path))
}

/// Exits like env(1), timeout(1) and others.
fn not_started(error: &TraceError) -> Exit {
    output::complain(error);
    let TraceError::Command { error, .. } = error else { return Exit::Command(126) };
    Exit::Command(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

fn finish(ended: Ended, quiet: bool, name: String) -> anyhow::Result<Exit> {
    if let Some(error @ TraceError::Command { .. }) = &ended.error {
        return Ok(not_started(error));
    }
    let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    let mut failure = None;
    for OutputEnd { end, error } in ended.outputs {
        // If the stream could not be written to its end, this is the only report of the totals.
        if error.as_ref().map_or(!quiet, |error| !is_closed(error)) {
            output::complain(&totals(&end));
        }
        failure = failure.or(error);
    }
    if let (CommandEnd::GoesOn(pid), false) = (ended.command, quiet) {
        output::complain(&format_args!("the command goes on as process {pid}"));
    }
    if let Some(error) = ended.error {
        if let Some(output) = failure.filter(|error| !is_closed(error)) {
            output::complain(&format_args!("{name}: {output}"));
        }
        return Err(error.into());
    }
    if let Some(error) = failure {
        return Err(error).context(name);
    }
    Ok(match ended.command {
        CommandEnd::Ended(status) => Exit::Command(code(status)),
        CommandEnd::None | CommandEnd::GoesOn(_) => Exit::Done,
    })
}

/// The exit code of a command, as in a shell.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
