//! `cargo xtask schema`: writes the JSON Schemas of the documents from their types in `nsprobe/src/document/`.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use xtask::checkout::{output, root};

#[derive(clap::Args)]
pub struct Args {
    /// Only report whether the committed schemas are those of the types
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let directory = root().join("schema");
    let mut differing = Vec::new();
    for (name, text) in generated()? {
        let path = directory.join(&name);
        // An absent file differs as well.
        if fs::read_to_string(&path).ok().as_deref() == Some(text.as_str()) {
            continue;
        }
        if !args.check {
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            println!("written: schema/{name}");
        }
        differing.push(name);
    }
    ensure!(
        !args.check || differing.is_empty(),
        "not the schemas of the types: {}: run `cargo xtask schema`",
        differing.join(", ")
    );
    Ok(())
}

/// The schemas that the types generate, by the names of their files.
fn generated() -> Result<BTreeMap<String, String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let printed = output(
        Command::new(cargo)
            .args(["run", "--quiet", "--package=nsprobe", "--example=schema", "--features=schema"])
            .current_dir(root()),
    )?;
    serde_json::from_slice(&printed.stdout).context("the generator")
}
