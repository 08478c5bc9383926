//! The cost of `nsprobe trace` for tasks that make other system calls: with fentry and fprobes, nothing.
//!
//! A tracepoint of a system call makes the kernel set a flag on every task, `SYSCALL_WORK_SYSCALL_TRACEPOINT`
//! (`TIF_SYSCALL_TRACEPOINT` before Linux 5.11), which sends every system call of the machine through the slow path.
//! The flag is read here by a BPF program of seven lines, from the running task, as the kernel sets it on all alike.
//! If an emulated machine's clock counts instructions, they are compared (`cargo xtask vm --counted`).

use crate::support::trace::each_plan;
use crate::support::tracing::Tracing;
use crate::support::{bpf, skipped, stage};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use aya::{Ebpf, EbpfLoader};
use nsprobe::kernel::btf::{self, Wanted};
use nsprobe_ebpf::{ABSENT, FieldSource};
use std::os::unix::process::parent_id;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `1 << SYSCALL_WORK_BIT_SYSCALL_TRACEPOINT`: in `thread_info.syscall_work` of Linux 5.11 and later.
const WORK: u32 = 1 << 1;
/// `_TIF_SYSCALL_TRACEPOINT` of x86: in `thread_info.flags` before.
const FLAG: u32 = 1 << 28;

/// Checks whether system calls of this task take the slow path because of a tracepoint.
struct SlowPath {
    program: Ebpf,
    mask: u32,
}

impl SlowPath {
    fn open() -> Self {
        let fields =
            [("task_struct", "thread_info"), ("thread_info", "syscall_work"), ("thread_info", "flags")]
                .map(|(type_name, member)| FieldSource { type_name, member });
        let kernel = std::fs::read(btf::PATH).expect("the kernel's BTF");
        let wanted = Wanted { fields: &fields, functions: &[], typedefs: &[] };
        let [info, work, flags] = btf::find(&kernel, &wanted).expect("BTF").offsets[..] else {
            panic!("three offsets")
        };
        let (within, mask) = if work == ABSENT { (flags, FLAG) } else { (work, WORK) };
        assert!(info != ABSENT && within != ABSENT, "no flags of a task");
        let object = object(PROGRAM, &reading(info + within));
        let mut program = EbpfLoader::new().load(&object).expect("an object");
        let tracepoint: &mut RawTracePoint =
            program.program_mut(PROGRAM).expect("the program").try_into().expect("of this type");
        tracepoint.load().expect("the verifier agrees");
        Self { program, mask }
    }

    fn is_taken(&self) -> bool {
        let program = self.program.program(PROGRAM).expect("the program");
        let program: &RawTracePoint = program.try_into().expect("of this type");
        let ran = program.test_run(RawTracePointRunOptions::new()).expect("it runs");
        ran.return_value & self.mask != 0
    }
}

const PROGRAM: &str = "flags";

/// A program that returns the `u32` at this offset of the running task.
fn reading(offset: u32) -> Vec<u8> {
    let line = |code: u8, registers: u8, offset: i8, value: u32| {
        let [low, high] = i16::from(offset).to_le_bytes();
        [&[code, registers, low, high][..], &value.to_le_bytes()].concat()
    };
    [
        line(0x85, 0, 0, 35),              // r0 = bpf_get_current_task()
        line(0xbf, 0x03, 0, 0),            // r3 = r0
        line(0x07, 0x03, 0, offset),       // r3 += offset
        line(0x7a, 0x0a, -8, 0),           // *(u64 *)(r10 - 8) = 0
        line(0xbf, 0xa1, 0, 0),            // r1 = r10
        line(0x07, 0x01, 0, u32::MAX - 7), // r1 += -8
        line(0xb7, 0x02, 0, 4),            // r2 = 4
        line(0x85, 0, 0, 113),             // bpf_probe_read_kernel(r1, r2, r3)
        line(0x61, 0xa0, -8, 0),           // r0 = *(u32 *)(r10 - 8)
        line(0x95, 0, 0, 0),               // exit
    ]
    .concat()
}

/// An ELF file for BPF with one program for a raw tracepoint. elf(5)
fn object(name: &str, code: &[u8]) -> Vec<u8> {
    const HEADER: usize = 64;
    // Section names and the symbol's, each ended by a NUL; the second section is these, the third the symbols.
    let strings = format!("\0raw_tp/{name}\0.strtab\0.symtab\0{name}\0");
    let at = |word: &str| u32::try_from(strings.find(word).expect("a name")).expect("short");
    let word = |value: usize| (value as u64).to_le_bytes();
    let symbol = [
        // A global function in section 1, of the length of the code.
        &at(&format!("\0{name}\0")).wrapping_add(1).to_le_bytes()[..],
        &[0x12, 0, 1, 0],
        &word(0),
        &word(code.len()),
    ]
    .concat();
    let symbols = [vec![0; 24], symbol].concat();
    let parts = [code, strings.as_bytes(), &symbols];
    let mut places = Vec::new();
    let mut body = Vec::new();
    for part in parts {
        body.resize(body.len().next_multiple_of(8), 0);
        places.push(HEADER + body.len());
        body.extend_from_slice(part);
    }
    body.resize(body.len().next_multiple_of(8), 0);
    let section = |name: u32, kind: u32, flags: usize, index: usize, link: u32, first: u32, entry: usize| {
        [
            &name.to_le_bytes()[..],
            &kind.to_le_bytes(),
            &word(flags),
            &word(0),
            &word(places[index]),
            &word(parts[index].len()),
            &link.to_le_bytes(),
            &first.to_le_bytes(),
            &word(8),
            &word(entry),
        ]
        .concat()
    };
    let sections = [
        vec![0; 64],
        section(at("raw_tp"), 1, 6, 0, 0, 0, 0),
        section(at(".strtab"), 3, 0, 1, 0, 0, 0),
        section(at(".symtab"), 2, 0, 2, 2, 1, 24),
    ]
    .concat();
    // A relocatable file for machine 247, little-endian, with four sections, whose names are in the third.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0\x01\0\0\0".to_vec();
    elf.extend([word(0), word(0), word(HEADER + body.len())].concat());
    elf.extend(b"\0\0\0\0\x40\0\0\0\0\0\x40\0\x04\0\x02\0");
    elf.extend(body);
    elf.extend(sections);
    elf
}

#[test]
fn functions_leave_other_system_calls_alone() {
    let _limit = crate::support::time_limit();
    if !bpf() {
        return;
    }
    let slow = SlowPath::open();
    each_plan(|plan| {
        // Others on this machine may trace system calls, such as the tests beside this one: but not all the time.
        let is_spared = || stage::wait(|| (!slow.is_taken()).then_some(())).is_some();
        // If nsprobe set it, the flag would be set for as long as it runs, and no longer.
        let is_to_blame = || {
            let tracing = Tracing::start(&["--source", plan]);
            if is_spared() {
                return false;
            }
            drop(tracing);
            let spared = is_spared();
            if !spared {
                skipped("others trace system calls all the time: it cannot be known whether nsprobe does");
            }
            spared
        };
        let of_functions = plan != "tracepoints";
        if of_functions {
            // Once, others may have stopped just as it ended.
            assert!(!(is_to_blame() && is_to_blame()), "nsprobe traces them all");
        } else {
            let _tracing = Tracing::start(&["--source", plan]);
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(300) {
                assert!(slow.is_taken(), "this test would not see it");
                sleep(Duration::from_millis(5));
            }
        }
    });
}

/// The duration of getppid(2), by the clock: the minimum of some rounds, because of timers and other tasks.
fn getppid() -> f64 {
    const CALLS: u32 = 5_000;
    let round = |_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(parent_id());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..30).map(round).fold(f64::INFINITY, f64::min)
}

#[test]
fn functions_add_no_instruction_to_other_system_calls() {
    let _limit = crate::support::time_limit();
    if std::env::var_os("NSPROBE_TEST_COUNTED").is_none() {
        return skipped(
            "instructions are not counted here; in the machines of `cargo xtask vm --counted` they are",
        );
    }
    each_plan(|plan| {
        let tracing = Tracing::start(&["--source", plan]);
        let traced = getppid();
        drop(tracing);
        let alone = getppid();
        eprintln!("COUNTED getppid takes {alone:.2} instructions, {traced:.2} with {plan}");
        let more = traced - alone;
        let of_functions = plan != "tracepoints";
        if of_functions {
            // A tenth, in 5,000 calls: none of them took one more.
            assert!(more.abs() < 0.1, "{more:.2} more");
        } else {
            assert!(more > 50.0, "this test would not see it: {more:.2} more");
        }
    });
}
