//! Prints the JSON Schemas of all documents, as one object: the name of each file of `schema/`, and its text.
//! `cargo xtask schema` runs it.

use std::collections::BTreeMap;

fn main() -> Result<(), serde_json::Error> {
    let files: BTreeMap<_, _> = nsprobe::document::generate::all().into_iter().collect();
    serde_json::to_writer(std::io::stdout().lock(), &files)
}
