//! The data that an expression is evaluated on.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A field that an expression may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name; with a dot if it belongs to a group.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
}

impl Field {
    pub(super) const fn new(name: &'static str, kind: Type) -> Self {
        Self { name, kind }
    }
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A whole number.
    Number,
    /// Text.
    Text,
    /// A list of numbers.
    Numbers,
    /// A list of texts.
    Texts,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Numbers => "a list of numbers",
            Self::Texts => "a list of texts",
        })
    }
}

/// The value of a field in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Unknown or absent.
    Unknown,
    /// Of [`Type::Bool`].
    Bool(bool),
    /// Of [`Type::Number`].
    Number(u64),
    /// Of [`Type::Number`], where it may be negative.
    Signed(i64),
    /// Of [`Type::Text`].
    Text(Cow<'a, str>),
    /// Of [`Type::Numbers`].
    Numbers(Vec<u64>),
    /// Of [`Type::Texts`].
    Texts(Vec<Cow<'a, str>>),
}

impl<'a> Value<'a> {
    /// A number, or unknown.
    pub fn number(number: Option<impl Into<u64>>) -> Self {
        number.map_or(Self::Unknown, |number| Self::Number(number.into()))
    }

    /// A text, or unknown.
    pub fn text(text: Option<impl Into<Cow<'a, str>>>) -> Self {
        text.map_or(Self::Unknown, |text| Self::Text(text.into()))
    }
}

impl From<Value<'_>> for cel::Value {
    fn from(value: Value<'_>) -> Self {
        // CEL's literals are signed; no inode, id or count of the kernel uses the 64th bit.
        let number = |number: u64| Self::Int(i64::try_from(number).unwrap_or(i64::MAX));
        match value {
            Value::Unknown => Self::Null,
            Value::Bool(answer) => Self::Bool(answer),
            Value::Number(n) => number(n),
            Value::Signed(number) => Self::Int(number),
            Value::Text(text) => Self::String(Arc::new(text.into_owned())),
            Value::Numbers(list) => Self::List(Arc::new(list.into_iter().map(number).collect())),
            Value::Texts(list) => {
                let text = |text: Cow<'_, str>| Self::String(Arc::new(text.into_owned()));
                Self::List(Arc::new(list.into_iter().map(text).collect()))
            }
        }
    }
}

/// A row: values by field name.
pub trait Fields {
    /// The value of the field `name`; [`Value::Unknown`] for a name that is not a field of this row.
    fn value(&self, name: &str) -> Value<'_>;
}
