//! What single steps cost: `cargo bench --package nsprobe-bench`. In one process and without the kernel, but for its BTF.

use divan::Bencher;
use divan::counter::BytesCount;
use nsprobe::kernel::btf::{self, Wanted};
use nsprobe::model::{Body, Line};
use nsprobe::render::event_json;
use nsprobe::trace::decode;
use nsprobe_ebpf::{Event, FIELDS, RECORD_VERSION, Text, cause, text, text_flags};
use std::mem::offset_of;
use std::time::SystemTime;

/// The device of nsfs, as on most machines.
const NSFS: u64 = 4;

fn main() {
    divan::main();
}

fn put(record: &mut [u8], at: usize, value: &[u8]) {
    record[at..at + value.len()].copy_from_slice(value);
}

/// A record of setns(2) to a network namespace, as the probe writes it.
fn setns() -> Vec<u8> {
    let mut record = vec![0; size_of::<Event>()];
    for (at, inode) in (offset_of!(Event, before)..).step_by(4).zip(4_026_531_834_u32..).take(10) {
        put(&mut record, at, &inode.to_ne_bytes());
        put(&mut record, at + offset_of!(Event, after) - offset_of!(Event, before), &inode.to_ne_bytes());
    }
    let net = offset_of!(Event, after) + 4 * nsprobe_ebpf::slot::NET;
    put(&mut record, net, &4_026_532_180_u32.to_ne_bytes());
    put(&mut record, offset_of!(Event, comm), b"nsenter\0");
    put(&mut record, 6, &cause::SETNS.to_ne_bytes());
    put(&mut record, 4, &RECORD_VERSION.to_ne_bytes());
    let walk = text_flags::WALK;
    for (index, bytes, flags) in [
        (text::FIRST, &b"blue\0netns\0run\0"[..], walk),
        (text::EXE, b"nsenter\0bin\0usr\0", walk),
        (text::COMMAND_LINE, b"nsenter\0--net=/run/netns/blue\0sleep\x00100\0", 0),
        (text::CGROUP, b"session-3.scope\0user-1000.slice\0user.slice\0", walk),
    ] {
        let at = record.len() - size_of::<Event>();
        record.extend(bytes);
        record.resize(record.len().next_multiple_of(8), 0);
        let piece = offset_of!(Event, texts) + index * size_of::<Text>();
        put(&mut record, piece, &u16::try_from(at).expect("short").to_ne_bytes());
        put(&mut record, piece + 2, &u16::try_from(bytes.len()).expect("short").to_ne_bytes());
        put(&mut record, piece + 4, &flags.to_ne_bytes());
    }
    let length = u32::try_from(record.len() - size_of::<Event>()).expect("short");
    put(&mut record, offset_of!(Event, text_len), &length.to_ne_bytes());
    let size = u32::try_from(record.len()).expect("short");
    put(&mut record, 0, &size.to_ne_bytes());
    record
}

/// From the bytes of the ring buffer to an event.
#[divan::bench]
fn record_decoded(bencher: Bencher) {
    let record = setns();
    bencher
        .counter(BytesCount::of_slice(&record))
        .bench(|| decode::event(divan::black_box(&record), NSFS).expect("a whole record"));
}

/// From an event to a line of `trace --json`; the counter has the bytes of the line.
#[divan::bench]
fn event_as_json(bencher: Bencher) {
    let event = decode::event(&setns(), NSFS).expect("a whole record");
    let line = Line { seq: 1, time: SystemTime::now(), body: Body::Event(Box::new(event)) };
    let mut out = Vec::new();
    let mut writer = event_json::Writer::default();
    writer.write(&line, &mut out).expect("memory");
    bencher.counter(BytesCount::of_slice(&out)).bench_local(|| {
        out.clear();
        writer.write(divan::black_box(&line), &mut out).expect("memory");
    });
}

/// The scan of the kernel's BTF for all that the probe needs of it.
#[divan::bench]
fn btf_scanned(bencher: Bencher) {
    let Ok(kernel) = std::fs::read(btf::PATH) else {
        return eprintln!("NOT MEASURED: {} is missing", btf::PATH);
    };
    let functions = ["kernel_clone", "ksys_unshare", "__x64_sys_setns"];
    let wanted = Wanted { fields: FIELDS, functions: &functions, typedefs: &["btf_trace_task_newtask"] };
    bencher
        .counter(BytesCount::of_slice(&kernel))
        .bench(|| btf::find(divan::black_box(&kernel), &wanted).expect("readable BTF"));
}
