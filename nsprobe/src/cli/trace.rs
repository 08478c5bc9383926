//! `nsprobe trace`

use super::conditions::ConditionArgs;
use super::output::{self, Output};
use super::{Exit, filters, quantity};
use crate::discover::{self, CommandLines};
use crate::filter::EventRow;
use crate::model::{Body, Line, Loss, Snapshot, StreamEnd, StreamStart};
use crate::render::style::{self, Look};
use crate::render::{event, event_json};
use crate::trace::TraceError;
use crate::trace::hooks::{Call, Plan};
use crate::trace::plan::Choice;
use crate::trace::running::CommandEnd;
use crate::trace::session::{self, Ended, Options, Sink};
use anyhow::Context as _;
use clap::ValueEnum;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag, and they combine")]
pub(super) struct Args {
    /// Only what COMMAND and its descendants do, until it ends
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    /// Only these calls
    #[arg(short, long, value_enum, value_delimiter = ',', value_name = "CALL", default_values_t = Event::ALL)]
    event: Vec<Event>,

    #[command(flatten)]
    conditions: ConditionArgs,

    /// Only events for which EXPR is true: fields, comparisons, text.matches('regex'), &&, ||, !
    #[arg(short, long, value_name = "EXPR")]
    filter: Option<String>,

    /// Which new tasks: those in a namespace that is new with them, or all
    #[arg(long, value_enum, default_value_t = Clone::Namespaces, value_name = "WHICH")]
    clone: Clone,

    /// Also calls of unshare and setns that succeed and change nothing
    #[arg(short, long)]
    all: bool,

    /// Also which namespaces there are, when they are made and, where kernel functions can be hooked, when they end
    #[arg(long)]
    lives: bool,

    /// End after this time: 5s, 1m30s, 200ms; a bare number counts seconds
    #[arg(short, long, value_parser = quantity::duration, value_name = "TIME")]
    duration: Option<Duration>,

    /// End after so many events
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..), value_name = "NUMBER")]
    count: Option<u64>,

    /// JSON, one object a line
    #[arg(short, long)]
    json: bool,

    /// How to see the calls: kernel functions cost other system calls nothing, but not every kernel lets us
    #[arg(long, value_enum, default_value_t = Hooks::Auto, value_name = "PLAN")]
    hooks: Hooks,

    /// Without any privileges: the time between two looks at /proc
    #[arg(long, value_parser = quantity::duration, default_value = "1s", value_name = "TIME")]
    interval: Duration,

    /// Also 32-bit system calls where kernel functions cannot be hooked: every system call of the machine is looked at
    #[arg(long)]
    compat: bool,

    /// Also calls that a seccomp filter answers with an error: every system call of the machine pays for it
    #[arg(long)]
    denied: bool,

    /// Room for events not yet written, in kernel memory; rounded up to a power of two
    #[arg(long, value_parser = quantity::buffer, default_value = "4M", value_name = "SIZE")]
    buffer: u32,

    /// ASCII only
    #[arg(long)]
    ascii: bool,

    /// Nothing on stderr but errors
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = r#"Examples:
  sudo nsprobe trace                               the whole machine, until Ctrl-C
  sudo nsprobe trace -- unshare --net true         one command with its descendants
  sudo nsprobe trace --event setns --count 10      the next ten calls of setns
  sudo nsprobe trace --kind user,net --failed -- unshare --user true
  sudo nsprobe trace --pid 1 --follow --duration 5s   a process with all that descends from it
  sudo nsprobe trace --uid nobody --ok --duration 5s  what a user's programs do
  sudo nsprobe trace --ns /proc/self/ns/net --event setns,unshare --duration 5s
  sudo nsprobe trace --cgroup /machine.slice --comm runc
  sudo nsprobe trace --filter "failed || 'user' in changed" -- unshare --user true
  sudo nsprobe trace --filter "event == 'setns' && path.startsWith('/run/netns/')"
  sudo nsprobe trace --filter "'root' in changed && root.after.startsWith('/srv/')"
  sudo nsprobe trace --denied --failed --duration 5s  what fails, also what seccomp stops
  sudo nsprobe trace --lives --event chroot        namespaces come and go, and calls of chroot
  sudo nsprobe trace --clone all --duration 5s     every new task in the next five seconds
  nsprobe trace --interval 200ms --duration 2s     without privileges: what lasts longer than that
  sudo nsprobe trace --json | jq -c 'select(.errno) | [.process.comm, .event, .errno]'

All conditions must hold, and of a list one entry. By BPF all but --filter are decided in the kernel: what does not hold
needs no room in the buffer, unless --lives is asked for, which takes all calls into account. Without BPF --follow,
--cgroup, --failed and --denied are refused.
Process ids are those of the initial pid namespace; in brackets, those inside others.
Needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), and a kernel from 5.10 on with BTF. Without BPF it takes the records of
perf (CAP_PERFMON), which tell successful calls and no arguments; without that it looks at /proc every --interval.

Exit codes: 0 done, 2 error. With a COMMAND its own code, or 128 + N when signal N ended it;
127 when it was not found, 126 when it could not be run. If the trace ends first, COMMAND goes on.
Ctrl-C is the COMMAND's as well: the trace ends when it does, or at the second Ctrl-C."#;

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", filters::fields(EventRow::FIELDS))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Event {
    Clone,
    Unshare,
    Setns,
    Chroot,
    #[value(name = "pivot_root")]
    PivotRoot,
}

impl Event {
    const ALL: [Self; 5] = [Self::Clone, Self::Unshare, Self::Setns, Self::Chroot, Self::PivotRoot];

    const fn call(self) -> Call {
        match self {
            Self::Clone => Call::Clone,
            Self::Unshare => Call::Unshare,
            Self::Setns => Call::Setns,
            Self::Chroot => Call::Chroot,
            Self::PivotRoot => Call::PivotRoot,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clone {
    Namespaces,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hooks {
    /// The first of these that this machine allows
    Auto,
    Functions,
    Tracepoints,
    Perf,
    Poll,
}

pub(super) fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    let filter = filters::compile(args.filter.as_deref(), EventRow::FIELDS)?;
    let every_clone = args.clone == Clone::All;
    if every_clone && !args.event.contains(&Event::Clone) {
        anyhow::bail!("--clone all needs clone among the calls of --event");
    }
    let options = Options {
        hooks: match args.hooks {
            Hooks::Auto => Choice::Auto,
            Hooks::Functions => Choice::Only(Plan::Functions),
            Hooks::Tracepoints => Choice::Only(Plan::Tracepoints),
            Hooks::Perf => Choice::Only(Plan::Perf),
            Hooks::Poll => Choice::Only(Plan::Poll),
        },
        calls: args.event.iter().map(|event| event.call()).collect(),
        conditions: args.conditions.resolve()?,
        every_clone,
        unchanged: args.all,
        compat: args.compat,
        denied: args.denied,
        lives: args.lives,
        ring_bytes: args.buffer,
        interval: args.interval,
        duration: args.duration,
        count: args.count,
        command: args.command.clone(),
    };
    let format = if args.json { Format::Json } else { Format::Human(out.look(args.ascii)) };
    let filter = filter.map(filters::Counting::new);
    let ended = session::run(&options, &look, &mut Writer { out, format, filter, quiet: args.quiet })?;
    finish(ended, args.quiet)
}

/// What the lives of namespaces begin from.
fn look() -> Result<Snapshot, String> {
    let options = discover::Options { command_lines: CommandLines::Leaders, ..discover::Options::default() };
    discover::snapshot(&options).map_err(|error| error.to_string())
}

/// As env(1), timeout(1) and others have it.
fn not_started(error: &TraceError) -> Exit {
    output::complain(error);
    let TraceError::Command { error, .. } = error else { return Exit::Command(126) };
    Exit::Command(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

fn finish(ended: Ended, quiet: bool) -> anyhow::Result<Exit> {
    if let Some(error @ TraceError::Command { .. }) = &ended.error {
        return Ok(not_started(error));
    }
    let closed = ended.output.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if !quiet && !closed {
        output::complain(&totals(&ended.end));
    }
    if let (CommandEnd::GoesOn(pid), false) = (ended.command, quiet) {
        output::complain(&format_args!("the command goes on as process {pid}"));
    }
    if let Some(error) = ended.error {
        if let Some(output) = ended.output.filter(|_| !closed) {
            output::complain(&format_args!("stdout: {output}"));
        }
        return Err(error.into());
    }
    if let Some(error) = ended.output {
        return Err(error).context("stdout");
    }
    Ok(match ended.command {
        CommandEnd::Ended(status) => Exit::Command(code(status)),
        CommandEnd::None | CommandEnd::GoesOn(_) => Exit::Done,
    })
}

/// The code of a command, as a shell has it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

enum Format {
    Json,
    Human(Look),
}

/// Lines to stdout; what the stream says of itself to stderr too.
struct Writer<'a> {
    out: &'a mut Output,
    format: Format,
    filter: Option<filters::Counting>,
    quiet: bool,
}

impl Sink for Writer<'_> {
    fn wants(&mut self, event: &crate::model::Event) -> Option<bool> {
        let Some(filter) = &mut self.filter else { return Some(true) };
        let before = filter.unevaluated();
        let wanted = filter.admits(&EventRow(event));
        if filter.unevaluated() == before {
            return Some(wanted);
        }
        filter.report_first();
        None
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        if let (Body::Start(start), false) = (&line.body, self.quiet) {
            output::complain(&beginning(start));
            if start.hooks.plan == Plan::Poll.name() {
                output::complain(&ONLY_LOOKS);
            }
        }
        match self.format {
            Format::Json => event_json::write(line, &mut self.out),
            Format::Human(look) => human(line, look, self.out),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.out.as_fd()
    }
}

fn human(line: &Line, look: Look, out: &mut Output) -> io::Result<()> {
    match &line.body {
        Body::Start(_) => writeln!(out, "{}", event::header(look)),
        Body::Event(event) => writeln!(out, "{}", event::line(event, line.time, look)),
        Body::Created(created) => writeln!(out, "{}", event::created(created, line.time, look)),
        Body::Destroyed(destroyed) => writeln!(out, "{}", event::destroyed(destroyed, line.time, look)),
        Body::Rebuilt(rebuilt) => {
            writeln!(out, "{}", look.paint(style::WARNING, event::rebuilt(rebuilt)))
        }
        Body::Lost(Loss { lost, .. }) => {
            let text = format!("-- events lost: {} ({})", lost.count, lost.stage);
            writeln!(out, "{}", look.paint(style::WARNING, text))
        }
        Body::End(_) => Ok(()),
    }
}

const ONLY_LOOKS: &str = "warning: this only looks at /proc from time to time, and misses what is shorter: every change is \
    seen with CAP_PERFMON, every call with CAP_BPF too: run with sudo";

fn beginning(start: &StreamStart) -> String {
    let hooks = &start.hooks;
    let mut text = format!("tracing by {} ({})", hooks.plan, hooks.reason);
    if !hooks.missing.is_empty() {
        text = format!("{text}; missing: {}", hooks.missing.join("; "));
    }
    if !hooks.unseen.is_empty() {
        text = format!("{text}; not shown by this plan: {}", hooks.unseen.join("; "));
    }
    if let Some(cost) = hooks.cost {
        text = format!("{text}; cost: {cost}");
    }
    text
}

fn totals(end: &StreamEnd) -> String {
    let events = end.totals.events;
    let reason = if end.reason.starts_with("error: ") { "ended" } else { &end.reason };
    let mut text = format!("{reason}: {events} event{}", if events == 1 { "" } else { "s" });
    for lost in &end.totals.lost {
        text = format!("{text}, {} lost ({})", lost.count, lost.stage);
    }
    if end.totals.unevaluated > 0 {
        text = format!("{text}, {} on which --filter could not be evaluated", end.totals.unevaluated);
    }
    if end.totals.lost.iter().any(|lost| matches!(lost.stage, "ring_full" | "perf_ring_full")) {
        text.push_str("; a larger --buffer loses fewer");
    }
    text
}
