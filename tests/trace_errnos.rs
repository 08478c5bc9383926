//! Every documented failure of clone, unshare, setns, chroot and pivot_root, as far as it can be brought about, and
//! their successes: nsprobe reports each call once, as strace(1) does.

use crate::support::programs::{Arg, Program};
use crate::support::trace::{Stream, beside_strace, each_plan};
use libc::{
    CLONE_FILES, CLONE_FS, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID,
    CLONE_NEWUSER, CLONE_NEWUTS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, O_RDONLY, O_WRONLY, SIGCHLD,
    SYS_chroot, SYS_clone, SYS_clone3, SYS_open, SYS_pidfd_open, SYS_pivot_root, SYS_prlimit64, SYS_setns,
    SYS_setuid, SYS_unshare, SYS_wait4, SYS_write,
};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// `CLONE_INTO_CGROUP` of linux/sched.h, which libc has as an int, for which it is too large.
const INTO_CGROUP: i64 = 1 << 33;
/// The machine decides the result of a call: its mounts, and the nesting of user namespaces.
const ANY: i32 = -1;

/// A user who may do nothing, and has no process.
const NOBODY: i64 = 64_999;

/// A program under construction, and the errno that each of its traced calls must give; 0 for a success.
#[derive(Default)]
struct Script {
    program: Program,
    expected: Vec<i32>,
}

impl Script {
    /// A call that is traced.
    fn traced<const N: usize>(&mut self, errno: i32, number: i64, arguments: [Arg; N]) -> Arg {
        self.expected.push(errno);
        self.program.call(number, arguments)
    }

    fn call<const N: usize>(&mut self, number: i64, arguments: [Arg; N]) -> Arg {
        self.program.call(number, arguments)
    }

    fn open(&mut self, path: &str) -> Arg {
        self.call(SYS_open, [path.into(), flags(O_RDONLY)])
    }

    fn unshare(&mut self, errno: i32, flag: i32) {
        self.traced(errno, SYS_unshare, [flags(flag)]);
    }

    fn setns(&mut self, errno: i32, fd: Arg, nstype: i32) {
        self.traced(errno, SYS_setns, [fd, flags(nstype)]);
    }

    fn chroot(&mut self, errno: i32, path: impl Into<Arg>) {
        self.traced(errno, SYS_chroot, [path.into()]);
    }

    fn pivot_root(&mut self, errno: i32, new_root: impl Into<Arg>, put_old: impl Into<Arg>) {
        self.traced(errno, SYS_pivot_root, [new_root.into(), put_old.into()]);
    }

    /// A clone whose child ends at once, and is waited for.
    fn clone(&mut self, errno: i32, flag: i32) -> Arg {
        let child =
            self.traced(errno, SYS_clone, [flags(flag | SIGCHLD), 0.into(), 0.into(), 0.into(), 0.into()]);
        self.program.end_child();
        self.call(SYS_wait4, [(-1).into(), 0.into(), 0.into(), 0.into()]);
        child
    }

    /// Permits no more of these namespaces, in a new user namespace.
    fn limit(&mut self, kind: &str) {
        let path = format!("/proc/sys/user/max_{kind}_namespaces");
        let file = self.call(SYS_open, [path.as_str().into(), flags(O_WRONLY)]);
        self.call(SYS_write, [file, "0".into(), 1.into()]);
    }
}

fn flags(flags: i32) -> Arg {
    i64::from(flags).into()
}

/// `struct clone_args` with flags, `SIGCHLD`, and a control group's descriptor.
fn clone_args(flags: i64, cgroup: u64) -> Arg {
    let mut words = [0_u64; 11];
    (words[0], words[4], words[10]) = (flags.cast_unsigned(), SIGCHLD.unsigned_abs().into(), cgroup);
    Arg::Data(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// Runs the scripts, each as a separate program, and compares the reports of nsprobe with strace and with the
/// expected ones.
fn check(plan: &str, dir: &Path, scripts: Vec<(String, Script)>) {
    let mut lines = Vec::new();
    let mut expected = Vec::new();
    for (name, script) in scripts {
        lines.push(script.program.install(dir, &name).display().to_string());
        expected.push((name, script.expected));
    }
    lines.push("true".to_owned());
    let (stream, _) = beside_strace(plan, &lines.join("\n"));
    for (name, errnos) in expected {
        let reported = reported(&stream, &name);
        let agrees = |(reported, &errno): (&String, &i32)| errno == ANY || *reported == word(errno);
        assert!(
            reported.len() == errnos.len() && reported.iter().zip(&errnos).all(agrees),
            "{name}: {reported:?}"
        );
    }
}

/// The errno of every event of a program; empty for a success.
fn reported(stream: &Stream, program: &str) -> Vec<String> {
    let own = stream.events().filter(|event| event["process"]["comm"] == program);
    own.map(|event| event["errno"].as_str().unwrap_or_default().to_owned()).collect()
}

fn word(errno: i32) -> String {
    if errno == 0 { String::new() } else { format!("{:?}", nix::errno::Errno::from_raw(errno)) }
}

#[test]
fn calls_fail_in_every_way_and_are_reported() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("open to everybody");
        let maze = maze(&dir.path().join("maze"));
        // One trace for all. Events are found by the names of the programs, which have fifteen bytes.
        let calls = [
            ("u", unshare()),
            ("s", setns()),
            ("c", chroot(&maze)),
            ("p", pivot_root(&maze)),
            ("t", clone()),
        ];
        let named = |(call, scripts): (&str, Vec<(&str, Script)>)| {
            let named = scripts.into_iter().map(|(name, script)| (format!("{call}-{name}"), script));
            named.collect::<Vec<_>>()
        };
        check(plan, dir.path(), calls.into_iter().flat_map(named).collect());
    });
}

fn unshare() -> Vec<(&'static str, Script)> {
    let mut root = Script::default();
    root.unshare(libc::EINVAL, CLONE_NEWUTS | 1);
    root.unshare(0, 0);
    root.unshare(0, CLONE_FS | CLONE_FILES | CLONE_SYSVSEM);
    root.unshare(0, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWCGROUP);
    root.unshare(0, CLONE_NEWPID);
    root.unshare(0, CLONE_NEWNET);
    let mut nobody = Script::default();
    nobody.call(SYS_setuid, [NOBODY.into()]);
    nobody.unshare(libc::EPERM, CLONE_NEWUTS);
    nobody.unshare(libc::EPERM, CLONE_NEWNET | CLONE_NEWNS);
    nobody.unshare(0, CLONE_FS);
    let mut jail = Script::default();
    jail.chroot(0, "/tmp");
    jail.unshare(libc::EPERM, CLONE_NEWUSER);
    let mut limit = Script::default();
    limit.unshare(0, CLONE_NEWUSER);
    limit.limit("uts");
    limit.unshare(libc::ENOSPC, CLONE_NEWUTS);
    let mut deep = Script::default();
    // Nested deeper than the kernel allows, whatever the depth of this process.
    for level in 0..33 {
        deep.unshare(if level < 20 { 0 } else { ANY }, CLONE_NEWUSER);
        for (file, text) in [("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")] {
            let file = format!("/proc/self/{file}");
            let file = deep.call(SYS_open, [file.as_str().into(), flags(O_WRONLY)]);
            deep.call(SYS_write, [file, text.into(), i64::try_from(text.len()).unwrap().into()]);
        }
    }
    deep.unshare(libc::ENOSPC, CLONE_NEWUSER);
    vec![("root", root), ("nobody", nobody), ("jail", jail), ("limit", limit), ("deep", deep)]
}

fn setns() -> Vec<(&'static str, Script)> {
    let mut root = Script::default();
    root.setns(libc::EBADF, (-1).into(), 0);
    root.setns(libc::EBADF, 999.into(), CLONE_NEWNET);
    // Not flags of setns: CLONE_VM is none.
    root.setns(libc::EBADF, (-1).into(), 0x100);
    let directory = root.open("/");
    root.setns(libc::EINVAL, directory, 0);
    let uts = root.open("/proc/self/ns/uts");
    root.setns(libc::EINVAL, uts.clone(), CLONE_NEWNET);
    root.setns(0, uts.clone(), CLONE_NEWUTS);
    root.setns(0, uts, 0);
    let user = root.open("/proc/self/ns/user");
    root.setns(libc::EINVAL, user, CLONE_NEWUSER);
    let child = root.clone(0, CLONE_NEWUTS);
    // It has ended and been waited for.
    let gone = root.call(SYS_pidfd_open, [child, 0.into()]);
    root.setns(libc::EBADF, gone, CLONE_NEWUTS);
    let pid = root.call(libc::SYS_getpid, []);
    let own = root.call(SYS_pidfd_open, [pid, 0.into()]);
    root.setns(libc::EINVAL, own.clone(), 0);
    root.setns(libc::EINVAL, own.clone(), 1);
    root.setns(0, own, CLONE_NEWUTS | CLONE_NEWIPC);
    let mut nobody = Script::default();
    let uts = nobody.open("/proc/self/ns/uts");
    nobody.call(SYS_setuid, [NOBODY.into()]);
    nobody.setns(libc::EPERM, uts, CLONE_NEWUTS);
    vec![("root", root), ("nobody", nobody)]
}

/// A loop of links, and a directory that only root may search, below a new one.
fn maze(dir: &Path) -> (String, String) {
    let (turn, closed) = (dir.join("turn"), dir.join("closed"));
    std::fs::create_dir_all(closed.join("inner")).expect("a directory");
    symlink(&turn, &turn).expect("a link");
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("closed");
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("open");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    (text(&turn), text(&closed.join("inner")))
}

fn chroot((turn, closed): &(String, String)) -> Vec<(&'static str, Script)> {
    let long = format!("/tmp/{}", "x".repeat(300));
    let longer = format!("/tmp{}", "/xxxxxxx".repeat(600));
    let mut root = Script::default();
    root.chroot(libc::EFAULT, 1);
    root.chroot(libc::EFAULT, 0);
    root.chroot(libc::ENOENT, "");
    root.chroot(libc::ENOENT, "/nonexistent");
    root.chroot(libc::ENOTDIR, "/proc/self/status");
    root.chroot(libc::ENOTDIR, "/proc/self/status/x");
    root.chroot(libc::ELOOP, turn.as_str());
    root.chroot(libc::ENAMETOOLONG, long.as_str());
    root.chroot(libc::ENAMETOOLONG, longer.as_str());
    root.chroot(0, "/");
    root.chroot(0, closed.as_str());
    let mut nobody = Script::default();
    nobody.call(SYS_setuid, [NOBODY.into()]);
    nobody.chroot(libc::EPERM, "/");
    nobody.chroot(libc::EACCES, closed.as_str());
    vec![("root", root), ("nobody", nobody)]
}

fn pivot_root((turn, closed): &(String, String)) -> Vec<(&'static str, Script)> {
    let long = "x".repeat(300);
    let mut root = Script::default();
    // Whatever happens, it is not the machine's root.
    root.unshare(0, CLONE_NEWNS);
    root.pivot_root(libc::EFAULT, 1, "/");
    root.pivot_root(libc::EFAULT, "/", 1);
    root.pivot_root(libc::ENOENT, "/nonexistent", "/");
    root.pivot_root(libc::ENOENT, "/proc", "");
    root.pivot_root(libc::ENOTDIR, "/proc/self/status", "/");
    root.pivot_root(libc::ELOOP, turn.as_str(), "/");
    root.pivot_root(libc::ENAMETOOLONG, long.as_str(), "/");
    // EBUSY, or EINVAL if mounts are shared or a directory is not the root of a mount.
    root.pivot_root(ANY, "/", "/");
    root.pivot_root(ANY, closed.as_str(), closed.as_str());
    root.pivot_root(ANY, "/proc", "/tmp");
    let mut nobody = Script::default();
    nobody.call(SYS_setuid, [NOBODY.into()]);
    nobody.pivot_root(libc::EPERM, "/proc", "/proc");
    vec![("root", root), ("nobody", nobody)]
}

fn clone() -> Vec<(&'static str, Script)> {
    let mut root = Script::default();
    root.clone(libc::EINVAL, CLONE_NEWNS | CLONE_FS);
    root.clone(libc::EINVAL, CLONE_NEWUSER | CLONE_FS);
    root.clone(libc::EINVAL, CLONE_NEWPID | CLONE_THREAD);
    root.clone(libc::EINVAL, CLONE_NEWUTS | CLONE_SIGHAND);
    root.clone(libc::EINVAL, CLONE_NEWIPC | CLONE_SYSVSEM);
    root.clone(0, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP);
    root.clone(0, CLONE_NEWUSER);
    let mut three = |errno, args: Arg, size: i64| {
        root.traced(errno, SYS_clone3, [args, size.into()]);
        root.program.end_child();
        // The end of a child that nobody waits for interrupts a clone, which is then reported as one more.
        root.call(SYS_wait4, [(-1).into(), 0.into(), 0.into(), 0.into()]);
    };
    three(0, clone_args(i64::from(CLONE_NEWUTS), 0), 88);
    three(libc::EINVAL, clone_args(i64::from(CLONE_NEWNS | CLONE_FS), 0), 88);
    three(libc::EBADF, clone_args(i64::from(CLONE_NEWUTS) | INTO_CGROUP, 999), 88);
    // Refused by the kernel before it handles namespaces: a size, an unknown flag, a signal among the flags.
    three(libc::E2BIG, clone_args(i64::from(CLONE_NEWUTS), 0), 8192);
    three(libc::EINVAL, clone_args(i64::from(CLONE_NEWUTS) | 1 << 60, 0), 88);
    three(libc::EINVAL, clone_args(i64::from(CLONE_NEWUTS | SIGCHLD), 0), 88);
    let mut nobody = Script::default();
    nobody.call(SYS_setuid, [NOBODY.into()]);
    nobody.clone(libc::EPERM, CLONE_NEWUTS);
    let mut limit = Script::default();
    limit.unshare(0, CLONE_NEWUSER);
    limit.limit("net");
    limit.clone(libc::ENOSPC, CLONE_NEWNET);
    // No more processes.
    let mut crowd = Script::default();
    crowd.call(SYS_setuid, [NOBODY.into()]);
    let none = Arg::Data([0; 16].to_vec());
    crowd.call(SYS_prlimit64, [0.into(), i64::from(libc::RLIMIT_NPROC).into(), none, 0.into()]);
    crowd.clone(libc::EAGAIN, CLONE_NEWUSER);
    // A pid namespace whose first process has ended.
    let mut orphan = Script::default();
    orphan.unshare(0, CLONE_NEWPID);
    orphan.clone(0, CLONE_NEWUTS);
    orphan.clone(libc::ENOMEM, CLONE_NEWUTS);
    vec![("root", root), ("nobody", nobody), ("limit", limit), ("crowd", crowd), ("orphan", orphan)]
}
