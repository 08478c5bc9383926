//! Byte offsets of kernel struct fields, from the kernel's own type information (BTF).
//!
//! One linear scan over the types, because a full parse of the running kernel's 5 MB costs ten times as much and only
//! some twenty structs are needed. The format is the kernel's Documentation/bpf/btf.rst; this file does no I/O.

use nsprobe_ebpf::{ABSENT, FIELDS, Field, FieldSource};
use std::collections::HashMap;

mod format;
mod prototype;

use format::{MAX_NESTING, MEMBER_LEN, Section, TYPE_LEN, Type, half, kind, string, tail_len, word};
use prototype::Unknown;
pub use prototype::{Prototype, Shape};

/// The BTF file of Linux (5.4, with `CONFIG_DEBUG_INFO_BTF`).
pub const PATH: &str = "/sys/kernel/btf/vmlinux";

/// The reason that BTF could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It does not start with a BTF header in this machine's byte order.
    #[error("it does not begin with a BTF header")]
    NoHeader,
    /// An undefined version of the format.
    #[error("BTF version {0} is unknown")]
    Version(u8),
    /// It ends inside the header, a section, or a type.
    #[error("it ends too early, at byte {0}")]
    Truncated(usize),
    /// A kind of type of unknown length, so that what follows cannot be found.
    #[error("type {id} is of the unknown kind {kind}")]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
}

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_LEN: usize = 24;
/// The facts to find in a kernel's BTF.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Fields whose offsets to find. An empty member name requests the size of the struct.
    pub fields: &'a [FieldSource],
    /// Functions whose type ids to find.
    pub functions: &'a [&'a str],
    /// Type names (`typedef`) whose type ids to find.
    pub typedefs: &'a [&'a str],
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The byte offset of every field; [`ABSENT`] for one that this kernel does not have, or that is a bit
    /// field. A member of an anonymous struct or union counts as one of the struct around it, as in C.
    pub offsets: Vec<u32>,
    /// The functions and type names that exist.
    pub ids: Ids,
    /// The prototypes of the functions and raw tracepoints, by name.
    pub prototypes: HashMap<String, Prototype>,
}

/// The type ids of some functions and type names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(Vec<NamedType>);

/// A name with its type id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedType {
    type_id: u32,
    kind: u32,
    name: String,
}

/// Finds what is `wanted` in `btf`.
pub fn find(btf: &[u8], wanted: &Wanted) -> Result<Found, BtfError> {
    let types = Types::scan(btf, wanted)?;
    let mut chosen = HashMap::new();
    for (name, definitions) in &types.structs {
        let members = || wanted.fields.iter().filter(|f| f.type_name == *name).map(|f| f.member);
        // A name may have several definitions: a driver's private struct beside the kernel's own. The one with most of
        // the wanted members is chosen, the first of equals; fields of one struct never come from two of them.
        let known = |at| members().filter(|member| types.field(at, member).is_some()).count();
        chosen.insert(*name, definitions.iter().copied().rev().max_by_key(|&at| known(at)));
    }
    let offset = |field: &FieldSource| {
        let definition = chosen.get(field.type_name).copied().flatten();
        definition.and_then(|at| types.field(at, field.member)).unwrap_or(ABSENT)
    };
    let offsets = wanted.fields.iter().map(offset).collect();
    let prototype = |id: &NamedType| Some((id.name.clone(), types.section.prototype(id.type_id).ok()?));
    let prototypes = types.ids.iter().rev().filter_map(prototype).collect();
    Ok(Found { offsets, ids: Ids(types.ids), prototypes })
}

/// Returns the first of the fields `needed` that this kernel lacks, by these `offsets` of all [`FIELDS`].
#[must_use]
pub fn absent<'a>(needed: impl IntoIterator<Item = &'a Field>, offsets: &[u32]) -> Option<String> {
    let field = needed.into_iter().find(|&&field| offsets[field as usize] == ABSENT)?;
    Some(FIELDS[*field as usize].to_string())
}

impl Ids {
    /// Returns the type id of the function or type name, if the kernel has it.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|id| id.name == name).map(|id| id.type_id)
    }

    /// Returns BTF in which every name here has the same id as in the kernel's, and every other type is a `void`
    /// pointer. Loading a program looks up ids by name in a parsed BTF, and parsing this one costs a tenth of parsing
    /// the kernel's.
    #[must_use]
    pub fn to_btf(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut types = Vec::new();
        let mut put = |name: u32, kind: u32, ty: u32| {
            types.extend([name, kind << 24, ty].iter().flat_map(|word| word.to_ne_bytes()));
        };
        let mut next = 1;
        for id in &self.0 {
            (next..id.type_id).for_each(|_| put(0, kind::PTR, 0));
            put(u32::try_from(strings.len()).unwrap_or(0), id.kind, 0);
            strings.extend_from_slice(id.name.as_bytes());
            strings.push(0);
            next = id.type_id + 1;
        }
        assemble(&types, &strings)
    }
}

/// Builds a whole BTF of these sections.
fn assemble(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let len = |section: &[u8]| u32::try_from(section.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADER_LEN + types.len() + strings.len());
    out.extend(MAGIC.to_ne_bytes());
    out.extend([VERSION, 0]);
    for word in [24, 0, len(types), len(types), len(strings)] {
        out.extend(word.to_ne_bytes());
    }
    out.extend_from_slice(types);
    out.extend_from_slice(strings);
    out
}

/// A scanned BTF: the offsets of all types, and the wanted ones.
struct Types<'a> {
    section: Section<'a>,
    /// For each wanted struct name, the offsets of its definitions in `bytes`, in order.
    structs: HashMap<&'a str, Vec<u32>>,
    /// The wanted functions and type names, in the order of their ids.
    ids: Vec<NamedType>,
}

impl<'a> Types<'a> {
    fn scan(btf: &'a [u8], wanted: &Wanted<'a>) -> Result<Self, BtfError> {
        let header = btf.get(..HEADER_LEN).ok_or(BtfError::NoHeader)?;
        if half(header, 0) != Some(MAGIC) {
            return Err(BtfError::NoHeader);
        }
        if header[2] != VERSION {
            return Err(BtfError::Version(header[2]));
        }
        let truncated = || BtfError::Truncated(btf.len());
        let field = |at| word(header, at).ok_or_else(truncated);
        let (len, type_off, type_len) = (field(4)?, field(8)?, field(12)?);
        let (str_off, str_len) = (field(16)?, field(20)?);
        let section = |off: u32, size: u32| {
            let start = (len as usize).checked_add(off as usize)?;
            btf.get(start..start.checked_add(size as usize)?)
        };
        let mut scanned = Self {
            section: Section {
                bytes: section(type_off, type_len).ok_or_else(truncated)?,
                strings: section(str_off, str_len).ok_or_else(truncated)?,
                at: Vec::with_capacity(type_len as usize / 20),
            },
            structs: wanted.fields.iter().map(|field| (field.type_name, Vec::new())).collect(),
            ids: Vec::new(),
        };
        scanned.walk(wanted)?;
        Ok(scanned)
    }

    fn walk(&mut self, wanted: &Wanted) -> Result<(), BtfError> {
        let structs = Prefixes::of(self.structs.keys().copied());
        let names = Prefixes::of(wanted.functions.iter().chain(wanted.typedefs).copied());
        let (mut at, mut last) = (0, false);
        // The types that prototypes consist of may come after the functions.
        let mut until = 0;
        while at < self.section.bytes.len() {
            let ty = Type::read(self.section.bytes, at).ok_or(BtfError::Truncated(at))?;
            let id = u32::try_from(self.section.at.len() + 1).map_err(|_| BtfError::Truncated(at))?;
            let tail = tail_len(ty.kind, ty.vlen).ok_or(BtfError::UnknownKind { id, kind: ty.kind })?;
            let next = at + TYPE_LEN + tail;
            if next > self.section.bytes.len() {
                return Err(BtfError::Truncated(at));
            }
            let position = u32::try_from(at).map_err(|_| BtfError::Truncated(at))?;
            self.section.at.push(position);
            match ty.kind {
                kind::STRUCT | kind::UNION if structs.may_hold(self.section.strings, ty.name) => {
                    if let Some(name) = string(self.section.strings, ty.name)
                        && let Some(definitions) = self.structs.get_mut(name)
                    {
                        definitions.push(position);
                        last = self.is_complete(wanted);
                    }
                }
                kind::FUNC | kind::TYPEDEF if names.may_hold(self.section.strings, ty.name) => {
                    let list = if ty.kind == kind::FUNC { wanted.functions } else { wanted.typedefs };
                    if let Some(name) = string(self.section.strings, ty.name)
                        && list.contains(&name)
                    {
                        self.ids.push(NamedType { type_id: id, kind: ty.kind, name: name.to_owned() });
                        last = self.is_complete(wanted);
                    }
                }
                _ => {}
            }
            if last && id >= until {
                match self.later() {
                    Some(later) => until = later,
                    None => break,
                }
            }
            at = next;
        }
        Ok(())
    }

    /// Returns true if nothing later can change the result: each struct has a definition with all of its wanted
    /// members, which is then the one chosen.
    fn is_complete(&self, wanted: &Wanted) -> bool {
        let known = |kind| move |name: &&str| self.ids.iter().any(|id| id.kind == kind && id.name == *name);
        wanted.functions.iter().all(known(kind::FUNC))
            && wanted.typedefs.iter().all(known(kind::TYPEDEF))
            && self.structs.values().all(|definitions| !definitions.is_empty())
            && self.structs.iter().all(|(name, definitions)| {
                let members = || wanted.fields.iter().filter(|field| field.type_name == *name);
                definitions.iter().any(|&at| members().all(|field| self.field(at, field.member).is_some()))
            })
    }

    /// Returns a type that some prototype refers to and that has not been read.
    fn later(&self) -> Option<u32> {
        self.ids.iter().find_map(|id| match self.section.prototype(id.type_id) {
            Err(Unknown::Later(later)) => Some(later),
            _ => None,
        })
    }

    /// Returns the offset of `member` in the struct at `at`, in bytes; the struct's size if `member` is empty.
    fn field(&self, at: u32, member: &str) -> Option<u32> {
        if member.is_empty() {
            return Some(Type::read(self.section.bytes, at as usize)?.size_or_target);
        }
        let bits = self.member_bits(at, member, MAX_NESTING)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    fn member_bits(&self, at: u32, wanted: &str, depth: u32) -> Option<u32> {
        let ty = Type::read(self.section.bytes, at as usize)?;
        let members = self.section.bytes.get(at as usize + TYPE_LEN..)?;
        for member in members.chunks_exact(MEMBER_LEN).take(ty.vlen as usize) {
            let (name, type_id, offset) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            // With the kind flag the upper byte is the width of a bit field; 0 for a whole member.
            let (offset, bit_field) =
                if ty.kind_flag { (offset & 0x00ff_ffff, offset >> 24 != 0) } else { (offset, false) };
            if name != 0 {
                if !bit_field && string(self.section.strings, name) == Some(wanted) {
                    return Some(offset);
                }
            } else if depth > 0
                && let Some(inner) = self.anonymous(type_id)
                && let Some(bits) = self.member_bits(inner, wanted, depth - 1)
            {
                return offset.checked_add(bits);
            }
        }
        None
    }

    /// Returns the offset of the struct or union with this id, seen through qualifiers (`const struct { … }`).
    fn anonymous(&self, mut type_id: u32) -> Option<u32> {
        for _ in 0..MAX_NESTING {
            let at = *self.section.at.get(type_id.checked_sub(1)? as usize)?;
            let ty = Type::read(self.section.bytes, at as usize)?;
            match ty.kind {
                kind::STRUCT | kind::UNION => return Some(at),
                kind::VOLATILE | kind::CONST | kind::TYPE_TAG => type_id = ty.size_or_target,
                _ => return None,
            }
        }
        None
    }
}

/// The first two bytes of some names: enough to skip nearly all of a kernel's hundred thousand.
struct Prefixes([u64; 1024]);

impl Prefixes {
    fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut bits = [0; 1024];
        for name in names {
            // As in the string section: a name of one letter is followed by its NUL.
            if let &[first, second, ..] = [name.as_bytes(), &[0]].concat().as_slice() {
                let begin = u16::from_ne_bytes([first, second]);
                bits[usize::from(begin) / 64] |= 1 << (begin % 64);
            }
        }
        Self(bits)
    }

    /// Returns true if the string at `at` may be one of the names.
    fn may_hold(&self, strings: &[u8], at: u32) -> bool {
        half(strings, at as usize)
            .is_some_and(|begin| self.0[usize::from(begin) / 64] & (1 << (begin % 64)) != 0)
    }
}

#[cfg(test)]
mod tests;
