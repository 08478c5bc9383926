//! `cargo xtask schema`: writes the JSON Schemas of the documents from their types in `nsprobe/src/document/`.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use xtask::checkout::{cargo, output, root};

#[derive(clap::Args)]
pub struct Args {
    /// Only report whether the committed schemas are those of the types
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let directory = root().join("schema");
    let (mut differing, generated) = (Vec::new(), generated()?);
    for entry in fs::read_dir(&directory).context("schema")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(generated.contains_key(&name), "schema/{name} is of no type: remove it");
    }
    for (name, text) in generated {
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
    let example = ["run", "--quiet", "--package=nsprobe", "--example=schema", "--features=schema"];
    let printed = output(cargo().args(example).current_dir(root()))?;
    serde_json::from_slice(&printed.stdout).context("the generator")
}
