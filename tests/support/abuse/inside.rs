//! Threads that stand inside chroot(2) and pivot_root(2), because nobody supplies the page that their path is on.

use super::{INSIDE, name, say};
use nix::unistd::gettid;
use std::fs::read_to_string;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::null_mut;
use std::sync::mpsc::channel;
use std::time::Duration;

/// `UFFDIO_API`, `UFFDIO_REGISTER`, `UFFDIO_COPY` of `<linux/userfaultfd.h>`, and the version they agree on.
const API: u64 = 0xc018_aa3f;
const REGISTER: u64 = 0xc020_aa00;
const COPY: u64 = 0xc028_aa03;
const VERSION: u64 = 0xaa;

const PAGE: usize = 4096;

/// Memory whose pages come when this says so: userfaultfd(2).
pub struct Withheld {
    faults: OwnedFd,
    first: usize,
}

impl Withheld {
    /// As many pages.
    pub fn new(pages: usize) -> Self {
        // SAFETY: a new mapping, and a new descriptor that nobody else has.
        let (first, faults) = unsafe {
            let (access, private) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let first = libc::mmap(null_mut(), pages * PAGE, access, private, -1, 0);
            assert_ne!(first, libc::MAP_FAILED);
            let faults = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            let faults = i32::try_from(faults).ok().filter(|&faults| faults >= 0).expect("userfaultfd(2)");
            (first as usize, OwnedFd::from_raw_fd(faults))
        };
        let withheld = Self { faults, first };
        withheld.control(API, &mut [VERSION, 0, 0]);
        withheld.control(REGISTER, &mut [first as u64, (pages * PAGE) as u64, 1, 0]);
        withheld
    }

    fn control<const WORDS: usize>(&self, request: u64, words: &mut [u64; WORDS]) {
        // SAFETY: each request takes as many words as it is given.
        let result = unsafe { libc::ioctl(self.faults.as_raw_fd(), request, words.as_mut_ptr()) };
        assert_eq!(result, 0, "{request:#x}: {}", std::io::Error::last_os_error());
    }

    /// Where a page begins.
    pub const fn page(&self, number: usize) -> usize {
        self.first + number * PAGE
    }

    /// Supplies a page that begins with `text`.
    pub fn supply(&self, number: usize, text: &[u8]) {
        let mut page = vec![0_u8; PAGE];
        page[..text.len()].copy_from_slice(text);
        self.control(COPY, &mut [self.page(number) as u64, page.as_ptr() as u64, PAGE as u64, 0, 0]);
    }
}

/// Whether this thread of this process is inside the system call of this number.
pub fn is_inside(tid: i32, call: i64) -> bool {
    let path = format!("/proc/self/task/{tid}/syscall");
    read_to_string(path).is_ok_and(|text| text.starts_with(&format!("{call} ")))
}

/// Calls `call` with a path at `address`, which it is not to be made of in any other way.
pub fn call_at(call: i64, address: usize) -> i64 {
    // SAFETY: the kernel checks the address of a path.
    unsafe { libc::syscall(call, address, address) }
}

/// Has `count` threads of the user [`INSIDE`] stand inside chroot(2) and pivot_root(2) until this process is killed.
pub fn stand(count: usize) -> ! {
    let withheld = Withheld::new(1);
    let page = withheld.page(0);
    let (begin, begun) = channel();
    for at in 0..count {
        let begin = begin.clone();
        let call = if at % 2 == 0 { libc::SYS_chroot } else { libc::SYS_pivot_root };
        let stand = move || {
            name("abuse-inside");
            // The user of a thread is its own to the kernel, whatever the library makes of it.
            // SAFETY: takes no pointer.
            unsafe { libc::syscall(libc::SYS_setresuid, INSIDE, 0, 0) };
            begin.send((gettid().as_raw(), call)).expect("the main thread waits");
            call_at(call, page);
        };
        std::thread::Builder::new().stack_size(64 << 10).spawn(stand).expect("a thread");
    }
    for (tid, call) in begun.into_iter().take(count) {
        while !is_inside(tid, call) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    say("inside");
    loop {
        std::thread::park();
        std::hint::black_box(&withheld);
    }
}
