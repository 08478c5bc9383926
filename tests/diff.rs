//! `nsprobe diff`: what was staged between two snapshots, and nothing else of what was staged.

use crate::support::stage::{NamedNetns, Staged, until, wait};
use crate::support::{self, Ran, nsprobe, proc, run};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// A snapshot in a file.
struct Before {
    dir: TempDir,
    document: Value,
}

impl Before {
    fn take() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = run(&["list", "--json"]).stdout;
        std::fs::write(dir.path().join("before.json"), &text).unwrap();
        Self { dir, document: serde_json::from_str(&text).unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("before.json")
    }

    /// The differences from now.
    fn diff(&self) -> Value {
        let ran = diff(&[Path::new("--json"), &self.path()]);
        let document: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
        assert_eq!(ran.code, Some(i32::from(document["equal"] != true)), "{document}");
        document
    }
}

fn diff(args: &[&Path]) -> Ran {
    nsprobe().arg("diff").args(args).output().unwrap().into()
}

/// The number of objects at `list` that are about `kind:[ino]`.
fn about(document: &Value, list: &str, kind: &str, ino: u64) -> usize {
    let namespaces = document.pointer(&format!("/namespaces/{list}")).unwrap().as_array().unwrap();
    namespaces.iter().filter(|ns| ns["kind"] == kind && ns["ino"] == ino).count()
}

/// The pids of `family` among the processes at `list`.
fn among(document: &Value, list: &str, family: &[u32]) -> Vec<u32> {
    let processes = document.pointer(&format!("/processes/{list}")).unwrap().as_array().unwrap();
    let pid = |process: &Value| process["pid"].as_u64().or_else(|| process["process"]["pid"].as_u64());
    let pids = processes.iter().map(|process| u32::try_from(pid(process).unwrap()).unwrap());
    pids.filter(|pid| family.contains(pid)).collect()
}

#[test]
fn a_namespace_and_its_processes_come_and_go() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let before = Before::take();
    let mut staged = Staged::sh("exec unshare --net --uts sleep 1000");
    let sleep = staged.wait_for("sleep");
    let (net, uts) = (proc::namespace(sleep, "net").unwrap(), proc::namespace(sleep, "uts").unwrap());
    let came = before.diff();
    for (kind, ino) in [("net", net), ("uts", uts)] {
        let counts = ["came", "went", "unsure"].map(|list| about(&came, list, kind, ino));
        // Another test may have had a namespace with that inode when the first snapshot was taken.
        let reused = before.document["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .any(|ns| ns["kind"] == kind && ns["ino"] == ino);
        if !reused {
            assert_eq!(counts, [1, 0, 0], "{kind}:[{ino}]");
        }
    }
    assert_eq!(about(&came, "came", "mnt", proc::namespace(sleep, "mnt").unwrap()), 0);
    assert_eq!(among(&came, "came", &[sleep]), [sleep]);
    assert_eq!(among(&came, "changed", &[sleep]), [0; 0]);
    let text = diff(&[&before.path()]);
    assert!(text.stdout.contains(&format!("+ net:[{net}]  {sleep} sleep 1000\n")), "{}", text.stdout);
    assert!(
        text.stdout.contains(&format!("+ {sleep}  sleep 1000  in net:[{net}] uts:[{uts}]\n")),
        "{}",
        text.stdout
    );
    let namespaces_only = diff(&[Path::new("--only"), Path::new("namespaces"), &before.path()]).stdout;
    assert!(
        namespaces_only.contains(&format!("net:[{net}]"))
            && !namespaces_only.contains(&format!("+ {sleep} "))
    );

    let during = Before::take();
    drop(staged);
    let went = during.diff();
    assert_eq!((about(&went, "went", "net", net), among(&went, "went", &[sleep])), (1, vec![sleep]));
}

#[test]
fn nothing_staged_is_nothing_found() {
    let _limit = support::time_limit();
    let before = Before::take();
    // The same document twice: these are equal, whatever else happens on the machine.
    let path = before.path();
    let ran = diff(&[&path, &path]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    let ran = diff(&[Path::new("--json"), &path, &path]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &document["equal"], &document["same_boot"]), (Some(0), &true.into(), &true.into()));
    // nsprobe does not find itself, nor does a shell find what it runs.
    let pids = [std::process::id()];
    let now = before.diff();
    assert_eq!((among(&now, "came", &pids), among(&now, "went", &pids)), (vec![], vec![]));
    let own_pids = ["old", "new"].map(|side| u32::try_from(now[side]["own_pid"].as_u64().unwrap()).unwrap());
    assert_eq!((among(&now, "came", &own_pids), among(&now, "went", &own_pids)), (vec![], vec![]));
}

#[test]
fn a_process_that_enters_a_namespace_has_changed() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let path = named.path();
    let staged = Staged::sh(&format!("{}; exec nsenter --net={path} sleep 1000", until(&go)));
    let pid = staged.pid();
    wait(|| (proc::comm(pid)? == "sh").then_some(())).expect("the shell");
    let before = Before::take();
    std::fs::write(&go, "").unwrap();
    wait(|| (proc::comm(pid)? == "sleep").then_some(())).expect("sleep, in the place of the shell");
    let now = before.diff();
    assert_eq!(among(&now, "changed", &[pid]), [pid]);
    assert_eq!((among(&now, "came", &[pid]), among(&now, "went", &[pid])), (vec![], vec![]));
    let changed = now["processes"]["changed"].as_array().unwrap();
    let moved = changed.iter().find(|moved| moved["process"]["pid"] == pid).unwrap();
    assert_eq!(moved["changed"], serde_json::json!(["net"]));
    let initial = proc::namespace(2, "net").unwrap();
    assert_eq!((&moved["before"]["net"], &moved["after"]["net"]), (&initial.into(), &named.ino().into()));
    assert_eq!(moved["before"]["mnt"], moved["after"]["mnt"]);
    assert_eq!(about(&now, "came", "net", named.ino()), 0, "it existed before, without a process");
    let text = diff(&[&before.path()]).stdout;
    let line = format!("~ {pid}  net:[{initial}] → net:[{}]  sleep 1000\n", named.ino());
    assert!(text.contains(&line), "{text}");
}

#[test]
fn a_namespace_with_the_number_of_one_that_is_gone_is_another() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // The kernel assigns the lowest free inode. A network namespace is torn down some time after it is gone, and
    // other tests may be first to take its inode: then everything is repeated.
    let staged = wait(|| {
        let first = NamedNetns::add();
        let ino = first.ino();
        let before = Before::take();
        drop(first);
        let mut others = Vec::new();
        for _ in 0..20 {
            let second = NamedNetns::add();
            if second.ino() == ino {
                return Some((before, second, ino));
            }
            others.push(second);
            sleep(Duration::from_millis(20));
        }
        None
    });
    let (before, second, ino) = staged.expect("an inode that is reused");
    let namespaces = before.document["namespaces"].as_array().unwrap();
    let old = namespaces.iter().find(|ns| ns["kind"] == "net" && ns["ino"] == ino).unwrap();
    let now = before.diff();
    let counts = ["came", "went"].map(|list| about(&now, list, "net", ino));
    let unsure = now["namespaces"]["unsure"].as_array().unwrap();
    let unsure =
        unsure.iter().filter(|pair| pair["new"]["kind"] == "net" && pair["new"]["ino"] == ino).count();
    if old["kernel_id"].is_string() {
        assert_eq!((counts, unsure), ([1, 1], 0), "{}: one went and one came", second.name);
    } else {
        // Linux before 6.18: there is no evidence, and nothing is claimed.
        assert_eq!((counts, unsure), ([0, 0], 1), "{}", second.name);
    }
}

#[test]
fn a_named_namespace_that_stays_is_no_difference() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    // No process is in it. The evidence is the kernel's id, or that its inode has stayed in memory.
    let named = NamedNetns::add();
    let before = Before::take();
    let now = before.diff();
    let unsure = now["namespaces"]["unsure"].as_array().unwrap();
    assert!(unsure.iter().all(|pair| pair["new"]["ino"] != named.ino()), "{unsure:#?}");
    assert_eq!(["came", "went"].map(|list| about(&now, list, "net", named.ino())), [0, 0]);
}

#[test]
fn a_snapshot_is_read_from_stdin() {
    let _limit = support::time_limit();
    let before = Before::take();
    let stdin = std::fs::File::open(before.path()).unwrap();
    let output = nsprobe()
        .args(["diff", "-"])
        .arg(before.path())
        .stdin(stdin)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]));
    let ran = diff(&[Path::new("-"), Path::new("-")]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(2), "nsprobe: only one of the two snapshots can be read from stdin\n")
    );
}

#[test]
fn other_documents_are_errors_that_name_the_file() {
    let _limit = support::time_limit();
    let before = Before::take();
    let whole = std::fs::read_to_string(before.path()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for (path, message) in [
        (file("cut.json", &whole[..whole.len() / 2]), "or not all of it: EOF while parsing"),
        (
            file("tree.json", &run(&["tree", "--json"]).stdout),
            "this is nsprobe.tree 1.0, but nsprobe.list 1.x is needed",
        ),
        (
            file("later.json", &whole.replacen("\"version\":\"1.0\"", "\"version\":\"2.3\"", 1)),
            "this is nsprobe.list 2.3, but nsprobe.list 1.x is needed",
        ),
        (file("part.json", &run(&["list", "--json", "--kind", "mnt"]).stdout), "it holds only a selection"),
        (file("table.json", &run(&["list"]).stdout), "not a document of `nsprobe list --json`"),
        (dir.path().join("missing.json"), "No such file or directory"),
    ] {
        for args in [vec![path.as_path()], vec![&before.path(), &path]] {
            let ran = diff(&args);
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", path.display());
            let begins = format!("nsprobe: {}: ", path.display());
            assert!(ran.stderr.starts_with(&begins) && ran.stderr.contains(message), "{}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        }
    }
}

#[test]
fn what_another_user_cannot_see_has_not_gone() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut staged = Staged::spawn(Command::new("unshare").args(["--net", "--uts", "sleep", "1000"]));
    staged.wait_for("sleep");
    let net = proc::namespace(staged.pid(), "net").unwrap();
    let before = Before::take();
    let mut file = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(before.path(), file.clone()).unwrap();
    file.set_mode(0o755);
    std::fs::set_permissions(before.path().parent().unwrap(), file).unwrap();
    let (_dir, nsprobe) = support::unprivileged_copy();
    let mut command = support::nobody();
    command
        .arg(&nsprobe)
        .arg("diff")
        .arg(before.path())
        .args(["--only", "namespaces"])
        .env("LC_ALL", "C.UTF-8");
    let ran: Ran = command.output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let line = ran.stdout.lines().find(|line| line.contains(&format!("net:[{net}]"))).expect("a line");
    let why =
        format!("not compared with the later snapshot (process {} is not readable there)", staged.pid());
    assert!(line.starts_with("? ") && line.contains(&why), "{line}");
    let json: Value = serde_json::from_slice(&command.arg("--json").output().unwrap().stdout).unwrap();
    let about = |list: &str| {
        let all = json["namespaces"][list].as_array().unwrap().iter();
        all.filter(|ns| ns["ino"] == net || ns["old"]["ino"] == net).count()
    };
    assert_eq!((about("went"), about("unseen")), (0, 1));
}
