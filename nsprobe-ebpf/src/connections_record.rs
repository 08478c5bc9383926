//! The record of a walk over the kernel's table of TCP connections.

use crate::Header;

/// Steps of one run of the program: empty buckets, and connections.
pub const CONNECTION_STEPS: usize = 64;

/// The most connections that one run reports.
pub const FOUND: usize = 16;

/// A TCP connection that no process has open.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The 64-bit id of its network namespace.
    pub id: u64,
    /// Its local address: for IPv4 in the first 4 bytes.
    pub local: [u64; 2],
    /// Its remote address.
    pub remote: [u64; 2],
    /// Its local port, in host byte order.
    pub local_port: u16,
    /// Its remote port, in network byte order.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Its state, as numbered by the kernel (`TCP_FIN_WAIT1`).
    pub state: u16,
}

/// The findings of one run, and the position of the next.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Its cause is [`crate::cause::CONNECTIONS`].
    pub header: Header,
    /// One of [`crate::outcome`]; 0 before the first run.
    pub outcome: u32,
    /// The number of valid entries in `found`.
    pub count: u32,
    /// The bucket to continue at.
    pub bucket: u32,
    /// Keeps the record free of hidden padding; always 0.
    pub reserved: u32,
    /// The connections.
    pub found: [Connection; FOUND],
}

// No hidden padding: the fields add up to the whole.
const _: () = assert!(size_of::<Connections>() == 24 + 48 * FOUND);
