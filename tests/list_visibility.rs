//! The number of processes in a namespace, and orphans: reported only if all processes were seen.

use crate::support::kernel::LISTMOUNT;
use crate::support::stage::{NamedNetns, Staged};
use crate::support::{self, json, proc, run};
use serde_json::Value;
use std::process::{Command, Output};

const NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

/// In a separate mount namespace, with this `/proc`.
fn with_proc(options: &str) -> Vec<String> {
    let script = format!("mount -t proc -o {options} proc /proc && exec \"$0\" \"$@\"");
    ["unshare", "--mount", "--", "sh", "-c", &script].map(str::to_owned).to_vec()
}

/// nsprobe with these arguments, run by `wrapper`.
fn by<S: AsRef<str>>(wrapper: &[S], args: &[&str]) -> Output {
    let (_dir, nsprobe) = support::unprivileged_copy();
    let mut command = Command::new(wrapper[0].as_ref());
    command.args(wrapper[1..].iter().map(AsRef::as_ref)).arg(nsprobe).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

/// Checks that nothing is reported as an orphan, and that the number of possible ones is reported.
fn no_orphans<S: AsRef<str>>(wrapper: &[S]) {
    let orphans = by(wrapper, &["list", "--orphans", "--no-header", "--kind", "net,uts,mnt,ipc"]);
    assert_eq!(String::from_utf8_lossy(&orphans.stdout), "");
    assert_eq!(orphans.status.code(), Some(1), "nothing was found");
    assert!(
        stderr(&orphans).contains(" more is not known: not all processes were seen"),
        "{}",
        stderr(&orphans)
    );
}

fn of_kind<'a>(document: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    document["namespaces"].as_array().unwrap().iter().filter(move |ns| ns["kind"] == kind)
}

#[test]
fn in_a_pid_namespace_of_its_own_only_numbers_of_pid_namespaces_are_known() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--"];
    let said = document(&by(&wrapper, &["list", "--json"]));
    let own: Vec<&Value> = of_kind(&said, "pid").filter(|ns| ns["nprocs"].is_u64()).collect();
    assert_eq!((own.len(), &own[0]["nprocs"]), (1, &1.into()), "nsprobe alone: {own:?}");
    let mut seen = 0;
    for ns in ["net", "uts", "mnt", "user"].iter().flat_map(|kind| of_kind(&said, kind)) {
        assert_eq!(ns["nprocs"], Value::Null, "{ns}");
        seen += ns["nprocs_seen"].as_u64().unwrap();
    }
    assert_eq!(seen, 4, "nsprobe is in one of each");
    // If the kernel lists mount namespaces to nobody in here, that is the reason given.
    let mut gaps = said["gaps"].as_array().unwrap().iter();
    let vague =
        |gap: &&Value| gap["reason"].as_str().unwrap().starts_with("Operation not permitted, even with");
    assert_eq!(gaps.find(vague), None);
    no_orphans(&wrapper);
    let table = by(&wrapper, &["list", "--no-header", "--columns", "ns,nprocs", "--kind", "net"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.lines().all(|line| line.ends_with('?')) && table.lines().count() >= 1, "{table}");
    drop(named);
}

#[test]
fn who_may_not_read_all_processes_calls_nothing_an_orphan() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let mut staged = Staged::sh(&format!("exec nsenter --net={} sleep 1000", named.path()));
    staged.wait_for("sleep");
    no_orphans(&NOBODY);
    let filter = format!("ino == {} && !(nprocs == 0) && !(nprocs > 0) && nprocs == null", named.ino());
    let said = document(&by(&NOBODY, &["list", "--json", "--filter", &filter]));
    let found = said["namespaces"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["nprocs_seen"]), (1, &0.into()));
    let tree = by(&NOBODY, &["tree"]);
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains("\nNot all processes were seen: "), "{tree}");
    assert!(!tree.contains("No process is in:"), "{tree}");
}

#[test]
fn what_hidepid_hides_is_not_taken_for_absent_and_hidepid_is_the_reason() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    for mode in ["hidepid=1", "hidepid=2"] {
        let mut wrapper = with_proc(mode);
        wrapper.extend(NOBODY.map(str::to_owned));
        no_orphans(&wrapper);
        let said = document(&by(&wrapper, &["list", "--json"]));
        let gaps = said["gaps"].as_array().unwrap();
        let of = |kind: &str| gaps.iter().find(|gap| gap["kind"] == kind);
        assert!(of("pid_namespace").is_none(), "{gaps:?}");
        let hidden = of("hidden_processes").unwrap_or_else(|| panic!("{mode}: {gaps:?}"));
        assert!(hidden["reason"].as_str().unwrap().contains("hidepid"), "{hidden}");
        // It hides nothing from root.
        let said = document(&by(&with_proc(mode), &["list", "--json", "--kind", "user"]));
        assert!(
            said["gaps"].as_array().unwrap().iter().all(|gap| gap["kind"] != "hidden_processes"),
            "{mode}"
        );
    }
    drop(named);
}

#[test]
fn processes_are_counted_where_proc_has_nothing_but_processes() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let named = NamedNetns::add();
    let output = by(&with_proc("subset=pid"), &["list", "--json", "--kind", "net"]);
    let said = document(&output);
    let found = of_kind(&said, "net").find(|ns| ns["ino"] == named.ino()).unwrap();
    let whole = json(&["list", "--json", "--ns", &named.path()]);
    assert_eq!(found["nprocs"], whole["namespaces"][0]["nprocs"], "{}", stderr(&output));
}

/// The pids of a process, each time that a document has them.
fn pids_of(document: &Value, pid: u32) -> Vec<&Value> {
    let mut found = match document {
        Value::Array(values) => values.iter().flat_map(|value| pids_of(value, pid)).collect(),
        Value::Object(values) => values.values().flat_map(|value| pids_of(value, pid)).collect(),
        _ => Vec::new(),
    };
    found.extend(document.get("pids").filter(|_| document["pid"] == pid));
    found
}

/// The gaps about pids in pid namespaces.
fn gaps_of_ids(document: &Value) -> Vec<(&str, u64)> {
    let gaps = document["gaps"].as_array().unwrap().iter().filter(|gap| gap["kind"] == "process_ids");
    gaps.map(|gap| (gap["reason"].as_str().unwrap(), gap["count"].as_u64().unwrap())).collect()
}

#[test]
fn pids_that_cannot_be_read_are_null_and_a_gap() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let mut staged = Staged::spawn(Command::new("unshare").args(["--pid", "--fork", "sleep", "1000"]));
    let pid = staged.wait_for("sleep");
    // Something else is mounted in the place of the only file that has them.
    let script = format!("mount --bind /dev/null /proc/{pid}/status && exec \"$0\" \"$@\"");
    let hidden = ["unshare", "--mount", "--", "sh", "-c", &script];
    for command in ["list", "tree"] {
        let args = [command, "--json", "--source", "proc"];
        let known = json(&args);
        let pids = pids_of(&known, pid);
        assert!(
            !pids.is_empty() && pids.iter().all(|pids| **pids == serde_json::json!([pid, 1])),
            "{pids:?}"
        );
        assert_eq!(gaps_of_ids(&known), []);
        let unknown = document(&by(&hidden, &args));
        let found = pids_of(&unknown, pid);
        assert!(found.len() == pids.len() && found.iter().all(|pids| pids.is_null()), "{command}: {found:?}");
        assert_eq!(gaps_of_ids(&unknown), [("/proc/PID/status has an unexpected format", 1)]);
    }
    let said = stderr(&by(&hidden, &["list", "--source", "proc"]));
    assert!(said.contains("the inner process ids of 1 process (/proc/PID/status has"), "{said}");
    // The kernel's own tasks have them.
    if support::bpf() {
        let known = document(&by(&hidden, &["list", "--json", "--source", "bpf"]));
        let pids = pids_of(&known, pid);
        assert!(
            !pids.is_empty() && pids.iter().all(|pids| **pids == serde_json::json!([pid, 1])),
            "{pids:?}"
        );
        assert_eq!(gaps_of_ids(&known), []);
    }
}

/// Runs a program with the same number as its pid in the current pid namespace and in a new one (clone3(2), Linux 5.5).
const EQUAL_PIDS: &str = r#"
    my ($number, @command) = @ARGV;
    my $pids = pack("l2", $number, $number);
    # 17: SIGCHLD.
    my $args = pack("Q11", 0, 0, 0, 0, 17, 0, 0, 0, unpack("Q", pack("P", $pids)), 2, 0);
    my $child = syscall(435, $args, 88);
    die "clone3: $!" if $child < 0;
    exec @command or die if $child == 0;
    waitpid($child, 0); exit($? >> 8);
"#;

#[test]
fn pid_that_is_the_same_in_two_pid_namespaces_does_not_make_them_one() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let most: u32 = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    // One that is free.
    let number = (1..100).map(|less| most - less).find(|&pid| proc::comm(pid).is_none()).unwrap();
    let number = number.to_string();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "perl", "-e", EQUAL_PIDS, &number];
    let document = document(&by(&wrapper, &["list", "--json", "--source", "proc"]));
    let pid: u32 = number.parse().unwrap();
    let pids = pids_of(&document, pid);
    assert!(!pids.is_empty() && pids.iter().all(|pids| **pids == serde_json::json!([pid, pid])), "{pids:?}");
    let gaps = document["gaps"].as_array().unwrap().iter().filter_map(|gap| gap["reason"].as_str());
    let of_another = gaps.filter(|reason| reason.contains("belongs to a different pid namespace"));
    assert!(of_another.count() > 0, "{}", document["gaps"]);
}

#[test]
fn without_descriptors_to_read_with_it_is_an_error_that_says_so() {
    let _limit = support::time_limit();
    for command in ["tree", "list"] {
        let wrapper = ["sh", "-c", "ulimit -n 5; exec \"$0\" \"$@\""];
        let output = by(&wrapper, &[command]);
        let said = stderr(&output);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(2), &b""[..]),
            "{command}: {said}"
        );
        assert!(said.contains("EMFILE") || said.contains("Too many open files"), "{said}");
        assert!(!said.contains("pid namespace"), "{said}");
    }
}

#[test]
fn a_thread_is_no_process_and_its_process_is_named() {
    let _limit = support::time_limit();
    let (sender, receiver) = std::sync::mpsc::channel();
    let (go_on, end) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        sender.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = end.recv();
    });
    let tid = receiver.recv().unwrap().to_string();
    let own = std::process::id();
    for command in ["list", "tree"] {
        let ran = run(&[command, "--pid", &tid]);
        let expected =
            format!("nsprobe: {tid} is not a process but a thread of process {own}: use --pid {own}\n");
        assert_eq!((ran.code, ran.stderr), (Some(1), expected));
    }
    drop(go_on);
    thread.join().unwrap();
    assert!(proc::ppid(own).is_some());
    let ran = run(&["list", "--pid", "4194305"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), "nsprobe: there is no process 4194305\n"));
}

#[test]
fn a_chrooted_nsprobe_says_what_it_does_not_see() {
    let _limit = support::time_limit();
    if !support::root() {
        return;
    }
    let (jail, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (jail, mounted) = (jail.path().display(), dir.path().join("net"));
    // The jail is a mount, so that something is mounted at the root that nsprobe sees. The shell stays outside.
    let script = format!(
        "mount --rbind / {jail} && touch {0} && unshare --net={0} true && \"$0\" list --json && echo &&
         chroot {jail} \"$0\" list --json && chroot {jail} \"$0\" tree >/dev/null",
        mounted.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script]);
    let output = command.arg(support::nsprobe().get_program()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let (whole, chrooted) = stdout.split_once("\n\n").unwrap_or_else(|| panic!("{}", stderr(&output)));
    let is_mounted = |text: &str| text.contains(&format!("\"path\":\"{}\"", mounted.display()));
    assert!(is_mounted(whole), "{stdout}");
    // Without listmount(2) the mounts are those of the shell's mountinfo, which is not chrooted.
    assert!(!LISTMOUNT.here() || !is_mounted(chrooted), "{stdout}");
    let gap = |text: &str| {
        let document: Value = serde_json::from_str(text).unwrap();
        document["gaps"].as_array().unwrap().iter().find(|gap| gap["kind"] == "chroot").cloned()
    };
    assert_eq!(gap(whole), None);
    let gap = gap(chrooted).expect("it is a gap");
    assert_eq!((&gap["count"], &gap["remedy"]), (&1.into(), &"run outside the chroot".into()), "{gap}");
    let shell = |text: &str| {
        let document: Value = serde_json::from_str(text).unwrap();
        let processes = document["processes"].as_array().unwrap();
        let shell = processes.iter().find(|process| process["pid"] == 1).unwrap();
        (shell["root"].clone(), shell["chrooted"].clone())
    };
    assert_eq!(shell(whole), ("/".into(), false.into()));
    // Its root is `/` to itself as well as to processes in the jail.
    assert_eq!(shell(chrooted), (Value::Null, Value::Null));
    let said = stderr(&output);
    assert!(said.contains("nsprobe is chrooted: ") && said.contains("run outside the chroot"), "{said}");
}
