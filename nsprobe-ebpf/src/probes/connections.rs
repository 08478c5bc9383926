//! TCP connections that no process has open any more and that still hold their network namespace: those in FIN_WAIT1,
//! CLOSING or LAST_ACK, until the other side has answered. (In TIME_WAIT they hold nothing.)
//!
//! A walk over the hash table of connections that network namespaces share, namely nsprobe's own: the program is never
//! attached, only run, some buckets per run, in an RCU read section. A connection that has ended meanwhile may have
//! become a different one, in another bucket: the walk continues there, and ends with that bucket. So between two runs
//! only the bucket number is kept.

use crate::maps::{self, offset};
use crate::task::{self, embedded, read, read_at};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use nsprobe_ebpf::{CONNECTION_STEPS, Connections, FOUND, Field, Header, cause, outcome};

/// `TCP_TIME_WAIT` and `TCP_NEW_SYN_RECV`, which are not a whole `struct sock`.
const NO_SOCK: [u8; 2] = [6, 12];

/// `AF_INET6`.
const INET6: u16 = 10;

/// Goes some steps over the table. The first argument is the bucket to start at.
#[raw_tracepoint]
pub fn list_connections(context: RawTracePointContext) -> i32 {
    if let Some(walk) = maps::connections() {
        walk.header = Header::of::<Connections>(cause::CONNECTIONS);
        (walk.count, walk.outcome, walk.reserved) = (0, outcome::LOST, 0);
        let net: u64 = read(read(task::current(), Field::TaskNsproxy), Field::NsproxyNet);
        let row = embedded(embedded(net, Field::NetIpv4), Field::Ipv4DeathRow);
        let table: u64 = read(row, Field::DeathRowHashinfo);
        if table != 0 {
            go(walk, table, context.arg(0));
        }
    }
    0
}

#[inline(always)]
fn go(walk: &mut Connections, table: u64, begin: u64) {
    let buckets: u64 = read(table, Field::HashinfoTable);
    let last = u64::from(read::<u32>(table, Field::HashinfoMask));
    let mut bucket = begin;
    // Each bucket is a pointer to the first of its chain, or an odd number.
    let mut node: u64 = read_at(buckets + bucket * 8);
    for _ in 0..CONNECTION_STEPS {
        if node == 0 || node & 1 != 0 {
            bucket += 1;
            if bucket > last {
                walk.outcome = outcome::END;
                return;
            }
            node = read_at(buckets + bucket * 8);
            continue;
        }
        let common = node - u64::from(offset(Field::SockCommonNode));
        node = read_at(node);
        let net = embedded(read(common, Field::SockCommonNet), Field::NetNsCommon);
        let id: u64 = read(net, Field::NsCommonId);
        let state: u8 = read(common, Field::SockCommonState);
        // The `struct sock_common` is the start of the `struct sock`.
        if maps::is_sought(id) && !NO_SOCK.contains(&state) && read::<u64>(common, Field::SockSocket) == 0 {
            let index = walk.count as usize;
            if index >= FOUND {
                continue;
            }
            let found = &mut walk.found[index];
            found.id = id;
            found.state = u16::from(state);
            found.family = read(common, Field::SockCommonFamily);
            found.local_port = read(common, Field::SockCommonLocalPort);
            found.remote_port = read(common, Field::SockCommonRemotePort);
            if found.family == INET6 {
                let (local, remote) =
                    (embedded(common, Field::SockCommonLocal6), embedded(common, Field::SockCommonRemote6));
                found.local = [read_at(local), read_at(local + 8)];
                found.remote = [read_at(remote), read_at(remote + 8)];
            } else {
                found.local = [u64::from(read::<u32>(common, Field::SockCommonLocal)), 0];
                found.remote = [u64::from(read::<u32>(common, Field::SockCommonRemote)), 0];
            }
            walk.count = index as u32 + 1;
        }
    }
    walk.outcome = outcome::MORE;
    // A chain longer than all steps of a run is not read to its end.
    walk.bucket = if bucket == begin { bucket as u32 + 1 } else { bucket as u32 };
}
