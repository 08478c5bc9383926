//! Measurements and loads: `cargo xtask bench`, `cargo xtask stress`. One module per task.

mod bench;
mod ending;
mod load;
mod span;
mod stress;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Measurements and loads of nsprobe")]
enum Task {
    /// Measures nsprobe and its peers side by side
    Bench(bench::Args),
    /// The work that `bench` traces; started by it
    #[command(hide = true)]
    Load(load::Args),
    /// The loads that `bench` stages for its measurements; started by it
    #[command(hide = true)]
    Stage(bench::Stage),
    /// Takes snapshots while namespaces and processes are created and end
    Stress(stress::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Bench(args) => bench::run(&args),
        Task::Load(args) => load::run(&args),
        Task::Stage(args) => bench::stage(&args),
        Task::Stress(args) => stress::run(&args),
    }
}
