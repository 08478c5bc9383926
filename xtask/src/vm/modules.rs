//! Modules that the tests need and a cloud kernel does not have built in: from the package of the kernel, or from that of
//! its modules.

use crate::archive::{self, Archive};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File systems that tenants may stage: what their modules are called.
const WANTED: [fn(&str) -> bool; 2] = [
    |name| name.starts_with("fuse.ko"),
    |name| name.starts_with("autofs4.ko") || name.starts_with("autofs.ko"),
];

/// The modules of the kernel `version`, which comes in `package`, in the order in which they are to be loaded;
/// downloaded to `dir` if they are not there. Without them some tests are skipped, which these say.
pub fn obtain(archive: &Archive, package: &str, version: &str, dir: &Path) -> Vec<PathBuf> {
    if !dir.exists()
        && let Err(error) = download(archive, package, version, dir)
    {
        eprintln!("vm: WARNING: no modules of {version}: {error:#}");
    }
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn download(archive: &Archive, package: &str, version: &str, dir: &Path) -> Result<()> {
    let of_modules = format!("linux-modules-{version}");
    let packed = from(archive, package).or_else(|_| from(archive, &of_modules))?;
    let work = dir.with_extension("work");
    fs::create_dir_all(&work)?;
    for file in packed {
        let name = file.file_name().context("a file")?.to_string_lossy().into_owned();
        let (module, unpack) = match name.rsplit_once(".ko") {
            Some((module, "")) => (module, "cat"),
            Some((module, ".xz")) => (module, "xzcat"),
            Some((module, ".zst")) => (module, "zstdcat"),
            _ => anyhow::bail!("{name} is packed in an unknown way"),
        };
        let unpacked = Command::new(unpack).arg(&file).output().with_context(|| unpack.to_owned())?;
        ensure!(unpacked.status.success(), "{unpack} {}: {}", file.display(), unpacked.status);
        fs::write(work.join(format!("{module}.ko")), unpacked.stdout)?;
    }
    Ok(fs::rename(work, dir)?)
}

/// The wanted modules, packed as they are in `package`.
fn from(archive: &Archive, package: &str) -> Result<Vec<PathBuf>> {
    let files = archive.extract(&[package])?;
    let find =
        |wanted| archive::find(&files, wanted)?.with_context(|| format!("not all modules are in {package}"));
    WANTED.into_iter().map(find).collect()
}
