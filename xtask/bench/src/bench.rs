//! `cargo xtask bench`: nsprobe and its peers, measured side by side in one run.

mod crowd;
mod facts;
mod hostile;
mod peers;
mod report;
mod sample;
mod snapshot;
mod strace;
mod table;
mod trace;
mod util_linux;

use anyhow::{Result, ensure};
pub use hostile::{Stage, stage};
use sample::Point;
use snapshot::Size;
use std::path::Path;
use std::time::Duration;
use table::Row;
use xtask::checkout::{self, Profile};

#[derive(clap::Args)]
#[command(
    long_about = "Measures nsprobe and its peers side by side, in one run.\n\n\
Snapshots: whole commands, from start to end, with their output discarded: nsprobe list with each source, nsprobe tree, the \
distribution's lsns, the newest lsns in Debian's archive (unpacked, not installed), and ps with its eight columns of \
namespaces. For each number of processes it starts sleeping processes, and ends them. The commands take turns, so that what \
slows the machine down slows all of them; ratios are of the same turn.\n\n\
Traces: the cost of an unrelated system call, a fork, unshare and setns while nsprobe, bpftrace, perf or strace trace, next to \
their cost without, right before; and nsprobe in a storm of setns, idle, and while programs start and end. The events that nsprobe \
reports and those it counts as lost must add up to the calls made.\n\n\
Needs root and strace; takes up to fifteen minutes.",
    after_help = "\
Examples:
  cargo xtask bench                              everything
  cargo xtask bench --quick                      a rough measurement, in a minute
  cargo xtask bench --only snapshot --points 4000
  cargo xtask bench --only trace --churn 1h      checks that memory does not grow
  cargo xtask bench --only hostile               what a tenant can make a snapshot cost (docs/limits.md)
  cargo xtask bench --write                      puts the tables into docs/performance.md"
)]
pub struct Args {
    /// Only this subject
    #[arg(long, value_enum)]
    only: Option<Subject>,
    /// Numbers of processes on the machine, existing ones included
    #[arg(long, value_name = "PROCESSES", value_delimiter = ',', default_values_t = [100, 1000, 4000, 10_000])]
    points: Vec<usize>,
    /// Namespaces created for a separate point; 0: no such point
    #[arg(long, value_name = "COUNT", default_value_t = 2000)]
    namespaces: usize,
    /// Number of measurements of each command; fewer of slow ones
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Events per second in a storm; one without a limit is added
    #[arg(long, value_name = "RATE", value_delimiter = ',', default_values_t = [50_000, 100_000, 150_000])]
    rates: Vec<u32>,
    /// Duration of a storm
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = crate::span::parse)]
    storm: Duration,
    /// Duration of the churn of programs
    #[arg(long, value_name = "TIME", default_value = "1min", value_parser = crate::span::parse)]
    churn: Duration,
    /// 100 and 1,000 processes and 200 namespaces, in 3 rounds; calls in 1 round, and short storms
    #[arg(long, conflicts_with_all = ["points", "namespaces", "rounds", "rates", "storm", "churn"])]
    quick: bool,
    /// Measure the development build, to check that everything runs and adds up
    #[arg(long, conflicts_with = "write")]
    dev: bool,
    /// Put the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    Snapshot,
    Trace,
    /// The loads that a tenant can stage; only when named
    Hostile,
}

impl Subject {
    /// Its name in the marks of the document.
    const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Trace => "trace",
            Self::Hostile => "hostile",
        }
    }
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "measures what root sees: run as root");
    ensure!(!args.write || args.only != Some(Subject::Hostile), "docs/limits.md is written by hand");
    for subject in args.only.map_or(vec![Subject::Snapshot, Subject::Trace], |only| vec![only]) {
        let load = facts::load()?;
        let nsprobe = checkout::nsprobe(if args.dev { Profile::Dev } else { Profile::Release })?;
        let (facts, tables) = match subject {
            Subject::Snapshot => snapshots(args, &nsprobe)?,
            Subject::Trace => traces(args, &nsprobe)?,
            Subject::Hostile => (vec![peers::nsprobe(&nsprobe)?], hostile::measure(&nsprobe, args.quick)?),
        };
        let facts = [facts::machine()?, facts, vec![load]].concat();
        let facts: Vec<String> = facts.iter().map(|fact| format!("- {fact}\n")).collect();
        let text = format!("{}\n{tables}", facts.concat());
        println!("{text}");
        if args.write {
            report::write(subject.name(), &text)?;
            eprintln!("bench: written to {}", report::DOCUMENT);
        }
    }
    Ok(())
}

fn traces(args: &Args, nsprobe: &Path) -> Result<(Vec<String>, String)> {
    let plan = if args.quick {
        trace::Plan {
            rounds: 1,
            rates: &[20_000],
            storm: Duration::from_secs(1),
            idle: Duration::from_secs(1),
            churn: Duration::from_secs(3),
        }
    } else {
        trace::Plan {
            rounds: args.rounds.into(),
            rates: &args.rates,
            storm: args.storm,
            idle: Duration::from_secs(10),
            churn: args.churn,
        }
    };
    let build =
        format!("{}, {} build", peers::nsprobe(nsprobe)?, if args.dev { "development" } else { "release" });
    let (versions, tables) = trace::measure(nsprobe, &plan)?;
    Ok(([vec![build], versions].concat(), tables))
}

fn snapshots(args: &Args, nsprobe: &Path) -> Result<(Vec<String>, String)> {
    let (peers, mut facts) = peers::all(nsprobe)?;
    let (sizes, namespaces, rounds) = if args.quick {
        (&[100, 1000][..], 200, 3)
    } else {
        (&args.points[..], args.namespaces, args.rounds.into())
    };

    let mut measure = |size| -> Result<Option<Point>> {
        let point = snapshot::measure(&peers, size, rounds)?;
        point.map_or_else(
            |missing| {
                facts.push(format!("NOT MEASURED: {missing}"));
                Ok(None)
            },
            |point| Ok(Some(point)),
        )
    };
    let mut points = Vec::new();
    for &size in sizes {
        points.extend(measure(Size::Processes(size))?);
    }
    let crowded = if namespaces > 0 { measure(Size::Namespaces(namespaces))? } else { None };

    let rows: Vec<Row> =
        peers.iter().map(|peer| Row { name: &peer.name, yardstick: peer.yardstick }).collect();
    // The cost per process needs many: with few, the constant part dominates.
    let many: Vec<&Point> = points.iter().filter(|point| point.processes >= 900).collect();
    facts.extend((0..3.min(rows.len())).filter_map(|index| table::cost(rows[index].name, index, &many)));
    let tables: Vec<String> = points.iter().chain(&crowded).map(|point| table::point(&rows, point)).collect();
    Ok((facts, tables.join("\n")))
}
