//! Open files that hold a namespace without standing for it, in `nsprobe list`.

use crate::schema;
use crate::support::kernel::IDS;
use crate::support::stage::wait;
use crate::support::tenant::{self, Left, leave};
use crate::support::{self, json, run};
use nsprobe::kernel::sockets::PidFd;
use nsprobe::render::schemas;
use serde_json::{Value, json};
use std::any::Any;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

#[test]
fn tenant() {
    let _limit = support::time_limit();
    tenant::run();
}

/// A namespace, what is to be said of it, and what holds it until this is dropped.
struct Held {
    kind: &'static str,
    ino: u64,
    holder: Value,
    _by: Box<dyn Any>,
}

impl Held {
    fn new(kind: &'static str, ino: u64, how: &str, fd: i32, by: impl Any) -> Self {
        let holder = json!({"type": how, "pid": std::process::id(), "fd": fd});
        Self { kind, ino, holder, _by: Box::new(by) }
    }

    /// By a file that a tenant opened.
    fn by_file(unshare: &[&str], kind: &'static str, what: &str, how: &str) -> Self {
        let Left { ino, file, .. } = leave(unshare, kind, what, |_| {});
        let file = file.unwrap();
        Self::new(kind, ino, how, file.as_fd().as_raw_fd(), file)
    }

    /// By a socket whose peer a tenant was.
    fn by_peer(unshare: &[&str], kind: &'static str, how: &str) -> Self {
        let Left { ino, connection, .. } = leave(unshare, kind, "", |_| {});
        Self::new(kind, ino, how, connection.as_raw_fd(), connection)
    }

    /// By a file of a tenant's directory in /proc.
    fn by_proc(name: &str) -> Self {
        let mut file = None;
        let open = |pid| file = File::open(format!("/proc/{pid}/{name}")).ok();
        let Left { ino, .. } = leave(&PID, "pid", "", open);
        let file = file.unwrap();
        Self::new("pid", ino, "proc_file", file.as_raw_fd(), file)
    }
}

const PID: [&str; 2] = ["--pid", "--fork"];

/// The namespaces that a list with these arguments has.
fn listed(args: &[&str]) -> Vec<Value> {
    json(&[&["list", "--json"], args].concat())["namespaces"].as_array().unwrap().clone()
}

#[test]
fn files_that_hold_a_namespace_without_standing_for_it_are_found() {
    let _limit = support::time_limit();
    if !support::bpf() {
        return;
    }
    if !IDS.here() {
        return support::skipped("namespaces have no numbers");
    }
    let mut pidfd = None;
    let Left { ino, .. } = leave(&PID, "pid", "", |pid| pidfd = PidFd::open(pid).ok());
    let pidfd = pidfd.unwrap();
    let mut held = vec![
        Held::new("pid", ino, "pidfd", pidfd.as_fd().as_raw_fd(), pidfd),
        Held::by_proc("stat"),
        Held::by_proc("task"),
        Held::by_file(&["--pid", "--fork", "--mount-proc"], "pid", "/proc/uptime", "file_system"),
        Held::by_file(&PID, "pid", "signals", "signals"),
        Held::by_peer(&PID, "pid", "peer_process"),
        Held::by_peer(&["--user"], "user", "peer_credentials"),
        Held::by_file(&["--user"], "user", "/dev/null", "credentials"),
        Held::by_file(&["--mount"], "mnt", "/proc/self/mountinfo", "mount_list"),
        // Files of the two ways in which the kernel makes them.
        Held::by_file(&["--net"], "net", "/proc/self/net/tcp", "proc_net"),
        Held::by_file(&["--net"], "net", "/proc/self/net/sockstat", "proc_net"),
    ];
    if Path::new("/dev/net/tun").exists() {
        held.push(Held::by_file(&["--net"], "net", "/dev/net/tun", "tun"));
    } else {
        support::skipped("tun: there is no such device");
    }
    let of = |namespaces: &[Value], held: &Held| {
        let is = |ns: &&Value| ns["kind"] == held.kind && ns["ino"] == held.ino;
        namespaces.iter().find(is).cloned().unwrap_or_default()
    };
    // A process that another test starts has a copy of everything until it executes its program.
    let mut last = Vec::new();
    let found = wait(|| {
        last = listed(&[]);
        let is_alone = |held: &Held| {
            let ns = of(&last, held);
            // The file in a proc is all that holds a mount of that in a mount namespace which is gone.
            let detached = |holder: &&Value| holder["type"] == "detached_mount";
            let holders = ns["holders"].as_array().into_iter().flatten();
            holders.filter(|holder| !detached(holder)).eq([&held.holder])
        };
        held.iter().all(is_alone).then_some(())
    });
    for held in &held {
        assert!(found.is_some(), "{} is not the only holder of {}", held.holder, of(&last, held));
    }
    // The schema knows them all.
    let document = json(&["list", "--json"]);
    schema::admitted(&schema::closed(schemas::LIST), &document, "list");
    for ns in held.iter().map(|held| of(&last, held)) {
        assert_eq!((&ns["nprocs_seen"], &ns["leader"]), (&json!(0), &Value::Null), "{ns}");
        let also = ns["sources"].as_array().unwrap().iter().filter(|&source| source != "file_systems");
        assert!(also.eq(&[json!("descriptors"), json!("kernel_lists")]), "{ns}");
    }

    let (ns, pid) = (format!("pid:[{ino}]"), std::process::id());
    let fd = &held[0].holder["fd"];
    let says = |args: &[&str], what: &str| {
        let mut last = String::new();
        let said = wait(|| {
            last = run(&[args, &["--ns", &ns]].concat()).stdout;
            let line = last.split_whitespace().collect::<Vec<_>>().join(" ");
            line.contains(what).then_some(())
        });
        assert!(said.is_some(), "{args:?} does not say {what}: {last}");
    };
    says(&["list", "--holders", "--no-header"], &format!("pid pidfd {pid} pidfd {fd} of "));
    says(&["list"], &format!("(held by pidfd {fd} of {pid})"));
    says(&["tree"], &format!("held by pidfd {fd} of {pid} "));
    let by_name = listed(&["--filter", "'pidfd' in holders"]);
    assert!(by_name.iter().any(|ns| ns["ino"] == ino), "{by_name:?}");

    // That these were what held them shows when they go.
    let names: Vec<_> = held.iter().map(|held| (held.kind, held.ino)).collect();
    drop(held);
    let gone = wait(|| {
        last = listed(&[]);
        let is_there =
            |&(kind, ino): &(&str, u64)| last.iter().any(|ns| ns["kind"] == kind && ns["ino"] == ino);
        (!names.iter().any(is_there)).then_some(())
    });
    assert!(gone.is_some(), "{names:?}");
}

#[test]
fn a_tcp_connection_that_no_process_has_is_found() {
    let _limit = support::time_limit();
    if !support::bpf() {
        return;
    }
    if !IDS.here() {
        return support::skipped("namespaces have no numbers");
    }
    let Left { ino, .. } = leave(&["--net"], "net", "tcp", |_| {});
    let name = format!("net:[{ino}]");
    let found = listed(&["--ns", &name]);
    let holders = found[0]["holders"].as_array().unwrap();
    assert_eq!(holders.len(), 2, "both ends: {found:?}");
    for holder in holders {
        assert_eq!(
            (&holder["type"], &holder["state"]),
            (&json!("connection"), &json!("FIN_WAIT1")),
            "{holder}"
        );
    }
    assert_eq!(holders[0]["local"], holders[1]["remote"], "{found:?}");
    assert_eq!(holders[1]["local"], holders[0]["remote"], "{found:?}");
}
