//! Records of the probe, from the running kernel and then corrupted: incomplete ones are counted and never misread.

use crate::support::trace::{each_plan, of_probe};
use nsprobe::kernel::ring::Ring;
use nsprobe::model::{Event as DecodedEvent, Operation};
use nsprobe::trace::attach::{AttachRequest, attach};
use nsprobe::trace::decode::{self, DecodeError};
use nsprobe::trace::hooks::{Call, Plan};
use nsprobe::trace::plan::Choice;
use nsprobe_ebpf::{
    Child, Config, Event, Freed, Header, PID_LEVELS, Pids, RECORD_VERSION, Text, cause, text,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use std::mem::offset_of;
use std::process::Command;

const DEV: u64 = 4;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// True if these bytes are one whole record, by the structs and their comments.
fn is_whole(bytes: &[u8]) -> bool {
    let header = |at| offset_of!(Event, header) + at;
    if bytes.len() < size_of::<Header>()
        || u16_at(bytes, header(offset_of!(Header, version))) != RECORD_VERSION
        || u32_at(bytes, header(offset_of!(Header, size))) as usize != bytes.len()
    {
        return false;
    }
    let cause = u16_at(bytes, header(offset_of!(Header, cause)));
    if bytes.len() == size_of::<Freed>() {
        return cause == cause::FREED;
    }
    if bytes.len() < size_of::<Event>() || !(cause::CLONE..=cause::PIVOT_ROOT).contains(&cause) {
        return false;
    }
    let length = u32_at(bytes, offset_of!(Event, text_len)) as usize;
    let texts = (0..text::COUNT).map(|index| offset_of!(Event, texts) + index * size_of::<Text>());
    let inside = |at: usize| {
        let begin = usize::from(u16_at(bytes, at + offset_of!(Text, at)));
        begin + usize::from(u16_at(bytes, at + offset_of!(Text, len))) <= length
    };
    let depth = |at: usize| u32_at(bytes, at + offset_of!(Pids, count)) as usize;
    let child = offset_of!(Event, child);
    let has_child = cause == cause::CLONE && u32_at(bytes, child + offset_of!(Child, tid)) != 0;
    length.next_multiple_of(8) == bytes.len() - size_of::<Event>()
        && texts.into_iter().all(inside)
        && depth(offset_of!(Event, pids)) <= PID_LEVELS
        && (!has_child || depth(child + offset_of!(Child, pids)) <= PID_LEVELS)
}

/// Checks that the decoder returns an event for whole records, and an error otherwise.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let decoded = decode::record(bytes, DEV);
    prop_assert_eq!(decoded.is_ok(), is_whole(bytes), "{:?} of {:?}", decoded, bytes);
    if bytes.len() == size_of::<Freed>() {
        return Ok(());
    }
    if let Ok(event) = decode::event(bytes, DEV) {
        prop_assert_eq!(event.process.pid, u32_at(bytes, offset_of!(Event, tgid)));
        prop_assert_eq!(event.process.tid, u32_at(bytes, offset_of!(Event, tid)));
        let first = offset_of!(Event, pids) + offset_of!(Pids, nr);
        let pids = event.process.pids.iter().enumerate();
        prop_assert!(pids.into_iter().all(|(level, &pid)| pid == u32_at(bytes, first + 4 * level)));
    }
    Ok(())
}

fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(strategy, test).unwrap_or_else(|error| panic!("{error}"));
}

/// Bytes that get another value; most in the header and the event's fields.
fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    prop::collection::vec((any::<Index>(), prop_oneof![Just(0), Just(0xff), any::<u8>()]), 0..6)
}

/// The same record, corrupted.
fn corrupted(record: &[u8], changes: &[(Index, u8)]) -> Vec<u8> {
    let mut bytes = record.to_vec();
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    bytes
}

/// Records of some commands, as the kernel wrote them.
fn records(plan: Plan) -> Vec<Vec<u8>> {
    let config = Config { flags: nsprobe_ebpf::config::LIFECYCLE, ..Config::default() };
    let mut attached =
        attach(&AttachRequest { config, ..AttachRequest::new(Choice::Only(plan), &Call::ALL, 1 << 20) })
            .unwrap_or_else(|error| panic!("{error}"));
    let mut ring: Ring = attached.probe.take_ring().expect("a ring");
    for words in [
        &["unshare", "--uts", "--ipc", "true"][..],
        &["unshare", "--user", "--map-root-user", "--pid", "--fork", "chroot", "/", "true"],
        &["nsenter", "--net=/proc/self/ns/uts", "true"],
        &["chroot", "/nonexistent"],
    ] {
        Command::new(words[0])
            .args(&words[1..])
            .stderr(std::process::Stdio::null())
            .status()
            .expect(words[0]);
    }
    let mut records = Vec::new();
    while let Some(record) = ring.next(<[u8]>::to_vec) {
        records.push(record);
    }
    records
}

#[test]
fn records_that_were_spoilt_are_counted_and_not_misread() {
    let _limit = crate::support::time_limit();
    each_plan(|plan| {
        let records = records(of_probe(plan));
        let events: Vec<DecodedEvent> =
            records.iter().filter_map(|record| decode::event(record, DEV).ok()).collect();
        let of = |name: &str| events.iter().filter(|event| event.operation.name() == name).count();
        assert!(of("unshare") >= 2 && of("setns") >= 1 && of("chroot") >= 2, "{events:?}");
        assert!(records.iter().all(|record| is_whole(record)), "as the kernel wrote them they are whole");
        // Every cut of every record.
        for record in &records {
            for length in 0..record.len() {
                assert!(decode::record(&record[..length], DEV).is_err(), "{length} bytes of {record:?}");
            }
        }
        let strategy = (any::<Index>(), changes(), prop::option::of(any::<u16>()));
        run(1000, &strategy, |(which, changes, version)| {
            let mut bytes = corrupted(which.get::<Vec<u8>>(&records), &changes);
            if let Some(version) = version.filter(|&version| version != RECORD_VERSION) {
                bytes[offset_of!(Header, version)..][..2].copy_from_slice(&version.to_ne_bytes());
                prop_assert_eq!(decode::record(&bytes, DEV), Err(DecodeError::Version(version)));
            }
            check(&bytes)
        });
    });
}

#[test]
fn any_bytes_at_all_make_no_panic() {
    let _limit = crate::support::time_limit();
    run(300, &prop::collection::vec(any::<u8>(), 0..1200), |bytes| check(&bytes));
    // Of the right version and size, which random bytes never are.
    let body = prop::collection::vec(prop_oneof![4 => Just(0), 1 => any::<u8>()], size_of::<Event>()..1024);
    run(800, &(body, 0_u16..12), |(mut bytes, cause)| {
        let size = u32::try_from(bytes.len()).unwrap();
        let length = u32::try_from(bytes.len() - size_of::<Event>()).unwrap();
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(Header, size), &size.to_ne_bytes());
        put(offset_of!(Header, version), &RECORD_VERSION.to_ne_bytes());
        put(offset_of!(Header, cause), &cause.to_ne_bytes());
        put(offset_of!(Event, text_len), &length.to_ne_bytes());
        check(&bytes)?;
        // A decoded event can be written.
        if let Ok(event) = decode::event(&bytes, DEV) {
            let is_known = matches!(
                event.operation,
                Operation::Clone { .. }
                    | Operation::Unshare { .. }
                    | Operation::Setns { .. }
                    | Operation::Chroot { .. }
                    | Operation::PivotRoot { .. }
            );
            prop_assert!(is_known);
            let line = nsprobe::model::Line {
                seq: 0,
                time: std::time::UNIX_EPOCH + event.since_boot,
                body: nsprobe::model::Body::Event(Box::new(event)),
            };
            let mut json = Vec::new();
            nsprobe::render::event_json::Writer::default().write(&line, &mut json).expect("into memory");
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
        Ok(())
    });
}
