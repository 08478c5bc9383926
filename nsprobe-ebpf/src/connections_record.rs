//! The record of a walk along the kernel's table of TCP connections.

use crate::Header;

/// Places in the table that one run of the program looks at: empty buckets, and connections.
pub const CONNECTION_STEPS: usize = 64;

/// Connections that one run tells.
pub const FOUND: usize = 16;

/// A TCP connection without a process.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The 64-bit number of the network namespace that it belongs to.
    pub id: u64,
    /// Its own address: of IPv4 in the first 4 bytes.
    pub local: [u64; 2],
    /// The other's.
    pub remote: [u64; 2],
    /// Its own port, as the processor has numbers.
    pub local_port: u16,
    /// The other's, in the order of the network.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Its state, as the kernel numbers them (`TCP_FIN_WAIT1`).
    pub state: u16,
}

/// What one run found, and where the next one goes on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Its cause is [`crate::cause::CONNECTIONS`].
    pub header: Header,
    /// One of [`crate::outcome`]; 0 before the first run.
    pub outcome: u32,
    /// How many of `found` are set.
    pub count: u32,
    /// The bucket to go on from.
    pub bucket: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
    /// The connections.
    pub found: [Connection; FOUND],
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Connections>() == 24 + 48 * FOUND);
