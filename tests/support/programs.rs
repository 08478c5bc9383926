//! Programs of a few system calls, as ELF files for x86-64: they make only those calls, with exactly the given
//! arguments, which no shell or library would pass on.

use super::stage;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The load address of a program.
const BASE: u32 = 0x40_0000;
/// The address of its code: after the two headers of [`elf`].
pub const CODE: u32 = BASE + 64 + 56;
/// Room for the results of its calls, after code and data.
const RESULTS: u32 = BASE + 0x10_0000;

/// An ELF file with one readable, writable and executable segment of `code`, entered at byte `entry`. elf(5)
pub fn elf(code: &[u8], entry: u32) -> Vec<u8> {
    let word = |value: u32| u64::from(value).to_le_bytes();
    let length = 64 + 56 + u32::try_from(code.len()).expect("short");
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    elf.extend([word(CODE + entry), word(64), word(0)].concat());
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    elf.extend(b"\x01\0\0\0\x07\0\0\0");
    elf.extend([word(0), word(BASE), word(BASE), word(length), word(0x11_0000), word(4096)].concat());
    elf.extend(code);
    elf
}

/// Writes a program to `path`, executable by anybody.
pub fn install(path: &Path, program: &[u8]) {
    // Never open here under the name that is executed.
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(program).expect("a program");
    stage::copy_program(file.path(), path);
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("to be executed");
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A value.
    Number(u64),
    /// The address of these bytes.
    Data(Vec<u8>),
    /// The address of bytes that are followed by the address of others.
    Pointing { before: Vec<u8>, to: Vec<u8> },
    /// The result of the call with this index.
    Result(usize),
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Number(value.cast_unsigned())
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Data([text.as_bytes(), b"\0"].concat())
    }
}

/// The steps of a program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    code: Vec<u8>,
    /// Addresses in the data: the offset in the code, and the bytes pointed to.
    data: Vec<(usize, Vec<u8>)>,
    /// The same for data that ends in an address, and the bytes that this points to.
    pointing: Vec<(usize, Vec<u8>, Vec<u8>)>,
    calls: usize,
}

impl Program {
    /// Calls `number` with these arguments. Returns the index of its result.
    pub fn call<const N: usize>(&mut self, number: i64, arguments: [Arg; N]) -> Arg {
        // `mov REGISTER, imm64` and `mov REGISTER, [address]` of rdi, rsi, rdx, r10, r8.
        const IMMEDIATE: [[u8; 2]; 5] =
            [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba], [0x49, 0xb8]];
        const LOAD: [[u8; 4]; 5] = [
            [0x48, 0x8b, 0x3c, 0x25],
            [0x48, 0x8b, 0x34, 0x25],
            [0x48, 0x8b, 0x14, 0x25],
            [0x4c, 0x8b, 0x14, 0x25],
            [0x4c, 0x8b, 0x04, 0x25],
        ];
        for (index, argument) in arguments.into_iter().enumerate() {
            match argument {
                Arg::Number(value) => {
                    self.code.extend(IMMEDIATE[index]);
                    self.code.extend(value.to_le_bytes());
                }
                Arg::Data(bytes) => {
                    self.code.extend(IMMEDIATE[index]);
                    self.data.push((self.code.len(), bytes));
                    self.code.extend([0; 8]);
                }
                Arg::Pointing { before, to } => {
                    self.code.extend(IMMEDIATE[index]);
                    self.pointing.push((self.code.len(), before, to));
                    self.code.extend([0; 8]);
                }
                Arg::Result(call) => {
                    self.code.extend(LOAD[index]);
                    self.code.extend(result_address(call).to_le_bytes());
                }
            }
        }
        // mov rax, number; syscall; mov [result], rax
        self.code.extend([0x48, 0xb8]);
        self.code.extend(number.to_le_bytes());
        self.code.extend([0x0f, 0x05, 0x48, 0x89, 0x04, 0x25]);
        self.code.extend(result_address(self.calls).to_le_bytes());
        self.calls += 1;
        Arg::Result(self.calls - 1)
    }

    /// After a clone: the child ends at once.
    pub fn end_child(&mut self) {
        self.child(|_| ());
    }

    /// After a clone without `CLONE_VM`: the child runs these steps, and ends.
    pub fn child(&mut self, steps: impl FnOnce(&mut Self)) {
        // test rax, rax; jnz over the steps of the child
        self.code.extend([0x48, 0x85, 0xc0, 0x0f, 0x85, 0, 0, 0, 0]);
        let from = self.code.len();
        steps(self);
        self.code.extend(EXIT);
        let over = u32::try_from(self.code.len() - from).expect("short");
        self.code[from - 4..from].copy_from_slice(&over.to_le_bytes());
    }

    /// The file.
    pub fn build(mut self) -> Vec<u8> {
        self.code.extend(EXIT);
        for (at, before, to) in self.pointing {
            let address = u64::from(CODE) + self.code.len() as u64;
            let behind = address + before.len() as u64 + 8;
            self.code[at..at + 8].copy_from_slice(&address.to_le_bytes());
            self.code.extend([before, behind.to_le_bytes().into(), to].concat());
        }
        for (at, bytes) in self.data {
            let address = u64::from(CODE) + self.code.len() as u64;
            self.code[at..at + 8].copy_from_slice(&address.to_le_bytes());
            self.code.extend(bytes);
        }
        assert!(self.code.len() < 0xf_0000, "the results are behind");
        elf(&self.code, 0)
    }

    /// Writes the file into a directory.
    pub fn install(self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        install(&path, &self.build());
        path
    }
}

/// mov eax, 60; xor edi, edi; syscall
const EXIT: [u8; 9] = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];

fn result_address(call: usize) -> u32 {
    RESULTS + 8 * u32::try_from(call).expect("few calls")
}
