//! `nsprobe tree`, compared with `/proc` read by hand.

use crate::support::stage::Staged;
use crate::support::{self, proc};

#[test]
fn staging_makes_what_it_says() {
    if !support::root() {
        return;
    }
    let mut nested = Staged::sh("exec unshare --pid --fork unshare --pid --fork sleep 1000");
    let pid = nested.wait_for("sleep");
    assert_eq!(
        proc::pids_inside(pid).map(|pids| pids.len()),
        proc::pids_inside(std::process::id()).map(|pids| pids.len() + 2)
    );
    drop(nested);
    assert_eq!(proc::comm(pid), None);
}
