//! A file system in userspace whose server can stop answering: the protocol of `<linux/fuse.h>`, as far as needed for
//! one directory `d`, an empty file `f` in it and one file of bytes.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// `enum fuse_opcode`.
mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const RELEASE: u32 = 18;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const RELEASEDIR: u32 = 29;
    pub const INTERRUPT: u32 = 36;
    pub const BATCH_FORGET: u32 = 42;
}

const ROOT: u64 = 1;
const DIRECTORY: u64 = 2;
const FILE: u64 = 3;
const PROGRAM: u64 = 4;

/// The state shared by a server and its thread.
#[derive(Default)]
struct State {
    silent: AtomicBool,
    /// Set if only reads and writes are not answered.
    dataless: AtomicBool,
    end: AtomicBool,
    /// The process that is answered all the same.
    exempt: AtomicU32,
    /// The processes that have closed a file, and have not been answered.
    closing: Mutex<Vec<u32>>,
    /// The processes that write, and have not been answered.
    writing: Mutex<Vec<u32>>,
}

/// A mounted file system of this kind. When this is dropped its connection ends, and with it every wait for its
/// server.
pub struct Server {
    point: PathBuf,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Mounts it at `point` for the user `uid`, and lets everybody use it; `program` is the content of its file
    /// `program`. `None` if the kernel does not support FUSE.
    pub fn mount(point: &Path, uid: u32, program: Vec<u8>) -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let options =
            format!("fd={},rootmode=40755,user_id={uid},group_id={uid},allow_other", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("nsprobe"), point, Some("fuse.nsprobe"), flags, Some(options.as_str())).ok()?;
        let state = Arc::new(State::default());
        let of_thread = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(device, &program, &of_thread));
        Some(Self { point: point.to_owned(), state, thread: Some(thread) })
    }

    /// From now on it reads requests, and does not answer.
    pub fn stop_answering(&self) {
        self.state.silent.store(true, Ordering::Relaxed);
    }

    /// From now on it does not answer reads and writes, and answers everything else.
    pub fn stop_reading_and_writing(&self) {
        self.state.dataless.store(true, Ordering::Relaxed);
    }

    /// The processes whose writes it has not answered.
    pub fn writing(&self) -> Vec<u32> {
        self.state.writing.lock().expect("its thread does not panic").clone()
    }

    /// From now on it answers only the process `pid`.
    pub fn answer_only(&self, pid: u32) {
        self.state.exempt.store(pid, Ordering::Relaxed);
        self.stop_answering();
    }

    /// The processes that have closed one of its files, and have not been answered.
    pub fn closing(&self) -> Vec<u32> {
        self.state.closing.lock().expect("its thread does not panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It closes the device, which ends the connection.
            let _ = thread.join();
        }
        let _ = umount2(&self.point, MntFlags::MNT_DETACH);
    }
}

fn serve(mut device: File, program: &[u8], state: &State) {
    let mut request = vec![0; 1 << 18];
    while !state.end.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(20_u8)) != Ok(1) {
            continue;
        }
        // Unmounted, or the request was withdrawn.
        let Ok(length) = device.read(&mut request) else { continue };
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"));
        // `struct fuse_in_header`.
        let (opcode, pid) = (word(4), word(32));
        let is_data = opcode == opcode::READ || opcode == opcode::WRITE;
        let is_silent = state.silent.load(Ordering::Relaxed);
        if is_silent && state.exempt.load(Ordering::Relaxed) != pid
            || is_data && state.dataless.load(Ordering::Relaxed)
        {
            let unanswered = match opcode {
                opcode::FLUSH => &state.closing,
                opcode::WRITE => &state.writing,
                _ => continue,
            };
            unanswered.lock().expect("nobody panics with it").push(pid);
            continue;
        }
        let Some((unique, answer)) = answer(&request[..length], program) else { continue };
        let (error, body) = answer.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let size = u32::try_from(16 + body.len()).expect("short");
        let head = [&size.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
        let _ = device.write(&[head, body].concat());
    }
}

/// The id of a request, and its answer; `None` if it needs no answer.
fn answer(request: &[u8], program: &[u8]) -> Option<(u64, Result<Vec<u8>, i32>)> {
    let word = |at: usize| Some(u32::from_ne_bytes(request.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(request.get(at..at + 8)?.try_into().ok()?));
    let (opcode, unique, node) = (word(4)?, long(8)?, long(16)?);
    let body = &request[40..];
    Some((
        unique,
        match opcode {
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return None,
            opcode::INIT => {
                let mut init = vec![0; 64];
                init[..4].copy_from_slice(&7_u32.to_ne_bytes());
                init[4..8].copy_from_slice(&31_u32.to_ne_bytes());
                init[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
                Ok(init)
            }
            opcode::LOOKUP => match (node, body.strip_suffix(b"\0").unwrap_or(body)) {
                (ROOT, b"d") => Ok(entry(DIRECTORY)),
                (DIRECTORY, b"f") => Ok(entry(FILE)),
                // As many empty files as needed.
                (DIRECTORY, &[b'f', other]) => Ok(entry(u64::from(other) << 8)),
                (ROOT, b"program") => Ok(entry(PROGRAM)),
                _ => Err(libc::ENOENT),
            },
            opcode::GETATTR | opcode::SETATTR => Ok([vec![0; 16], attributes(node)].concat()),
            opcode::OPEN | opcode::OPENDIR => Ok(vec![0; 16]),
            opcode::RELEASE | opcode::RELEASEDIR | opcode::FLUSH => Ok(Vec::new()),
            // As if it had written everything: `struct fuse_write_out`.
            opcode::WRITE => Ok([&body[16..20], &[0; 4]].concat()),
            opcode::READ => {
                let length = u64::from(word(56)?);
                let content = if node == PROGRAM { program } else { &[] };
                let from = usize::try_from(long(48)?).map_or(content.len(), |at| at.min(content.len()));
                let to = (from + usize::try_from(length).ok()?).min(content.len());
                Ok(content[from..to].to_vec())
            }
            _ => Err(libc::ENOSYS),
        },
    ))
}

/// `struct fuse_entry_out`, with a validity of zero.
fn entry(node: u64) -> Vec<u8> {
    [&node.to_ne_bytes()[..], &[0; 32], &attributes(node)].concat()
}

/// `struct fuse_attr`.
fn attributes(node: u64) -> Vec<u8> {
    let mode = if node == ROOT || node == DIRECTORY { 0o040_755_u32 } else { 0o100_755 };
    // A file can be mapped up to its reported length.
    let size = if mode & 0o040_000 == 0 { 4096_u64 } else { 0 };
    let mut attributes = vec![0; 88];
    attributes[..8].copy_from_slice(&node.to_ne_bytes());
    attributes[8..16].copy_from_slice(&size.to_ne_bytes());
    attributes[60..64].copy_from_slice(&mode.to_ne_bytes());
    attributes[64..68].copy_from_slice(&1_u32.to_ne_bytes());
    attributes[80..84].copy_from_slice(&4096_u32.to_ne_bytes());
    attributes
}
