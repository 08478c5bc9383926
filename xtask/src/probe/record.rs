//! The record of what the committed object was built from, a text beside it.

use super::source;
use super::toolchain::Versions;
use anyhow::{Context as _, ensure};
use std::fmt;
use std::path::Path;

/// The content of the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// [`source::digest`] of the sources.
    pub(super) source: String,
    /// SHA-256 of the object.
    pub(super) object: String,
    /// The toolchain that built it.
    pub(super) toolchain: Versions,
}

const HEADING: &str = "# What nsprobe.bpf.o was built from; written by `cargo xtask probe`.";

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, object, toolchain } = self;
        writeln!(f, "{HEADING}\nsource-sha256: {source}\nobject-sha256: {object}\n{toolchain}")
    }
}

impl Record {
    /// Reads the record at `path`.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path);
        let text =
            text.with_context(|| format!("{}: no record; cargo xtask probe writes it", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("no line \"{key}: …\""))
        };
        Ok(Self {
            source: value("source-sha256")?,
            object: value("object-sha256")?,
            toolchain: Versions { rustc: value("rustc")?, llvm: value("llvm")?, linker: value("linker")? },
        })
    }

    /// Fails unless this record matches the sources under `root`, and `object`.
    pub(super) fn check_digests(&self, root: &Path, object: &[u8]) -> anyhow::Result<()> {
        let source = source::digest(root)?;
        ensure!(
            source == self.source,
            "the probe's sources changed since its object was built (sha256 {source}, recorded {}): cargo xtask probe",
            self.source
        );
        let object = source::sha256(object);
        ensure!(
            object == self.object,
            "the object is not the one of the record (sha256 {object}, recorded {}): cargo xtask probe",
            self.object
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            source: "aa".into(),
            object: "bb".into(),
            toolchain: Versions {
                rustc: "rustc 1.2.3".into(),
                llvm: "22.1.2".into(),
                linker: "bpf-linker 0".into(),
            },
        }
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(Record::parse(&record().to_string()).expect("its own text"), record());
    }

    #[test]
    fn names_the_line_that_is_missing() {
        let text = record().to_string().replace("object-sha256", "object");
        let error = Record::parse(&text).expect_err("a line is missing");
        assert_eq!(error.to_string(), "no line \"object-sha256: …\"");
    }
}
