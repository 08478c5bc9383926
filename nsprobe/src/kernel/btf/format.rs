//! The bytes of types: `<linux/btf.h>`.

/// Length in bytes of the common part of every type.
pub(super) const TYPE_LEN: usize = 12;
/// Bytes of a member of a struct or union.
pub(super) const MEMBER_LEN: usize = 12;
/// The deepest nesting of anonymous structs and unions that is searched: real ones stop at three, and a type that
/// contains itself must not recurse endlessly.
pub(super) const MAX_NESTING: u32 = 8;

/// The sections of a BTF, and the offset of each type.
pub(super) struct Section<'a> {
    /// The type section.
    pub bytes: &'a [u8],
    /// The string section.
    pub strings: &'a [u8],
    /// Byte offset of each type in `bytes`; type ids count from 1.
    pub at: Vec<u32>,
}

/// The common part of every type, `struct btf_type`.
pub(super) struct Type {
    pub name: u32,
    pub kind: u32,
    pub kind_flag: bool,
    pub vlen: u32,
    pub size_or_target: u32,
}

impl Type {
    pub fn read(types: &[u8], at: usize) -> Option<Self> {
        let info = word(types, at + 4)?;
        Some(Self {
            name: word(types, at)?,
            kind: (info >> 24) & 0x1f,
            kind_flag: info >> 31 == 1,
            vlen: info & 0xffff,
            size_or_target: word(types, at + 8)?,
        })
    }
}

/// `BTF_KIND_*` of `<linux/btf.h>`.
pub(super) mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Returns the number of bytes that follow the common part of a type.
pub(super) const fn tail_len(kind: u32, vlen: u32) -> Option<usize> {
    let vlen = vlen as usize;
    Some(match kind {
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => MEMBER_LEN * vlen,
        kind::ENUM | kind::FUNC_PROTO => 8 * vlen,
        _ => return None,
    })
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

pub(super) fn string(strings: &[u8], at: u32) -> Option<&str> {
    let rest = strings.get(at as usize..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}
