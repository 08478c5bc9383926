//! A process that keeps the lock of its own memory map: this test program, started again.

use nix::fcntl::OFlag;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The file, in the environment.
const FILE: &str = "NSPROBE_TEST_LOCKED";

const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Starts a process that has changed a page of `file`, which is mapped. At a first byte from its stdin it removes
/// that mapping, for which the file is written, and at a second one it requests another mapping. It writes a byte
/// when it is ready, and another one when the mapping has been removed.
pub fn start(file: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "hang_locks::locked", "--test-threads=1", "--nocapture"]).env(FILE, file);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut output = child.stdout.take().expect("a pipe");
    let mut byte = [0];
    while byte != *b"\x02" {
        output.read_exact(&mut byte).expect("it is ready");
    }
    child.stdout = Some(output);
    child
}

/// Does all that, in the process that was started for it.
pub fn run() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).custom_flags(OFlag::O_CLOEXEC.bits()).open(file).expect("the file");
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a mapping of this process, which is written to before it is removed, and by nobody else.
    let map = unsafe { mmap(None, PAGE, rights, MapFlags::MAP_SHARED, &file, 0) }.expect("a mapping");
    // SAFETY: a page of that mapping.
    unsafe { map.cast::<u8>().write_volatile(1) };
    let map = map.as_ptr() as usize;
    std::io::stdout().write_all(b"\x02").and_then(|()| std::io::stdout().flush()).expect("a reader");
    let wait = || std::io::stdin().read_exact(&mut [0]).expect("go on");
    wait();
    std::thread::spawn(move || {
        let map = std::ptr::NonNull::new(map as *mut std::ffi::c_void).expect("a mapping");
        // SAFETY: nobody uses it any more.
        unsafe { munmap(map, PAGE.get()) }.expect("its mapping");
        std::io::stdout().write_all(b"\x03").and_then(|()| std::io::stdout().flush()).expect("a reader");
    });
    wait();
    std::thread::spawn(|| {
        // SAFETY: a mapping of this process, which nobody uses.
        unsafe { mmap_anonymous(None, PAGE, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }.map(|_| ())
    });
    wait();
}
