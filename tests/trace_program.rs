//! Programs and directories in `nsprobe trace` that no path leads to any more, or ever did.

use crate::support::programs::{Arg, Program};
use crate::support::stage;
use crate::support::trace::{Stream, one_plan};
use crate::support::wire;
use libc::{
    AT_EMPTY_PATH, AT_FDCWD, CLONE_NEWUTS, O_RDONLY, SYS_execveat, SYS_memfd_create, SYS_open, SYS_open_tree,
    SYS_sendfile, SYS_unlink, SYS_unshare,
};
use serde_json::{Value, json};
use std::path::Path;

/// A path about which nothing is unusual.
fn resolved(path: impl AsRef<Path>) -> Value {
    marked(path, &[])
}

fn marked(path: impl AsRef<Path>, marks: &[&str]) -> Value {
    json!([path.as_ref(), marks])
}

/// `OPEN_TREE_CLONE` of linux/mount.h: a mount of the file that is not attached.
const OPEN_TREE_CLONE: i64 = 1;

/// A program that executes what it has opened in some way, which then makes the one traced call.
fn executor(open: impl FnOnce(&mut Program) -> Arg) -> Program {
    let mut program = Program::default();
    let file = open(&mut program);
    program.call(SYS_execveat, [file, "".into(), 0.into(), 0.into(), i64::from(AT_EMPTY_PATH).into()]);
    program
}

#[test]
fn a_program_without_a_path_has_its_name_and_is_marked() {
    let _limit = crate::support::time_limit();
    let dir = tempfile::tempdir().expect("a directory");
    let mut caller = Program::default();
    caller.call(SYS_unshare, [i64::from(CLONE_NEWUTS).into()]);
    let caller = caller.install(dir.path(), "caller");
    let (path, removed) = (caller.display().to_string(), dir.path().join("removed"));
    stage::copy_program(&caller, &removed);
    let removed_path = removed.display().to_string();
    let open =
        |program: &mut Program, path: &str| program.call(SYS_open, [path.into(), i64::from(O_RDONLY).into()]);
    let programs = [
        ("plain", executor(|program| open(program, &path))),
        (
            "memfd",
            executor(|program| {
                let from = open(program, &path);
                let to = program.call(SYS_memfd_create, ["hidden".into(), 0.into()]);
                program.call(SYS_sendfile, [to.clone(), from, 0.into(), (1 << 20).into()]);
                to
            }),
        ),
        (
            "removed",
            executor(|program| {
                let file = open(program, &removed_path);
                program.call(SYS_unlink, [removed_path.as_str().into()]);
                file
            }),
        ),
        (
            "detached",
            executor(|program| {
                let (path, flags) = (path.as_str().into(), OPEN_TREE_CLONE.into());
                program.call(SYS_open_tree, [i64::from(AT_FDCWD).into(), path, flags])
            }),
        ),
    ];
    let expected = [
        resolved(&caller),
        marked("/memfd:hidden", &["detached", "deleted", "unreachable"]),
        marked(&removed, &["deleted"]),
        // Its own name, which is all there is: its mount is not attached.
        marked("/caller", &["detached"]),
    ];
    let script: Vec<String> = programs
        .into_iter()
        .map(|(name, program)| program.install(dir.path(), &format!("run-{name}")).display().to_string())
        .collect();
    one_plan(|plan| {
        // The second of them removes a file.
        stage::copy_program(&caller, &removed);
        let stream =
            Stream::record(&["--source", plan, "--", "sh", "-c", &format!("{}; true", script.join("; "))]);
        let unshares = stream.of("unshare");
        let reported: Vec<Value> =
            unshares.iter().map(|event| wire::path(&event["process"], "exe")).collect();
        assert_eq!(reported, expected);
    });
}

#[test]
fn a_directory_without_a_path_has_its_name_and_is_marked() {
    let _limit = crate::support::time_limit();
    one_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        // A directory moved out of the mounted tree is not below its mount.
        let script = format!(
            "cd {}; unshare --mount sh -c '
             mkdir gone a a/b a/b/c mnt; mount --bind a/b mnt
             (cd gone; rmdir ../gone; chroot . /nowhere)
             (cd mnt/c; mv ../../a/b/c ../../c; chroot . /nowhere)
             true' 2>/dev/null",
            dir.path().display()
        );
        let stream = Stream::record(&["--source", plan, "--event", "chroot", "--", "sh", "-c", &script]);
        let [gone, moved] = stream.of("chroot")[..] else { panic!("two chroots: {}", stream.stderr) };
        assert_eq!(wire::path(gone, "root"), marked(dir.path().join("gone"), &["deleted"]));
        assert_eq!(moved["root_state"], json!(["unreachable"]));
        // From the top of its file system, which is not where that is mounted.
        let (path, whole) = (moved["root"].as_str().expect("a path"), dir.path().join("c"));
        assert!(path.ends_with("/c") && whole.to_str().expect("UTF-8").ends_with(path), "{path}");
    });
}
