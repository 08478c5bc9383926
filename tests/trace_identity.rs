//! The first line of `nsprobe trace`: the identity of the run and of the machine.

use crate::support::stage::succeed;
use crate::support::trace::Stream;
use crate::support::{self, json, root};
use nsprobe::model::NsKind;
use std::fs::read_to_string;
use std::process::Command;

#[test]
fn two_streams_of_one_machine_have_ids_of_their_own() {
    let _limit = support::time_limit();
    let trace = || Stream::record(&["--source", "proc", "--duration", "1ms"]);
    let (one, other) = (trace(), trace());
    let start = &one.lines[0];
    let id = |stream: &Stream| {
        let id = stream.lines[0]["stream"].as_str().expect("an id").to_owned();
        assert_eq!(stream.lines.last().expect("an end")["stream"], *id);
        id
    };
    assert_eq!(id(&one).len(), 36);
    assert_ne!(id(&one), id(&other));
    // The same machine and the same boot.
    assert_eq!(
        (&start["host"], &start["namespaces"]),
        (&other.lines[0]["host"], &other.lines[0]["namespaces"])
    );
    let of = |path: &str| read_to_string(path).ok().map(|text| text.trim_end().to_owned());
    assert_eq!(start["host"]["boot_id"].as_str(), of("/proc/sys/kernel/random/boot_id").as_deref());
    let machine_id = of("/etc/machine-id").filter(|id| id.len() == 32);
    assert_eq!(start["host"]["machine_id"].as_str(), machine_id.as_deref());
    assert_eq!(start["host"]["name"], succeed(Command::new("uname").arg("-n")).trim_end());
    if !root() {
        return;
    }
    // As kthreadd has them, and with the keys of `list`.
    let list = json(&["list", "--json"]);
    let listed = list["namespaces"].as_array().expect("a list");
    for kind in NsKind::ALL.map(NsKind::name) {
        let link = std::fs::read_link(format!("/proc/2/ns/{kind}")).expect("root may");
        assert_eq!(format!("{kind}:[{}]", start["namespaces"][kind]), link.to_str().expect("text"));
        let initial = listed.iter().find(|row| row["kind"] == kind && row["initial"] == true);
        assert_eq!(start["keys"][kind], initial.expect("it is listed")["key"], "{kind}");
    }
}
