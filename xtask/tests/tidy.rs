//! Enforces the plan of ARCHITECTURE.md: which room may import which, no import circles, no file too long to read at
//! once.

mod imports;

use imports::Package;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `nsprobe/src` and the other rooms that each may import. No room imports `cli`.
const LAYERS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("document", &["model"]),
    ("kernel", &["model"]),
    ("render", &["model", "document"]),
    ("filter", &["model"]),
    ("diff", &["model", "document"]),
    ("discover", &["model", "kernel"]),
    ("trace", &["model", "kernel", "discover"]),
    ("doctor", &["model", "kernel", "discover", "trace"]),
    ("cli", &["model", "document", "kernel", "render", "filter", "diff", "discover", "trace", "doctor"]),
];

/// Phrases that a reader would stumble over; docs/glossary.md has the words to use.
const DIALECT: [&str; 9] = [
    "another than",
    "are told",
    "asked for",
    "is told",
    "made good",
    "put right",
    "so-manieth",
    "tells of",
    "told of",
];

/// The maximum number of lines of a source file.
const MAX_LINES: usize = 450;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packages() -> [Package; 4] {
    ["nsprobe", "nsprobe-ebpf", "xtask", "xtask/bench"]
        .map(|name| Package::read(name, &root().join(name).join("src")))
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let [nsprobe, ..] = packages();
    let mut wrong = BTreeSet::new();
    for (file, imported) in nsprobe.imports() {
        let (Some(from), Some(to)) = (nsprobe.room(file), nsprobe.room(imported)) else { continue };
        let allowed = LAYERS.iter().find(|(room, _)| *room == from);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{from} is not a room of this plan"));
        if from != to && !allowed.contains(&to) {
            wrong.insert(format!("{} imports {}", nsprobe.name(file), nsprobe.name(imported)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let described: String = packages().iter().map(Package::describe_circles).collect();
    assert!(described.is_empty(), "{described}");
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for directory in ["nsprobe/src", "nsprobe-ebpf/src", "xtask/src", "xtask/bench", "tests"] {
        for file in imports::files(&root().join(directory), &["rs"]) {
            let lines = fs::read_to_string(&file).expect("a source").lines().count();
            if lines > MAX_LINES {
                long.push(format!("{lines} lines: {}", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn texts_are_in_plain_english() {
    let mut files = Vec::new();
    for directory in
        ["docs", "schema", "nsprobe/src", "nsprobe-ebpf/src", "xtask/src", "xtask/bench", "tests"]
    {
        files.extend(imports::files(&root().join(directory), &["rs", "md", "json"]));
    }
    let documents = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    files.extend(documents.map(|name| root().join(name)));
    assert!(files.len() > 200, "{}", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a text").to_lowercase();
        for (number, line) in text.lines().enumerate() {
            found.extend(
                DIALECT
                    .iter()
                    .filter(|phrase| line.contains(*phrase))
                    .map(|phrase| format!("{}:{}: {phrase}", file.display(), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
