//! The boundary to Linux: raw reads, ioctls, BTF, the probe. Every `unsafe` of the crate lives here.

mod bpf;
pub mod btf;
pub mod capabilities;
pub mod cgroups;
pub mod clock;
mod entries;
pub mod given;
pub mod kcmp;
pub mod listns;
pub mod lists;
pub mod mounts;
pub mod nsfs;
mod on_demand;
pub mod perf;
pub mod probe;
pub mod proc;
pub mod pseudo;
pub mod ring;
pub mod rtnetlink;
pub mod sideband;
pub mod signals;
pub mod sockets;
pub mod statx;
pub mod task_storage;
pub mod tasks;
pub mod vmlinux;
pub mod watches;
