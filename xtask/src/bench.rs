//! `cargo xtask bench`: nsprobe and its peers, measured side by side in one run.

mod crowd;
mod facts;
mod peers;
mod report;
mod snapshot;
mod strace;
mod table;
mod util_linux;

use crate::checkout::{self, Profile};
use anyhow::{Result, ensure};
use snapshot::{Point, Size};
use table::Row;

#[derive(clap::Args)]
#[command(
    long_about = "Measures nsprobe and its peers side by side, in one run.\n\n\
Whole commands, from start to end, their output thrown away: nsprobe list in its ways, nsprobe tree, the distribution's \
lsns, the newest lsns in Debian's archive (unpacked, not installed), and ps with its eight columns of namespaces. For each \
size of the machine it makes sleeping processes, and ends them. The commands take turns, so that what slows the machine down \
slows all of them; ratios are of the same turn. Needs root and strace; takes up to ten minutes.",
    after_help = "\
Examples:
  cargo xtask bench                      everything
  cargo xtask bench --quick              a look, in half a minute
  cargo xtask bench --points 4000        one size
  cargo xtask bench --write              puts the tables into docs/performance.md"
)]
pub struct Args {
    /// Processes on the machine, those included that are there already
    #[arg(long, value_name = "PROCESSES", value_delimiter = ',', default_values_t = [100, 1000, 4000, 10_000])]
    points: Vec<usize>,
    /// Namespaces made for a point of their own; 0: no such point
    #[arg(long, value_name = "COUNT", default_value_t = 2000)]
    namespaces: usize,
    /// Times that each command is measured; what is slow, fewer
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// 100 and 1,000 processes and 200 namespaces, in 3 rounds
    #[arg(long, conflicts_with_all = ["points", "namespaces", "rounds"])]
    quick: bool,
    /// Put the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "measures what root sees: run as root");
    let load = facts::load()?;
    let nsprobe = checkout::nsprobe(Profile::Release)?;
    let (peers, programs) = peers::all(&nsprobe, &facts::commit())?;
    let (sizes, namespaces, rounds) = if args.quick {
        (&[100, 1000][..], 200, 3)
    } else {
        (&args.points[..], args.namespaces, args.rounds.into())
    };

    let mut notes = vec![load];
    let mut measure = |size| -> Result<Option<Point>> {
        let point = snapshot::measure(&peers, size, rounds)?;
        point.map_or_else(
            |missing| {
                notes.push(format!("NOT MEASURED: {missing}"));
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
    // A cost per process is one of many: with few, the constant part is all there is.
    let many: Vec<&Point> = points.iter().filter(|point| point.processes >= 900).collect();
    let costs = (0..3.min(rows.len())).filter_map(|index| table::cost(rows[index].name, index, &many));
    let facts = [facts::machine()?, programs, notes, costs.collect()].concat();
    let facts: Vec<String> = facts.iter().map(|fact| format!("- {fact}\n")).collect();
    let tables: Vec<String> = points.iter().chain(&crowded).map(|point| table::point(&rows, point)).collect();
    let text = format!("{}\n{}", facts.concat(), tables.join("\n"));
    println!("{text}");
    if args.write {
        report::write(&text)?;
        eprintln!("bench: written to {}", report::DOCUMENT);
    }
    Ok(())
}
