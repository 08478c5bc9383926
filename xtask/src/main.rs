//! Development tasks: `cargo xtask --help`.

mod probe;

use clap::Parser;
use std::path::Path;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of nsprobe")]
enum Task {
    /// Builds the BPF object that nsprobe embeds, or checks the committed one
    Probe(probe::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Probe(args) => probe::run(&args),
    }
}

/// The root of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}
