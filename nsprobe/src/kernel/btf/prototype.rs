//! The parameters and results of the kernel's functions and raw tracepoints.

use super::format::{MAX_NESTING, Section, TYPE_LEN, Type, kind, string, word};
use std::fmt;

/// The prototype of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// Its parameters. A raw tracepoint's first is the context that it was registered with.
    pub parameters: Vec<Shape>,
    /// Its result.
    pub result: Shape,
}

/// A type, as far as it matters to a reader of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No value.
    Void,
    /// An integer, `enum` or `bool` of this many bytes.
    Integer(u32),
    /// A pointer to a struct or union of this name.
    Pointer(String),
    /// A pointer to something else.
    OtherPointer,
    /// Anything else.
    Other,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Void => f.write_str("nothing"),
            Self::Integer(bytes) => write!(f, "an integer of {bytes} bytes"),
            Self::Pointer(name) => write!(f, "a pointer to struct {name}"),
            Self::OtherPointer => f.write_str("a pointer to something else"),
            Self::Other => f.write_str("something else"),
        }
    }
}

/// The reason that a type is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It comes after what has been read: this one.
    Later(u32),
    /// It is not a function, or refers to nothing.
    Never,
}

/// A member of a `BTF_KIND_FUNC_PROTO`: name and type.
const PARAMETER_LEN: usize = 8;

impl Section<'_> {
    /// Returns the prototype of the function or raw tracepoint (`typedef` of a pointer to a function) with this id.
    pub(super) fn prototype(&self, id: u32) -> Result<Prototype, Unknown> {
        let (mut at, mut ty) = self.ty(id)?;
        for _ in 0..MAX_NESTING {
            if ty.kind == kind::FUNC_PROTO {
                break;
            }
            if !matches!(ty.kind, kind::FUNC | kind::TYPEDEF | kind::PTR | kind::CONST) {
                return Err(Unknown::Never);
            }
            (at, ty) = self.ty(ty.size_or_target)?;
        }
        if ty.kind != kind::FUNC_PROTO {
            return Err(Unknown::Never);
        }
        let parameters = self.bytes.get(at + TYPE_LEN..).ok_or(Unknown::Never)?;
        let parameters = parameters.chunks_exact(PARAMETER_LEN).take(ty.vlen as usize);
        let shape = |bytes: &[u8]| self.shape(word(bytes, 4).ok_or(Unknown::Never)?);
        Ok(Prototype {
            parameters: parameters.map(shape).collect::<Result<_, _>>()?,
            result: self.shape(ty.size_or_target)?,
        })
    }

    /// Returns the offset of the type with this id, and its common part.
    fn ty(&self, id: u32) -> Result<(usize, Type), Unknown> {
        let index = id.checked_sub(1).ok_or(Unknown::Never)? as usize;
        let at = *self.at.get(index).ok_or(Unknown::Later(id))? as usize;
        Ok((at, Type::read(self.bytes, at).ok_or(Unknown::Never)?))
    }

    /// Returns the shape of the type with this id, seen through its names and qualifiers.
    fn shape(&self, id: u32) -> Result<Shape, Unknown> {
        if id == 0 {
            return Ok(Shape::Void);
        }
        let ty = self.unqualified(id)?;
        Ok(match ty.kind {
            kind::INT | kind::ENUM | kind::ENUM64 => Shape::Integer(ty.size_or_target),
            kind::PTR if ty.size_or_target == 0 => Shape::OtherPointer,
            kind::PTR => match self.unqualified(ty.size_or_target) {
                Ok(Type { kind: kind::STRUCT | kind::UNION | kind::FWD, name, .. }) => {
                    Shape::Pointer(string(self.strings, name).unwrap_or_default().to_owned())
                }
                Ok(_) | Err(Unknown::Never) => Shape::OtherPointer,
                Err(later) => return Err(later),
            },
            _ => Shape::Other,
        })
    }

    fn unqualified(&self, mut id: u32) -> Result<Type, Unknown> {
        for _ in 0..2 * MAX_NESTING {
            let (_, ty) = self.ty(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.size_or_target;
                }
                _ => return Ok(ty),
            }
        }
        Err(Unknown::Never)
    }
}
