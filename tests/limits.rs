//! Quantities that a tenant controls: each is staged beyond its limit (docs/limits.md).

use crate::support::orphans::inode;
use crate::support::stage::{Staged, succeed, wait};
use crate::support::{self, Ran, json, nsprobe, proc, run};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The test whose stage a separate process has to build, which is this program again.
const STAGE: &str = "NSPROBE_TEST_STAGE";

/// True in that process.
fn is_stage() -> bool {
    std::env::var_os(STAGE).is_some()
}

/// A process that stages what the test `name` makes when [`is_stage`], until this is dropped.
struct Stage(Child);

impl Stage {
    fn of(name: &str) -> Self {
        Self::with(name, "1".as_ref())
    }

    /// The same with something for the process to read.
    fn with(name: &str, value: &OsStr) -> Self {
        Self::by(Command::new(std::env::current_exe().expect("this program")), name, value)
    }

    /// The same in a separate mount namespace.
    fn apart(name: &str, value: &OsStr) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private"]).arg(std::env::current_exe().expect("this program"));
        Self::by(command, name, value)
    }

    fn by(mut command: Command, name: &str, value: &OsStr) -> Self {
        command.args(["--exact", name, "--test-threads=1", "--nocapture"]).env(STAGE, value);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut stage = Self(child.expect("it starts"));
        let mut text = Vec::new();
        let stdout = stage.0.stdout.as_mut().expect("a pipe");
        while !text.ends_with(READY.as_bytes()) {
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("it stages what it was started for");
            text.push(byte[0]);
        }
        stage
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const READY: &str = "everything is staged\n";

/// Reports that everything is staged, and waits to be ended.
fn stay() {
    std::io::stdout().write_all(READY.as_bytes()).expect("a pipe");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Runs nsprobe with `args` and 64 MiB of memory, part of which its threads' stacks take.
fn with_little_memory(args: &str, input: Stdio) -> Ran {
    let script = format!("ulimit -d 65536; exec \"$0\" {args}");
    let program = nsprobe().get_program().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program).env("LC_ALL", "C.UTF-8").env_remove("COLUMNS");
    support::on_terminal(command.stdin(input), 80)
}

/// Eight processes with 5.7 MB of arguments each.
fn long_winded() -> Staged {
    // The kernel refuses more than a quarter of the stack's limit.
    let script = "ulimit -s 65536; x=$(printf '%0126000d' 0); y=\"$x $x $x $x $x $x $x $x $x\"
        for i in 1 2 3 4 5 6 7 8; do unshare --uts sleep 1000 $y $y $y $y $y & done; wait";
    Staged::sh(script)
}

#[test]
fn arguments_are_kept_to_a_limit_and_what_is_cut_is_said() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let staged = long_winded();
    let sleeping = || {
        let family = staged.family();
        let long: Vec<u32> =
            family.into_iter().filter(|&pid| proc::comm(pid).as_deref() == Some("sleep")).collect();
        (long.len() == 8).then_some(long)
    };
    let pids = wait(sleeping).expect("eight processes");
    let size = fs::read(format!("/proc/{}/cmdline", pids[0])).expect("arguments").len();
    assert!(size > 5_000_000, "{size} bytes of arguments");
    for source in ["proc", "auto"] {
        let ran = with_little_memory(&format!("list --json --source {source}"), Stdio::null());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.len() < 1_000_000, "{} bytes", ran.stdout.len());
        let list: Value = serde_json::from_str(&ran.stdout).expect("a document");
        let processes = list["processes"].as_array().expect("processes");
        for process in processes.iter().filter(|process| pids.iter().any(|&pid| process["pid"] == pid)) {
            let arguments = process["arguments"].as_array().expect("arguments");
            let kept: usize = arguments.iter().map(|text| text.as_str().expect("text").len() + 1).sum();
            assert!((4096..=4097).contains(&kept), "{kept} bytes");
            assert_eq!((&arguments[1], &process["arguments_cut"]), (&"1000".into(), &true.into()));
        }
        let own = processes.iter().find(|process| process["comm"] == "nsprobe").expect("nsprobe itself");
        assert_eq!(own["arguments_cut"], false);
    }
    // On a terminal of 80 columns each row is one line that fits; the time to lay it out does not depend on its
    // length.
    for args in ["list", "list --holders", "tree --all --ascii"] {
        let ran = with_little_memory(args, Stdio::null());
        assert_eq!(ran.code, Some(0), "{args}: {}", ran.stderr);
        let rows: Vec<&str> = ran.stdout.lines().filter(|line| line.contains("sleep")).collect();
        assert!(rows.len() >= 8, "{args}: {}", ran.stdout);
        let widest = rows.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80) || args == "list --holders", "{args}: {widest:?}");
    }
    let document = run(&["list", "--json"]).stdout;
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(document.as_bytes()).expect("a document");
    std::io::Seek::rewind(&mut file).expect("a file");
    let ran = with_little_memory("diff --json -", file.into());
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
    assert!(ran.stdout.len() < 1_000_000, "{} bytes", ran.stdout.len());
}

/// The number of staged threads with a separate table of descriptors.
const TABLES: usize = 150;

#[test]
fn tables_of_threads_need_few_comparisons() {
    let _limit = support::time_limit();
    if is_stage() {
        let (sender, receiver) = std::sync::mpsc::channel();
        for _ in 0..TABLES {
            let sender = sender.clone();
            let own_table = move || {
                unshare(CloneFlags::CLONE_FILES).expect("a separate table");
                let namespace = File::open("/proc/thread-self/ns/net").expect("a namespace");
                sender.send(()).expect("somebody waits");
                std::thread::sleep(Duration::from_hours(1));
                drop(namespace);
            };
            std::thread::Builder::new().stack_size(64 * 1024).spawn(own_table).expect("a thread");
        }
        receiver.iter().take(TABLES).for_each(drop);
        return stay();
    }
    if !support::root() {
        return;
    }
    let stage = Stage::of("limits::tables_of_threads_need_few_comparisons");
    let holders = |source: &str| {
        let net = proc::namespace(stage.pid(), "net").expect("a namespace");
        let list = json(&["list", "--json", "--source", source, "--ns", &format!("net:[{net}]")]);
        let namespace = &list["namespaces"][0];
        let holders = namespace["holders"].as_array().expect("holders");
        let own = holders.iter().filter(|holder| holder["pid"] == stage.pid()).count();
        (own, namespace["holders_omitted"].as_u64().expect("a count"))
    };
    // 64 are listed for one process.
    let (listed, omitted) = holders("proc");
    assert!(listed == 64 && omitted >= TABLES as u64 - 64, "{listed} listed, {omitted} omitted");
    if support::bpf() {
        let (listed, omitted) = holders("bpf");
        assert!(listed == 64 && omitted >= TABLES as u64 - 64, "{listed} listed, {omitted} omitted");
    }
    let counts = tempfile::NamedTempFile::new().expect("a file");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=kcmp", "-o"]).arg(counts.path()).arg(nsprobe().get_program());
    succeed(strace.args(["list", "--source", "proc"]));
    let pid = stage.pid().to_string();
    let tids: Vec<String> = fs::read_dir(format!("/proc/{pid}/task"))
        .expect("threads")
        .map(|task| task.expect("a thread").file_name().into_string().expect("a number"))
        .collect();
    let text = fs::read_to_string(counts.path()).expect("what strace wrote");
    let is_theirs = |line: &&str| tids.iter().any(|tid| line.contains(&format!("kcmp({tid},")));
    let comparisons = text.lines().filter(is_theirs).count();
    // Each with its process's, then sorted: with each other would be 11,000.
    assert!((TABLES..=TABLES * 10).contains(&comparisons), "{comparisons} comparisons");
}

#[test]
fn the_source_is_chosen_by_threads_and_not_by_processes() {
    let _limit = support::time_limit();
    if is_stage() {
        for _ in 0..200 {
            let sleeping = || std::thread::sleep(Duration::from_hours(1));
            std::thread::Builder::new().stack_size(64 * 1024).spawn(sleeping).expect("a thread");
        }
        return stay();
    }
    if !support::bpf() {
        return;
    }
    let stage = Stage::of("limits::the_source_is_chosen_by_threads_and_not_by_processes");
    let list = json(&["list", "--json"]);
    assert_eq!(list["processes_from"], "bpf");
    let processes = list["processes"].as_array().expect("processes");
    let process = processes.iter().find(|process| process["pid"] == stage.pid()).expect("it is there");
    assert!(process["threads"].as_u64() > Some(200), "{process}");
}

#[test]
fn descriptors_of_one_process_are_counted_beyond_a_limit() {
    let _limit = support::time_limit();
    if is_stage() {
        let namespace = File::open("/proc/self/ns/uts").expect("a namespace");
        unshare(CloneFlags::CLONE_NEWUTS).expect("another");
        let same: Vec<File> = (0..300).map(|_| namespace.try_clone().expect("a descriptor")).collect();
        let path = std::env::var_os(STAGE).expect("a file");
        let own =
            File::open("/proc/thread-self/ns/uts").expect("the other").metadata().expect("its inode").ino();
        fs::write(path, own.to_string()).expect("a report");
        let own: Vec<File> =
            (0..300).map(|_| File::open("/proc/thread-self/ns/uts").expect("a descriptor")).collect();
        unshare(CloneFlags::CLONE_NEWUTS).expect("a third");
        stay();
        return drop((same, own));
    }
    if !support::root() {
        return;
    }
    let report = tempfile::NamedTempFile::new().expect("a file");
    let name = "limits::descriptors_of_one_process_are_counted_beyond_a_limit";
    let stage = Stage::with(name, report.path().as_os_str());
    let ino: u64 = fs::read_to_string(report.path()).expect("a report").parse().expect("an inode");
    let name = format!("uts:[{ino}]");
    let namespace = support::orphans::find("uts", ino);
    assert_eq!(namespace["nprocs_seen"], 0);
    let holders = namespace["holders"].as_array().expect("holders");
    // An nsprobe of another test may read it now, and hold it as well.
    let own = holders.iter().filter(|holder| holder["pid"] == stage.pid()).count();
    assert_eq!((own, &namespace["holders_omitted"]), (64, &236.into()), "{holders:?}");
    let text = run(&["list", "--ns", &name]).stdout;
    assert!((292..300).any(|more| text.contains(&format!(", and {more} more)"))), "{text}");
    let text = run(&["list", "--holders", "--ns", &name]).stdout;
    let own = format!(" descriptor {} ", stage.pid());
    let rows = text.lines().filter(|line| line.contains(&own)).count();
    assert!(text.contains("236 more of the same") && rows == 64, "{text}");
}

/// Creates `path` and mounts something on it: a tmpfs, or by a bind mount what is at `source`.
fn mount(source: Option<&str>, path: &Path) {
    let (none, flags) = (None::<&str>, if source.is_some() { MsFlags::MS_BIND } else { MsFlags::empty() });
    match source {
        Some(source) if source.ends_with("uts") => File::create(path).map(drop).expect("a file"),
        _ => fs::create_dir(path).expect("a directory"),
    }
    let kind = source.is_none().then_some("tmpfs");
    nix::mount::mount(Some(source.unwrap_or("x")), path, kind, flags, none).expect("a mount");
}

const UTS: &str = "/proc/thread-self/ns/uts";

/// Mounts more in `dir` than is read of a mount namespace at once: 1,000 directories, then one namespace 100 times,
/// then one at a path that is too long, then 20 below a mount that hides them.
fn mount_many(dir: &Path) {
    let first = File::open(UTS).expect("a namespace");
    let new = || unshare(CloneFlags::CLONE_NEWUTS).expect("a namespace");
    let top = dir.join("top");
    mount(None, &top);
    for number in 0..1000 {
        mount(top.to_str(), &dir.join(format!("d{number}")));
    }
    new();
    (0..100).for_each(|number| mount(Some(UTS), &top.join(format!("many{number}"))));
    fs::create_dir(top.join("hidden")).expect("a directory");
    for number in 0..20 {
        new();
        mount(Some(UTS), &top.join(format!("hidden/h{number}")));
    }
    nix::mount::mount(Some("x"), &top.join("hidden"), Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .expect("a mount");
    new();
    std::env::set_current_dir(&top).expect("a directory");
    for _ in 0..20 {
        let name = "n".repeat(250);
        fs::create_dir(&name).and_then(|()| std::env::set_current_dir(&name)).expect("a directory");
    }
    mount(Some(UTS), Path::new("long"));
    nix::sched::setns(first, CloneFlags::CLONE_NEWUTS).expect("back");
}

#[test]
fn of_mounts_without_end_no_more_is_kept_than_a_limit() {
    let _limit = support::time_limit();
    if is_stage() {
        mount_many(Path::new(&std::env::var_os(STAGE).expect("a directory")));
        return stay();
    }
    if !support::root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let name = "limits::of_mounts_without_end_no_more_is_kept_than_a_limit";
    let stage = Stage::apart(name, dir.path().as_os_str());
    let path = format!("/proc/{}/mountinfo", stage.pid());
    let mountinfo = fs::read_to_string(path).expect("mounts");
    let mounted = |path: &str| {
        let line = mountinfo.lines().find(|line| line.contains(path) && line.contains(" - nsfs "));
        line.and_then(|line| line.split(' ').nth(3)).expect("a mount").to_owned()
    };
    let ran = with_little_memory("list --json --source proc", Stdio::null());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let list: Value = serde_json::from_str(&ran.stdout).expect("a document");
    let all = list["namespaces"].as_array().expect("namespaces");
    let find = |link: String| {
        let ino = inode(Path::new(&link));
        all.iter().find(|ns| ns["ino"] == ino && ns["kind"] == "uts").expect("it is found")
    };
    let mounts = |ns: &Value| {
        let holders = ns["holders"].as_array().expect("holders");
        // Not the descriptors of another test's nsprobe.
        holders.iter().filter(|holder| holder["type"] == "bind_mount").count()
    };
    let many = find(mounted("many0"));
    assert_eq!((mounts(many), &many["holders_omitted"]), (64, &36.into()), "{many}");
    let long = find(mounted("/long "));
    assert_eq!((mounts(long), &long["holders_omitted"]), (0, &1.into()), "{long}");
    let gaps = list["gaps"].as_array().expect("gaps");
    assert!(gaps.iter().any(|gap| gap["reason"] == "mounted at a path of more than 4,096 bytes"), "{gaps:?}");
    for number in 0..20 {
        find(mounted(&format!("/hidden/h{number} ")));
    }
    // They are not read once more for each namespace that is hidden.
    let calls = tempfile::NamedTempFile::new().expect("a file");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-e", "trace=read", "-o"]).arg(calls.path());
    succeed(strace.arg(nsprobe().get_program()).args(["list", "--source", "proc"]));
    let text = fs::read_to_string(calls.path()).expect("what strace wrote");
    let own = format!("/proc/{}/mountinfo>", stage.pid());
    let reads = text.lines().filter(|line| line.contains(&own)).count();
    assert!((1..mountinfo.len() / 4096 * 50).contains(&reads), "{reads} reads of {} bytes", mountinfo.len());
}

#[test]
fn a_chain_of_processes_nests_no_deeper_than_readers_take() {
    let _limit = support::time_limit();
    let script = "[ $1 = 0 ] && exec sleep 1000; \"$0\" -c \"$2\" \"$0\" $(($1 - 1)) \"$2\"; true";
    let mut command = Command::new("sh");
    let mut staged = Staged::spawn(command.args(["-c", script, "sh", "80", script]));
    let last = staged.wait_for("sleep");
    let pid = last.to_string();
    // Parsed by a reader that takes 128 levels.
    let tree = json(&["tree", "--json", "--pid", &pid]);
    let (mut at, mut levels) = (&tree["roots"], 0);
    let mut seen = 0;
    while let Some(nodes) = at.as_array().filter(|nodes| !nodes.is_empty()) {
        levels += 1;
        seen += nodes.len();
        at = &nodes[0]["children"];
    }
    assert_eq!(levels, 48);
    assert!(seen > 80, "all of them: {seen}");
    let parent = staged.family()[80].to_string();
    let text = run(&["tree", "--pid", &pid]).stdout;
    assert!(text.contains(&format!("─ {pid} sleep")) && text.contains(&parent), "{text}");
}

#[test]
fn what_is_no_document_is_read_no_further_than_it_takes_to_see_that() {
    let _limit = support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    // A sparse file of a tebibyte, a FIFO that nobody writes to, endlessly nested arrays.
    File::create(path("sparse")).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    nix::unistd::mkfifo(path("fifo").as_str(), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    fs::write(path("nested"), "[".repeat(1 << 20)).expect("a file");
    let ignored = format!(
        "{{\"schema\":{{\"name\":\"nsprobe.list\",\"version\":\"1.0\"}},\"x\":{}",
        "[".repeat(1 << 20)
    );
    fs::write(path("ignored"), ignored).expect("a file");
    for file in ["/dev/zero", &path("sparse"), &path("fifo"), &path("nested"), &path("ignored")] {
        let start = Instant::now();
        let ran = with_little_memory(&format!("diff {file} {file}"), Stdio::null());
        assert_eq!(ran.code, Some(2), "{file}: {}", ran.stderr);
        assert!(ran.stderr.starts_with(&format!("nsprobe: {file}: ")), "{}", ran.stderr);
        assert!(start.elapsed() < Duration::from_mins(1), "{file}: {:?}", start.elapsed());
    }
    // A snapshot has each process and namespace once.
    let document = run(&["list", "--json"]).stdout;
    for part in ["\"key\":\"net", "\"start_ticks\":"] {
        let line = document.lines().find(|line| line.contains(part)).expect("a line").trim_end_matches(',');
        fs::write(path("twice"), document.replacen(line, &format!("{line},{line}"), 1)).expect("a file");
        let ran = run(&["diff", &path("twice")]);
        assert!(
            ran.code == Some(2) && ran.stderr.contains("twice, so it is not a snapshot"),
            "{}",
            ran.stderr
        );
    }
}
