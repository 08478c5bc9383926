//! The quantities that a tenant controls, taken to extremes, and the cost of a snapshot of them: the figures of
//! docs/limits.md.
//!
//! Each stage is a process in a separate mount namespace, which ends with its input.

use super::table::thousands;
use crate::ending;
use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::time::TimeValLike as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A quantity, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Quantity {
    /// Processes with 5.7 MB of arguments
    Arguments,
    /// Threads
    Threads,
    /// Threads with a table of descriptors of their own, each with a namespace open
    Tables,
    /// Descriptors of a namespace
    Descriptors,
    /// Mounts of a namespace
    NamespaceMounts,
    /// Mounts
    Mounts,
    /// Mounts on one another
    StackedMounts,
}

/// The quantities with the number staged, in full and for a quick run.
const STAGES: [(Quantity, &str, usize, usize); 7] = [
    (Quantity::Arguments, "processes with 5.7 MB of arguments", 60, 4),
    (Quantity::Threads, "threads", 30_000, 500),
    (Quantity::Tables, "threads with a table of descriptors of their own", 10_000, 200),
    (Quantity::Descriptors, "descriptors of a namespace", 20_000, 1000),
    (Quantity::NamespaceMounts, "mounts of a namespace", 5000, 300),
    (Quantity::Mounts, "mounts", 10_000, 500),
    (Quantity::StackedMounts, "mounts on one another", 20_000, 500),
];

/// The hidden command of this program that stages a quantity.
#[derive(clap::Args)]
pub struct Stage {
    #[arg(value_enum)]
    quantity: Quantity,
    count: usize,
}

/// Measures nsprobe next to each quantity, and without any.
pub fn measure(nsprobe: &Path, quick: bool) -> Result<String> {
    let mut text = measured(nsprobe, "nothing")?;
    for (quantity, name, full, few) in STAGES {
        let count = if quick { few } else { full };
        let name = format!("{} {name}", thousands(count));
        eprintln!("bench: {name}");
        let staged = Staged::start(quantity, count).with_context(|| name.clone())?;
        text += &measured(nsprobe, &name)?;
        drop(staged);
    }
    let head =
        "| staged | command | wall s | processor s | peak MB | output KB |\n|---|---|---|---|---|---|\n";
    Ok(format!("{head}{text}"))
}

/// The rows of the table for the current stage.
fn measured(nsprobe: &Path, name: &str) -> Result<String> {
    let snapshot = std::env::temp_dir().join(format!("nsprobe-bench-{}.json", std::process::id()));
    let document = Command::new(nsprobe).args(["list", "--json"]).output()?.stdout;
    fs::write(&snapshot, document)?;
    let path = snapshot.to_str().context("the temporary directory is not UTF-8")?;
    let mut rows = Vec::new();
    for args in [&["list"][..], &["list", "--json"], &["tree", "--all"], &["diff", path]] {
        let mut command = Command::new(nsprobe);
        command.args(args);
        let (began, before) = (Instant::now(), children()?);
        let ended = ending::inspect(&command, ending::peak_memory)?;
        let (wall, processor) = (began.elapsed(), children()?.saturating_sub(before));
        // `diff` exits with 1 if something has changed.
        ensure!(matches!(ended.status.code(), Some(0 | 1)), "{args:?}: {}", ended.status);
        rows.push(format!(
            "| {name} | `{}` | {:.2} | {:.2} | {} | {} |\n",
            args.join(" ").replace(path, "SNAPSHOT"),
            wall.as_secs_f64(),
            processor.as_secs_f64(),
            ended.seen / 1024,
            ended.stdout.len() / 1000
        ));
    }
    fs::remove_file(&snapshot)?;
    Ok(rows.concat())
}

/// Processor time of the children that have ended.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(u64::try_from(time.num_microseconds())?))
}

/// A process that has staged something, until this is dropped.
struct Staged(Child);

impl Staged {
    fn start(quantity: Quantity, count: usize) -> Result<Self> {
        let name = clap::ValueEnum::to_possible_value(&quantity).context("no name")?;
        let child = Command::new("unshare")
            .args(["-m", "--propagation", "private"])
            .arg(std::env::current_exe()?)
            .args(["stage", name.get_name(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let mut staged = Self(child);
        let mut line = String::new();
        BufReader::new(staged.0.stdout.take().context("a pipe")?).read_line(&mut line)?;
        ensure!(line == READY, "could not be staged");
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

const READY: &str = "ready\n";

/// The uts namespace of this thread.
fn namespace() -> std::io::Result<File> {
    File::open("/proc/thread-self/ns/uts")
}

/// Stages a quantity, and waits for the end of the input.
pub fn stage(stage: &Stage) -> Result<()> {
    let count = stage.count;
    let mut kept: (Vec<Child>, Vec<File>) = Default::default();
    match stage.quantity {
        Quantity::Arguments => kept.0 = arguments(count)?,
        Quantity::Threads => threads(count, || Ok(None))?,
        Quantity::Tables => threads(count, || {
            unshare(CloneFlags::CLONE_FILES)?;
            Ok(Some(namespace()?))
        })?,
        Quantity::Descriptors => {
            let limit = count as u64 + 100;
            setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
            unshare(CloneFlags::CLONE_NEWUTS)?;
            kept.1 = (0..count).map(|_| namespace()).collect::<Result<_, _>>()?;
        }
        Quantity::NamespaceMounts | Quantity::Mounts | Quantity::StackedMounts => {
            mounts(stage.quantity, count)?;
        }
    }
    std::io::stdout().write_all(READY.as_bytes())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for child in &mut kept.0 {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

fn arguments(count: usize) -> Result<Vec<Child>> {
    // The kernel refuses more than a quarter of the stack's limit, and more than 128 KiB in one argument.
    setrlimit(Resource::RLIMIT_STACK, 64 << 20, 64 << 20)?;
    let long = "0".repeat(126_000);
    let start = |_| Command::new("sleep").arg("1000").args(vec![&long; 45]).stdout(Stdio::null()).spawn();
    Ok((0..count).map(start).collect::<Result<_, _>>()?)
}

fn threads(count: usize, make: fn() -> Result<Option<File>>) -> Result<()> {
    let (reports, received) = channel();
    for _ in 0..count {
        let reports = reports.clone();
        let sleeping = move || {
            let made = make();
            // Nobody receives any more once one has failed.
            let _ = reports.send(made.as_ref().map(drop).map_err(ToString::to_string));
            std::thread::sleep(Duration::from_hours(1));
            drop(made);
        };
        std::thread::Builder::new().stack_size(16 * 1024).spawn(sleeping)?;
    }
    for made in received.iter().take(count) {
        made.map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

/// In a tmpfs that nobody else sees, mounted over an existing directory.
fn mounts(quantity: Quantity, count: usize) -> Result<()> {
    let (none, top) = (None::<&str>, Path::new("/mnt"));
    mount(Some("bench"), top, Some("tmpfs"), MsFlags::empty(), none)?;
    let source = if quantity == Quantity::NamespaceMounts { "/proc/self/ns/uts" } else { "/mnt" };
    for index in 0..count {
        let name = top.join(format!("m{index}"));
        let at = match quantity {
            Quantity::NamespaceMounts => {
                File::create(&name)?;
                &name
            }
            Quantity::Mounts => {
                fs::create_dir(&name)?;
                &name
            }
            _ => top,
        };
        mount(Some(source), at, none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}
