//! `nsprobe trace` and 32-bit system calls, which any 64-bit program can make.

use crate::support::programs::{self, CODE, elf};
use crate::support::stage::Staged;
use crate::support::trace::{Stream, each_plan};
use crate::support::wire::{after, changed};
use crate::support::{proc, skipped};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A 64-bit program that makes 32-bit system calls, by int 0x80.
fn program() -> Vec<u8> {
    // The path first, so that its address is known.
    let path = CODE.to_le_bytes();
    let call = |number: u32, registers: &[&[u8]]| {
        let number = [&[0xb8][..], &number.to_le_bytes()].concat();
        [&[&number[..]], registers, &[&[0xcd, 0x80]]].concat().concat()
    };
    let ebx = |value: [u8; 4]| [&[0xbb][..], &value].concat();
    let none: &[u8] = &[0x31, 0xc9, 0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff];
    let code = [
        b"/\0".to_vec(),
        // setns(9, 0), with an upper half of rbx that is not part of the argument.
        call(346, &[&[0x48, 0xbb, 9, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde], none]),
        // unshare(CLONE_NEWUTS)
        call(310, &[&ebx(0x0400_0000_u32.to_le_bytes())]),
        // chroot("/"), pivot_root("/", "/")
        call(61, &[&ebx(path)]),
        call(217, &[&ebx(path), &[0xb9], &path]),
        // clone(CLONE_NEWUTS | SIGCHLD), after which parent and child go on; clone(CLONE_NEWUSER | CLONE_FS)
        call(120, &[&ebx(0x0400_0011_u32.to_le_bytes()), none]),
        call(120, &[&ebx(0x1000_0200_u32.to_le_bytes()), none]),
        // exit(0)
        call(1, &[&[0x31, 0xdb]]),
    ]
    .concat();
    elf(&code, 2)
}

/// Runs the program below nsprobe with a descriptor of the namespace file; `None` if there is no 32-bit entry.
fn record(args: &[&str], program: &Path, namespace: &str) -> Option<Stream> {
    let script = format!("exec 9<{namespace}; {}", program.display());
    let stream = Stream::record(&[args, &["--", "sh", "-c", &script]].concat());
    if stream.code == Some(128 + 11) {
        skipped("this kernel does not support 32-bit system calls");
        return None;
    }
    assert_eq!(stream.code, Some(0), "{}", stream.stderr);
    Some(stream)
}

#[test]
fn calls_by_int_0x80_are_told_as_others_are() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("program");
        programs::install(&file, &program());
        let mut staged = Staged::spawn(Command::new("unshare").args(["--uts", "sleep", "60"]));
        let uts = proc::namespace(staged.wait_for("sleep"), "uts").expect("a namespace");
        let namespace = format!("/proc/{}/ns/uts", staged.wait_for("sleep"));

        // The option is needed only if it has a cost.
        let options: &[&str] = if plan == "tracepoints" { &["--compat"] } else { &[] };
        let Some(stream) = record(&[&["--source", plan], options].concat(), &file, &namespace) else {
            return;
        };
        let reported: Vec<Value> = stream
            .events()
            .map(|event| json!([event["event"], event["abi"], event["errno"], changed(event)]))
            .collect();
        let expected = [
            json!(["setns", "i386", null, ["uts"]]),
            json!(["unshare", "i386", null, ["uts"]]),
            json!(["chroot", "i386", null, []]),
            json!(["pivot_root", "i386", "EBUSY", []]),
            json!(["clone", "i386", null, ["uts"]]),
        ];
        assert_eq!(reported[..5], expected, "{reported:?}");
        // By the parent, and by the child if it runs before its parent's end, which ends the trace.
        let refused = json!(["clone", "i386", "EINVAL", []]);
        assert!(reported.len() > 5 && reported[5..].iter().all(|event| *event == refused), "{reported:?}");
        let [setns] = stream.of("setns")[..] else { panic!("one setns") };
        assert_eq!((&setns["args"]["fd"], after(setns, "uts")), (&9.into(), uts.into()));
        assert_eq!((&setns["target"]["ino"], &setns["target"]["kind"]), (&uts.into(), &"uts".into()));
        assert_eq!(stream.of("chroot")[0]["args"]["path"], "/");
        assert_eq!(stream.of("pivot_root")[0]["args"]["put_old"], "/");
        assert_eq!(stream.of("clone")[0]["args"]["flags"], json!(["CLONE_NEWUTS"]));

        if plan == "tracepoints" {
            let Some(stream) = record(&["--source", plan], &file, &namespace) else { return };
            assert_eq!(stream.events().count(), 1, "only the clone that succeeds");
            let unseen = stream.lines[0]["source"]["unseen"].to_string();
            assert!(unseen.contains("32-bit system calls"), "{unseen}");
        }
    });
}

#[test]
fn other_calls_are_reported_once_beside_them() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let stream = Stream::record(&["--compat", "--source", plan, "--", "unshare", "--uts", "true"]);
        let [event] = stream.of("unshare")[..] else { panic!("one unshare: {}", stream.stderr) };
        assert_eq!(event.get("abi"), None);
    });
}
