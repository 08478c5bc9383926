//! The newest available lsns: out of the archive of another release, beside the machine's own.

use anyhow::{Context as _, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use xtask::archive::Archive;
use xtask::checkout;

/// The release it comes from.
pub const RELEASE: &str = "sid";
/// util-linux and every library that lsns loads.
const PACKAGES: [&str; 9] = [
    "util-linux",
    "libblkid1",
    "libc6",
    "libcap2",
    "libmount1",
    "libpcre2-8-0",
    "libselinux1",
    "libsmartcols1",
    "libsystemd0",
];
/// The directory of the libraries in those packages.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The time for which a downloaded one counts as the newest.
const FRESH: Duration = Duration::from_hours(7 * 24);

/// The command that runs it, with the dynamic linker and libraries of its release.
pub fn lsns() -> Result<Vec<OsString>> {
    let archive = Archive::open(false)?;
    let dir = archive.cache().join("util-linux");
    let age = fs::metadata(&dir).and_then(|dir| dir.modified()).ok().and_then(|time| time.elapsed().ok());
    if age.is_none_or(|age| age > FRESH) {
        let packages = PACKAGES.map(|package| format!("{package}/{RELEASE}"));
        let packages = packages.each_ref().map(String::as_str);
        match archive.extract(&packages) {
            Ok(files) => {
                if dir.exists() {
                    fs::remove_dir_all(&dir)?;
                }
                fs::rename(files, &dir)?;
                // The directory has the time of its packages.
                fs::File::open(&dir)?.set_modified(std::time::SystemTime::now())?;
            }
            Err(error) if dir.exists() => {
                eprintln!("bench: WARNING: an earlier lsns, not the newest: {error:#}");
            }
            Err(error) => return Err(error),
        }
    }
    let libraries = dir.join(LIBRARIES);
    let line = [
        libraries.join("ld-linux-x86-64.so.2").into_os_string(),
        "--library-path".into(),
        libraries.into_os_string(),
        dir.join("usr/bin/lsns").into_os_string(),
    ];
    let foreign = foreign_libraries(&line, &dir)?;
    ensure!(foreign.is_empty(), "it would load libraries that are not of {RELEASE}: {}", foreign.join(", "));
    Ok(line.to_vec())
}

/// The libraries that the dynamic linker would take from elsewhere.
fn foreign_libraries(line: &[OsString; 4], dir: &Path) -> Result<Vec<String>> {
    let mut list = Command::new(&line[0]);
    list.args(&line[1..3]).arg("--list").arg(&line[3]);
    let listed = checkout::output(&mut list)?;
    let listed = String::from_utf8(listed.stdout).context("paths of libraries")?;
    Ok(outside(&listed, dir))
}

/// The names in `NAME => PATH (ADDRESS)` whose path is not below `dir`, or is not found.
fn outside(listed: &str, dir: &Path) -> Vec<String> {
    let resolved = listed.lines().filter_map(|line| line.trim().split_once(" => "));
    resolved.filter(|(_, path)| !Path::new(path).starts_with(dir)).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_from_elsewhere_are_found() {
        let listed = "\tlinux-vdso.so.1 (0x00007f71)\n\
            \tlibmount.so.1 => /c/util-linux/usr/lib/libmount.so.1 (0x00007f71)\n\
            \tlibcap.so.2 => /lib/libcap.so.2 (0x00007f71)\n\
            \tlibsystemd.so.0 => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 => /c/util-linux/usr/lib/ld-linux-x86-64.so.2 (0x00007f71)\n";
        assert_eq!(outside(listed, Path::new("/c/util-linux")), ["libcap.so.2", "libsystemd.so.0"]);
    }
}
