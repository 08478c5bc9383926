//! Running `nsprobe trace`, and strace(1) on the same processes to compare with.

use super::flood::FLOODING;
use super::{Ran, nsprobe, skipped};
use nsprobe::trace::hooks::Plan;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

/// Runs `test` with every plan that loads on this kernel, and reports which does not, and why. A plan named in
/// `NSPROBE_TEST_SOURCE` must load.
pub fn each_plan(test: impl Fn(&str)) {
    let demanded = std::env::var("NSPROBE_TEST_SOURCE").unwrap_or_default();
    for (plan, refusal) in plans() {
        match refusal {
            None => test(plan),
            Some(why) => {
                assert!(!demanded.split(',').any(|name| name == *plan), "{plan} must load: {why}");
                skipped(&format!("the source `{plan}`: {why}"));
            }
        }
    }
}

/// Runs `test` with one plan that loads, for behaviour that does not depend on the hook: fentry if nsprobe prefers
/// them and they load, otherwise tracepoints.
pub fn one_plan(test: impl FnOnce(&str)) {
    if let Some((plan, _)) = plans().iter().find(|(_, refusal)| refusal.is_none()) {
        test(plan);
    }
}

/// The plans that nsprobe chooses from on such a kernel, the better first, with the reason if one does not load; none
/// without the privileges. If the kernel preempts its own tasks, fentry is not among them: other tasks can blind
/// them.
fn plans() -> &'static [(&'static str, Option<String>)] {
    static PLANS: OnceLock<[(&str, Option<String>); 2]> = OnceLock::new();
    if !super::root() {
        return &[];
    }
    let plans = PLANS.get_or_init(|| {
        let of_functions = if chosen() == "fprobes" { "fprobes" } else { "fentry" };
        [of_functions, "tracepoints"].map(|plan| (plan, try_out(plan)))
    });
    assert!(plans.iter().any(|(_, refusal)| refusal.is_none()), "no plan loads: {plans:?}");
    plans
}

/// The plan of this name, of those that use the probe.
pub fn of_probe(name: &str) -> Plan {
    Plan::OF_PROBE.into_iter().find(|plan| plan.name() == name).expect("a plan of the probe")
}

/// Runs `test` with each source of events: the probe, with one plan that loads, and those that need no BPF.
pub fn each_source(test: impl Fn(&str)) {
    one_plan(&test);
    if super::root() {
        ["perf", "proc"].into_iter().for_each(test);
    }
}

/// The reason why a plan does not load; `None` if it does. Needs root.
pub fn refusal(plan: &str) -> Option<String> {
    match plans().iter().find(|(name, _)| *name == plan) {
        Some((_, refusal)) => refusal.clone(),
        None => try_out(plan),
    }
}

/// The plan that nsprobe chooses.
pub fn chosen() -> String {
    let ran = super::run(&["trace", "--json", "--quiet", "--duration", "1ms"]);
    let start: Value =
        ran.stdout.lines().next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    start["source"]["name"].as_str().unwrap_or_default().to_owned()
}

fn try_out(plan: &str) -> Option<String> {
    let ran = super::run(&["trace", "--quiet", "--source", plan, "--duration", "1ms"]);
    (ran.code != Some(0)).then(|| ran.stderr.trim().to_owned())
}

/// The part of a line that reports calls left out by the kernel.
pub const LEFT_OUT: &str = r#""stage":"recursion""#;

/// Runs `trace`, again if necessary, and returns what it wrote.
///
/// If tasks are preempted in the kernel (always from 7.0 on), a program of the probe may be, and the kernel leaves
/// out calls of other tasks on that CPU meanwhile. The stream reports that, but the test is not about it.
pub fn retry(trace: impl Fn() -> Ran) -> Ran {
    for _ in 0..6 {
        let ran = trace();
        match ran.stdout.lines().find(|line| line.contains(LEFT_OUT)) {
            Some(lost) => eprintln!("AGAIN: {lost}"),
            None => return ran,
        }
    }
    panic!("six times the kernel left out calls of others while a program was preempted");
}

/// The number of lost events, by stage, in the text output.
pub fn lost(text: &str) -> BTreeMap<&str, u64> {
    let mut lost = BTreeMap::new();
    let mut text = text;
    while let Some((at, rest)) = text.split_once(" lost because ") {
        let count = at.rsplit(' ').next().and_then(|word| word.parse().ok());
        let stage = rest.split_once('(').and_then(|(_, stage)| stage.split([':', ')']).next());
        lost.insert(stage.expect("a stage"), count.expect("a number"));
        text = rest;
    }
    lost
}

/// A whole stream of `nsprobe trace --json`.
pub struct Stream {
    pub code: Option<i32>,
    pub stderr: String,
    pub lines: Vec<Value>,
}

impl Stream {
    /// Traces with `args`, to the end, and checks the invariants of every stream.
    pub fn record<S: AsRef<OsStr> + std::fmt::Debug>(args: &[S]) -> Self {
        Self::retry(|| {
            nsprobe().args(["trace", "--json"]).args(args).output().expect("nsprobe starts").into()
        })
    }

    /// Checks the invariants of the stream that `trace` writes, which is run again if necessary, see [`retry`].
    pub fn retry(trace: impl Fn() -> Ran) -> Self {
        Self::check(retry(trace))
    }

    /// Parses the output of `nsprobe trace --json`.
    pub fn check(ran: Ran) -> Self {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let lines: Vec<Value> = ran.stdout.lines().map(parse).collect();
        assert!(!lines.is_empty(), "no line at all: {}", ran.stderr);
        for (seq, line) in lines.iter().enumerate() {
            assert_eq!(line["seq"], seq, "{line}");
            let time = line["time"].as_str().unwrap_or_default();
            assert!(time.len() == 30 && time.ends_with('Z') && time.contains('T'), "{line}");
        }
        let kinds = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
        assert_eq!((lines[0]["type"].as_str(), kinds("start")), (Some("start"), 1), "{}", lines[0]);
        let last = &lines[lines.len() - 1];
        assert_eq!((last["type"].as_str(), kinds("end")), (Some("end"), 1), "{last}");
        assert_eq!(last["totals"]["events"], kinds("event"), "{last}");
        // See `retry`: these tests compare the events with the calls they made, so a gap is noticed.
        let lost = last["totals"]["lost"].as_array().expect("a list");
        // Events lost by users who flood in another test belong to that test.
        let of_a_flood = |lost: &Value| {
            let owners = lost["owners"].as_array().expect("a list");
            let floods = |owner: &Value| FLOODING.map(Value::from).any(|uid| owner["uid"] == uid);
            // Some are counted after their owners were read: the counts may differ.
            lost["stage"] == "share" && !owners.is_empty() && owners.iter().all(floods)
        };
        assert!(lost.iter().all(|lost| lost["stage"] == "recursion" || of_a_flood(lost)), "{last}");
        Self { code: ran.code, stderr: ran.stderr, lines }
    }

    pub fn events(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(|line| line["type"] == "event")
    }

    /// The events of one kind.
    pub fn of(&self, event: &str) -> Vec<&Value> {
        self.events().filter(|line| line["event"] == event).collect()
    }

    pub fn end_reason(&self) -> &str {
        self.lines.last().and_then(|end| end["reason"].as_str()).expect("an end with a reason")
    }
}

/// The clones that are compared: by default nsprobe reports those that create a namespace.
#[derive(Clone, Copy, PartialEq)]
pub enum Clones {
    Namespaces,
    All,
}

/// Traces `sh -c script` with strace(1) inside nsprobe, so that both see exactly the same calls, and compares the
/// two: same threads, same calls in the same order, same arguments, same results. Returns nsprobe's stream and what
/// the script wrote to fd 3, its own report.
pub fn beside_strace(plan: &str, script: &str) -> (Stream, String) {
    let Comparison { stream, report, differences, .. } =
        compare_with_strace(plan, Clones::Namespaces, script);
    assert!(differences.is_empty(), "{differences:#?}\n{}", stream.stderr);
    (stream, report)
}

/// The result of a comparison.
pub struct Comparison {
    pub stream: Stream,
    /// The text that the script wrote to fd 3.
    pub report: String,
    /// The number of calls that were compared.
    pub calls: usize,
    /// The number of calls that the kernel left out, as the stream says, because a program of nsprobe was preempted.
    pub missing: usize,
    /// The threads whose calls differ, each with the first calls that do.
    pub differences: Vec<String>,
}

/// Does the same with these clones, and leaves the verdict to the caller. Calls that the kernel left out are counted where
/// all clones are compared, which takes too long to be repeated, and repeated otherwise.
pub fn compare_with_strace(plan: &str, clones: Clones, script: &str) -> Comparison {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (log, report) = (dir.path().join("strace"), dir.path().join("report"));
    let script = format!("exec 3>{}\n{script}", report.display());
    let prefix = log.join("log");
    let calls = "trace=unshare,setns,chroot,pivot_root,clone,clone3,fork,vfork";
    let mut args: Vec<&OsStr> = ["--all", "--source", plan].map(OsStr::new).into();
    if clones == Clones::All {
        args.extend(["--clone", "all"].map(OsStr::new));
    }
    args.extend(["--", "strace", "-ff", "-A", "-qq", "-e", calls, "-e", "signal=none", "-o"].map(OsStr::new));
    args.extend([prefix.as_os_str(), "sh".as_ref(), "-c".as_ref(), script.as_ref()]);
    let trace = || {
        // strace appends to the files of an earlier attempt.
        let _ = std::fs::remove_dir_all(&log);
        std::fs::create_dir(&log).expect("a directory for strace");
        nsprobe().args(["trace", "--json"]).args(&args).output().expect("nsprobe starts").into()
    };
    let stream = if clones == Clones::All { Stream::check(trace()) } else { Stream::retry(trace) };
    assert_eq!(stream.lines[0]["source"]["name"], plan);
    assert_eq!(stream.lines[0]["source"]["missing"], serde_json::json!([]));
    let theirs = straced(&log, clones);
    let mut ours: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for event in stream.events() {
        // strace does not show which other clones lead to a new namespace.
        if clones == Clones::Namespaces
            && event["event"] == "clone"
            && !event["args"]["flags"].to_string().contains("CLONE_NEW")
        {
            continue;
        }
        let tid = event["process"]["tid"].as_u64().expect("a tid");
        // strace(1) itself, which starts the processes that it traces.
        if event["process"]["comm"] != "strace" || theirs.contains_key(&tid) {
            ours.entry(tid).or_default().push(as_strace(event));
        }
    }
    let lost = stream.lines[stream.lines.len() - 1]["totals"]["lost"].as_array().expect("a list");
    let left_out = lost.iter().filter(|lost| lost["stage"] == "recursion");
    let left_out = left_out.filter_map(|lost| lost["count"].as_u64()).sum::<u64>();
    let (missing, differences) = differences(&ours, &theirs, usize::try_from(left_out).expect("few"));
    Comparison {
        stream,
        report: std::fs::read_to_string(&report).unwrap_or_default(),
        calls: theirs.values().map(Vec::len).sum(),
        missing,
        differences,
    }
}

/// The number of calls that only strace saw, at most `left_out`, and the threads whose calls differ in another way, each
/// with the first calls that do.
fn differences(
    ours: &BTreeMap<u64, Vec<String>>,
    theirs: &BTreeMap<u64, Vec<String>>,
    left_out: usize,
) -> (usize, Vec<String>) {
    let tids: BTreeSet<&u64> = ours.keys().chain(theirs.keys()).collect();
    let (mut missing, mut differences) = (0, Vec::new());
    for tid in tids {
        let calls = |of: &BTreeMap<u64, Vec<String>>| of.get(tid).cloned().unwrap_or_default();
        let (ours, theirs) = (calls(ours), calls(theirs));
        // If the task was killed before strace saw the result of its last call, that is unknown.
        let last = theirs.len().saturating_sub(1);
        let is_killed = |at, ours: &str, theirs: &str| {
            let call = theirs.strip_suffix('?').filter(|call| at == last && call.ends_with(" = "));
            call.is_some_and(|call| ours.starts_with(call))
        };
        let alike = |at: usize, ours: &str| same(ours, &theirs[at]) || is_killed(at, ours, &theirs[at]);
        let pairs = ours.iter().take(theirs.len()).enumerate();
        let at = pairs.take_while(|&(at, ours)| alike(at, ours)).count();
        let mut rest = ours.iter().peekable();
        for at in 0..theirs.len() {
            let _ = rest.next_if(|ours| alike(at, ours));
        }
        let fewer = theirs.len().saturating_sub(ours.len());
        if rest.next().is_none() && missing + fewer <= left_out {
            missing += fewer;
        } else if at < ours.len().max(theirs.len()) {
            let some = |of: &[String]| of[at..].iter().take(3).cloned().collect::<Vec<_>>();
            differences.push(format!(
                "thread {tid}, call {at}: nsprobe {:?} ({} calls), strace {:?} ({} calls)",
                some(&ours),
                ours.len(),
                some(&theirs),
                theirs.len()
            ));
        }
    }
    (missing, differences)
}

/// Compares two calls. Arguments that strace does not decode, such as those of a clone3 with another size, are equal
/// to anything.
fn same(ours: &str, theirs: &str) -> bool {
    ours == theirs
        || theirs.split_once("(?)").is_some_and(|(name, rest)| {
            ours.strip_prefix(name).is_some_and(|args| args.starts_with('(') && args.ends_with(rest))
        })
}

/// The calls in strace's files, by thread.
fn straced(dir: &Path, clones: Clones) -> BTreeMap<u64, Vec<String>> {
    let mut calls: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("strace wrote") {
        let path = entry.expect("an entry").path();
        let tid = path.extension().and_then(|tid| tid.to_str()?.parse().ok()).expect("log.TID");
        let text = std::fs::read_to_string(&path).expect("text");
        let wanted: Vec<String> = text.lines().filter_map(|line| normal(line, clones)).collect();
        if !wanted.is_empty() {
            calls.insert(tid, wanted);
        }
    }
    calls
}

/// A line of strace, in the form of [`as_strace`]; `None` for one that nsprobe does not report.
fn normal(line: &str, clones: Clones) -> Option<String> {
    let (call, result) = line.rsplit_once(" = ")?;
    let (name, args) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    let mut words = result.split(' ');
    let result = match (words.next()?, words.next()) {
        // `?`: a signal came, and the kernel restarts the call.
        (value @ ("-1" | "?"), Some(errno)) => format!("{value} {errno}"),
        (value, _) => value.to_owned(),
    };
    match name {
        "clone" | "clone3" => {
            let Some((_, flags)) = args.split_once("flags=") else {
                return (clones == Clones::All).then(|| format!("clone(?) = {result}"));
            };
            let flags = flags.split([',', '}']).next()?.split(" /*").next()?;
            let flags: Vec<&str> = flags.split('|').filter(|flag| !flag.starts_with("SIG")).collect();
            let implied = flags.iter().any(|flag| implies_newns(flag));
            let flags = sorted(flags.into_iter().filter(|flag| !implied || *flag != "CLONE_NEWNS"));
            let wanted = clones == Clones::All || flags.contains("CLONE_NEW");
            wanted.then(|| format!("clone({flags}) = {result}"))
        }
        "fork" if clones == Clones::All => Some(format!("clone(0) = {result}")),
        "vfork" if clones == Clones::All => Some(format!("clone(CLONE_VFORK|CLONE_VM) = {result}")),
        "unshare" => {
            let flags = args.split(" /*").next()?;
            Some(format!("unshare({}) = {result}", sorted(flags.split('|'))))
        }
        "setns" => {
            let (fd, nstype) = args.split_once(", ")?;
            let nstype = nstype.split(" /*").next()?;
            Some(format!("setns({fd}, {}) = {result}", sorted(nstype.split('|'))))
        }
        "chroot" | "pivot_root" => {
            let paths: Vec<String> = args.split(", ").map(path).collect();
            Some(format!("{name}({}) = {result}", paths.join(", ")))
        }
        _ => None,
    }
}

/// A path as strace prints it, or an address: `"/tmp"`, `"/tmp/x"...`, `0x1`, `NULL`.
fn path(text: &str) -> String {
    if text.starts_with('"') { shortened(text.trim_end_matches("...")) } else { "?".to_owned() }
}

/// The beginning of a quoted path that is so long that nsprobe or strace cuts it.
fn shortened(path: &str) -> String {
    path.get(..200).map_or_else(|| path.to_owned(), |beginning| format!("{beginning}…"))
}

/// Flags that strace(1) does not know yet, and shows as one number.
fn newer_flag(name: &str) -> Option<u64> {
    Some(match name {
        "UNSHARE_EMPTY_MNTNS" => 0x10_0000,
        "CLONE_AUTOREAP" => 1 << 34,
        "CLONE_NNP" => 1 << 35,
        "CLONE_PIDFD_AUTOKILL" => 1 << 36,
        "CLONE_EMPTY_MNTNS" => 1 << 37,
        _ => return None,
    })
}

/// True for a number of strace(1) with `CLONE_EMPTY_MNTNS` in it, which implies `CLONE_NEWNS`.
fn implies_newns(flag: &str) -> bool {
    let bits = flag.strip_prefix("0x").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    bits.zip(newer_flag("CLONE_EMPTY_MNTNS")).is_some_and(|(bits, empty)| bits & empty != 0)
}

/// An event in the form of strace.
fn as_strace(event: &Value) -> String {
    let (name, args) = (event["event"].as_str().expect("a name"), &event["args"]);
    let flags = |value: &Value| {
        let names = value.as_array().expect("flags").iter().map(|flag| flag.as_str().expect("a name"));
        let (newer, known): (Vec<&str>, Vec<&str>) = names.partition(|name| newer_flag(name).is_some());
        let newer = newer.iter().filter_map(|name| newer_flag(name)).fold(0, |bits, bit| bits | bit);
        let bits = format!("{newer:#x}");
        // The kernel adds it to its own copy of the flags, before anything is traced.
        let implied = implies_newns(&bits);
        let known = known.into_iter().filter(|name| !implied || *name != "CLONE_NEWNS");
        let all = known.chain((newer != 0).then_some(bits.as_str()));
        Some(sorted(all)).filter(|text| !text.is_empty()).unwrap_or_else(|| "0".to_owned())
    };
    let path = |value: &Value| match value {
        Value::Null => "?".to_owned(),
        path => shortened(&path.to_string()),
    };
    let arguments = match name {
        "clone" | "unshare" => flags(&args["flags"]),
        "setns" => format!("{}, {}", args["fd"], flags(&args["flags"])),
        "chroot" => path(&args["path"]),
        _ => format!("{}, {}", path(&args["new_root"]), path(&args["put_old"])),
    };
    let result = match event["errno"].as_str() {
        Some(errno) => format!("{} {errno}", event["result"]),
        None => match event["restarted"].as_str() {
            Some(errno) => format!("? {errno}"),
            None => event["result"].to_string(),
        },
    };
    format!("{name}({arguments}) = {result}")
}

fn sorted<'a>(flags: impl Iterator<Item = &'a str>) -> String {
    let mut flags: Vec<&str> = flags.collect();
    flags.sort_unstable();
    flags.join("|")
}
