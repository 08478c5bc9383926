//! The distribution's archive: packages of its other releases, unpacked and not installed.
//!
//! Uses apt with its own lists and caches: the machine's are not touched, and no privilege is needed.

use crate::checkout;
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The releases that are searched.
const SUITES: &str = "bullseye bookworm trixie sid";
/// The time for which the lists of the archive are considered current.
const FRESH: Duration = Duration::from_hours(7 * 24);

/// apt with one directory for everything it keeps. Locked, because checkouts share the cache.
pub struct Archive {
    cache: PathBuf,
    dir: PathBuf,
    _lock: File,
}

impl Archive {
    /// Waits for other users, and fetches the lists, unless those in the cache are fresh and `update` is false.
    pub fn open(update: bool) -> Result<Self> {
        let cache = checkout::cache();
        fs::create_dir_all(&cache).with_context(|| format!("{}", cache.display()))?;
        let lock = File::create(cache.join("lock")).context("the cache's lock")?;
        lock.lock().context("the cache's lock")?;
        let dir = cache.join("apt");
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("cache/archives/partial"))?;
        let mut configured = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            configured.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        configured.sort();
        let sources = configured
            .iter()
            .filter(|path| path.extension().is_some_and(|ext| ext == "list" || ext == "sources"))
            .find_map(|path| sources(&fs::read_to_string(path).ok()?))
            .context(
                "no archive of Debian among this machine's apt sources: other releases come from there",
            )?;
        fs::write(dir.join("all.sources"), sources)?;
        let archive = Self { cache, dir, _lock: lock };
        if let Err(error) = archive.update(update) {
            eprintln!("xtask: WARNING: not all lists of the archive could be fetched: {error:#}");
        }
        Ok(archive)
    }

    /// The directory that outlives checkouts, see [`checkout::cache`].
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    fn command(&self, program: &str) -> Command {
        let dir = self.dir.display();
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").args([
            &format!("-oDir::Etc::sourcelist={dir}/all.sources"),
            "-oDir::Etc::sourceparts=-",
            &format!("-oDir::State::Lists={dir}/lists"),
            &format!("-oDir::Cache={dir}/cache"),
            // No descriptions, no icons.
            "-oAcquire::Languages=none",
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // A mirror may be a snapshot, and its lists are right for its content however old.
            "-oAcquire::Check-Valid-Until=false",
            "-oAcquire::Retries=3",
            "-oAcquire::http::Timeout=60",
            "-oAPT::Sandbox::User=",
            "-q",
        ]);
        command
    }

    /// Fetches the lists, unless those in the cache are fresh and `anyway` is false.
    fn update(&self, anyway: bool) -> Result<()> {
        let stamp = self.dir.join("updated");
        let age =
            fs::metadata(&stamp).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if !anyway && age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        eprintln!("xtask: fetching the lists of the archive ({SUITES})");
        checkout::output(self.command("apt-get").arg("update"))?;
        File::create(&stamp)?;
        Ok(())
    }

    /// The names of all packages that begin with `prefix`, one per line.
    pub fn names(&self, prefix: &str) -> Result<String> {
        let names = checkout::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        let names = String::from_utf8(names.stdout).context("names of packages")?;
        ensure!(!names.is_empty(), "the list is empty");
        Ok(names)
    }

    /// Downloads `packages`, each a name or `NAME/RELEASE`, and unpacks them into one directory, which exists until
    /// the next call.
    pub fn extract(&self, packages: &[&str]) -> Result<PathBuf> {
        eprintln!("xtask: downloading {}", packages.join(" "));
        let work = self.dir.join("work");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir(&work)?;
        checkout::output(self.command("apt-get").arg("download").args(packages).current_dir(&work))?;
        let files = work.join("files");
        for entry in fs::read_dir(&work)? {
            checkout::output(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(&files))?;
        }
        ensure!(files.exists(), "apt-get downloaded nothing");
        Ok(files)
    }
}

/// The first regular file below `dir` whose name satisfies `wanted`.
pub fn find(dir: &Path, wanted: fn(&str) -> bool) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(wanted) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// apt sources (deb822) for [`SUITES`] from the same archive as the first of Debian in `text`, a file of apt sources
/// in either format.
fn sources(text: &str) -> Option<String> {
    let archive = |uri: &str| uri.trim_end_matches('/').ends_with("/debian");
    let stanza = |uri: &str, signed_by: Option<&str>| {
        let signed_by = signed_by.map_or(String::new(), |keys| format!("Signed-By: {keys}\n"));
        format!("Types: deb\nURIs: {uri}\nSuites: {SUITES}\nComponents: main\n{signed_by}")
    };
    let of_stanza = |block: &str| {
        let field = |name| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let uri = field("URIs:")?.split_whitespace().find(|uri| archive(uri))?;
        Some(stanza(uri, field("Signed-By:")))
    };
    let of_line = |line: &str| {
        let mut words = line.strip_prefix("deb ")?.split_whitespace();
        let uri = words.clone().find(|uri| archive(uri))?;
        let signed_by = words.find_map(|word| Some(word.split_once("signed-by=")?.1.trim_end_matches(']')));
        Some(stanza(uri, signed_by))
    };
    text.split("\n\n").find_map(of_stanza).or_else(|| text.lines().find_map(of_line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_both_formats_are_parsed() {
        let wanted = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bullseye bookworm trixie sid\n\
            Components: main\nSigned-By: /keys.gpg\n";
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: x-security\n\n\
            Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm\nSigned-By: /keys.gpg\n";
        assert_eq!(sources(deb822).as_deref(), Some(wanted));
        let lines = "# deb http://old.example/debian x main\n\
            deb [arch=amd64 signed-by=/keys.gpg] http://mirror.example/debian bookworm main\n";
        assert_eq!(sources(lines).as_deref(), Some(wanted));
        let unsigned = "deb http://mirror.example/debian/ bookworm main contrib\n";
        assert!(!sources(unsigned).expect("an archive").contains("Signed-By"));
        assert_eq!(sources("deb http://mirror.example/ubuntu noble main\n"), None);
    }
}
