//! `cargo xtask probe`: the BPF object, from its sources.
//!
//! The object is committed, so that building nsprobe needs stable Rust and nothing else. The sources and toolchain it
//! was built from are recorded beside it ([`Record`]), and checked: `cargo test` compares digests, and `--check`
//! compares bytes if the toolchain of the record is installed.

mod record;
mod source;
mod toolchain;

use anyhow::{Context as _, bail, ensure};
use record::Record;
use std::fs;
use std::path::{Path, PathBuf};
use toolchain::Toolchain;
use xtask::checkout::root;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask probe                      build the object and its record again
  cargo xtask probe --check              prove that the committed object belongs to the sources
  cargo xtask probe --output /tmp/p.o    build elsewhere, keep the committed one")]
pub(crate) struct Args {
    /// Change nothing; fail if the committed object is not what the sources give
    #[arg(long, conflicts_with = "output")]
    check: bool,
    /// Write the object here, and no record
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// The committed object.
fn object_path() -> PathBuf {
    root().join("nsprobe/bpf/nsprobe.bpf.o")
}

/// The record of what the committed object was built from.
fn record_path() -> PathBuf {
    root().join("nsprobe/bpf/nsprobe.bpf.txt")
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let recorded = Record::read(&record_path());
    if args.check {
        return check(&recorded?);
    }
    // The recorded toolchain first: it changes no byte that the sources did not change.
    let toolchain = toolchain::find(recorded.as_ref().ok().map(|record| &record.toolchain))?;
    let built = build(&toolchain)?;
    let object = args.output.clone().unwrap_or_else(object_path);
    write(&object, &built)?;
    println!("{} bytes, built by {toolchain}: {}", built.len(), object.display());
    if args.output.is_none() {
        let record = Record {
            source: source::digest(root())?,
            object: source::sha256(&built),
            toolchain: toolchain.versions(),
        };
        write(&record_path(), record.to_string().as_bytes())?;
    }
    Ok(())
}

/// Checks the committed object as far as the installed toolchains allow, and reports how far that was.
fn check(record: &Record) -> anyhow::Result<()> {
    let object = fs::read(object_path()).with_context(|| object_path().display().to_string())?;
    record.check_digests(root(), &object)?;
    println!("digests: the committed object is the one that was built from these sources");
    let toolchain = match toolchain::find(Some(&record.toolchain)) {
        Ok(toolchain) if toolchain.versions() == record.toolchain => toolchain,
        Ok(other) => {
            println!(
                "WARNING: NOT REBUILT, only the digests were checked: the object was built by\n{}",
                record.toolchain
            );
            println!("installed is {other}\n{}", other.versions());
            return Ok(());
        }
        Err(error) => {
            println!("WARNING: NOT REBUILT, only the digests were checked: {error:#}");
            return Ok(());
        }
    };
    let built = build(&toolchain)?;
    ensure!(
        built == object,
        "the sources give an object that differs from the committed one (sha256 {}, {} bytes; committed {}, {} bytes), \
         by the same toolchain {toolchain}; if that is intended: cargo xtask probe",
        source::sha256(&built),
        built.len(),
        source::sha256(&object),
        object.len(),
    );
    println!("rebuilt: {toolchain} gives the same {} bytes", built.len());
    Ok(())
}

/// The object that `toolchain` makes of the sources.
fn build(toolchain: &Toolchain) -> anyhow::Result<Vec<u8>> {
    let target = root().join("target/probe");
    let status = toolchain.cargo(root(), &target)?.status().context("cargo")?;
    if !status.success() {
        bail!(
            "the probe did not build ({status}); if the linker could not read its input, the LLVM that bpf-linker \
             was built with is older than that of rustc ({})",
            toolchain.versions().llvm
        );
    }
    let built = target.join(toolchain::TARGET).join("release/nsprobe-ebpf");
    fs::read(&built).with_context(|| built.display().to_string())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prevents that a change to the probe's sources is forgotten in the object.
    #[test]
    fn committed_object_belongs_to_the_sources() -> anyhow::Result<()> {
        let record = Record::read(&record_path())?;
        record.check_digests(root(), &fs::read(object_path())?)
    }
}
