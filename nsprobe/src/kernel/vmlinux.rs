//! The kernel's own type information, as bytes.

use super::btf;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;

/// The bytes of [`btf::PATH`].
#[derive(Debug)]
pub enum KernelTypes {
    /// The kernel's own pages (Linux 6.16): 5 MB that need not be copied.
    Mapped(Mapping),
    /// A copy.
    Read(Vec<u8>),
}

/// A file mapped for reading; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

impl KernelTypes {
    /// Opens those of the running kernel.
    pub fn open() -> io::Result<Self> {
        let mut file = File::open(btf::PATH)?;
        let length = file.metadata()?.len();
        let mapped = usize::try_from(length).ok().and_then(NonZeroUsize::new);
        if let Some(mapping) = mapped.and_then(|length| Mapping::of(&file, length)) {
            return Ok(Self::Mapped(mapping));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(Self::Read(bytes))
    }
}

impl Mapping {
    fn of(file: &File, length: NonZeroUsize) -> Option<Self> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping, at an address that the kernel chooses. What is mapped is the kernel's own
        // constant memory, which nobody truncates or writes.
        let start = unsafe { mmap(None, length, ProtFlags::PROT_READ, flags, file, 0) }.ok()?;
        Some(Self { start, length: length.get() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, with this length, and not borrowed beyond the life of `self`.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

impl Deref for KernelTypes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            // SAFETY: mapped for reading, with this length, until `self` is dropped.
            Self::Mapped(mapping) => unsafe {
                std::slice::from_raw_parts(mapping.start.as_ptr().cast(), mapping.length)
            },
            Self::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_read_bytes_are_equal() {
        let Ok(read) = std::fs::read(btf::PATH) else {
            return eprintln!("SKIPPED: no {}", btf::PATH);
        };
        assert!(*KernelTypes::open().unwrap() == *read);
    }
}
