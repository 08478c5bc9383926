//! A seccomp filter, for a [`Program`](super::programs::Program) to put on itself. seccomp(2)

use super::programs::{Arg, Program};

/// One rule: the system call and its errno.
pub struct Rule {
    pub number: i64,
    /// Only with this second argument.
    pub second: Option<u32>,
    pub errno: i32,
}

/// `struct seccomp_data`: the syscall number, and the lower half of the second argument.
const NUMBER: u32 = 0;
const SECOND: u32 = 24;

/// `SECCOMP_RET_ALLOW`, `SECCOMP_RET_ERRNO`.
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// From now on the kernel applies these rules; other calls pass.
pub fn confine(program: &mut Program, rules: &[Rule]) {
    const NO_NEW_PRIVS: i64 = 38;
    const SET_MODE_FILTER: i64 = 1;
    let code: Vec<u8> = rules.iter().flat_map(rule).chain(line(RETURN, 0, 0, ALLOW)).collect();
    let length = u64::try_from(code.len() / 8).expect("short");
    program.call(libc::SYS_prctl, [NO_NEW_PRIVS.into(), 1.into(), 0.into(), 0.into(), 0.into()]);
    // struct sock_fprog: the length, and the address.
    let filter = Arg::Pointing { before: length.to_le_bytes().into(), to: code };
    program.call(libc::SYS_seccomp, [SET_MODE_FILTER.into(), 0.into(), filter]);
}

const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

fn rule(rule: &Rule) -> Vec<u8> {
    let errno = ERRNO | rule.errno.unsigned_abs();
    let number = u32::try_from(rule.number).expect("small");
    let mut lines = Vec::new();
    let rest = if rule.second.is_some() { 3 } else { 1 };
    lines.extend(line(LOAD, 0, 0, NUMBER));
    lines.extend(line(IF_EQUAL, 0, rest, number));
    if let Some(second) = rule.second {
        lines.extend(line(LOAD, 0, 0, SECOND));
        lines.extend(line(IF_EQUAL, 0, 1, second));
    }
    lines.extend(line(RETURN, 0, 0, errno));
    lines
}

/// `struct sock_filter`
fn line(code: u16, yes: u8, no: u8, value: u32) -> [u8; 8] {
    let [low, high] = code.to_le_bytes();
    let mut line = [low, high, yes, no, 0, 0, 0, 0];
    line[4..].copy_from_slice(&value.to_le_bytes());
    line
}
