//! Words of a closed set, as the model names them.

use crate::model::text;
use crate::model::{GapKind, HeldBy, NsKind, NsSlot, ProcessSource, Source, TcpState, Verdict};
use serde::de::{Deserialize, Deserializer, Error, Expected, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// A type of the model whose values have names.
pub trait Words: Copy + 'static {
    /// All values, in the order of the schema.
    const WORDS: &'static [Self];

    /// The name of a value.
    fn word(self) -> &'static str;

    /// The value with this name.
    #[must_use]
    fn parse(name: &str) -> Option<Self> {
        Self::WORDS.iter().copied().find(|value| value.word() == name)
    }
}

macro_rules! words {
    ($($type:ty: $all:expr;)*) => {
        $(impl $crate::document::word::Words for $type {
            const WORDS: &'static [Self] = &$all;

            fn word(self) -> &'static str {
                self.name()
            }
        })*
    };
}

pub(super) use words;

words! {
    Changed: Changed::ALL;
    GapKind: GapKind::ALL;
    HeldBy: HeldBy::ALL;
    NsKind: NsKind::ALL;
    NsSlot: NsSlot::ALL;
    ProcessSource: ProcessSource::ALL;
    Source: Source::ALL;
    // The other states have no name.
    TcpState: [TcpState::FinWait1, TcpState::FinWait2, TcpState::Closing, TcpState::LastAck];
    Verdict: Verdict::ALL;
}

/// A part of a process's state that differs from a parent's, or from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The namespace in this slot.
    Slot(NsSlot),
    /// The root directory.
    Root,
}

impl Changed {
    /// All of them.
    pub const ALL: [Self; 11] = {
        let mut all = [Self::Root; 11];
        let mut i = 0;
        while i < NsSlot::ALL.len() {
            all[i] = Self::Slot(NsSlot::ALL[i]);
            i += 1;
        }
        all
    };

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slot(slot) => slot.name(),
            Self::Root => "root",
        }
    }
}

/// A value of the model, written as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: Words> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.word())
    }
}

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name<T>(PhantomData<T>);

        impl<T: Words> Visitor<'_> for Name<T> {
            type Value = Word<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of")?;
                T::WORDS.iter().try_for_each(|value| write!(f, " {}", value.word()))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Word<T>, E> {
                let expected: &dyn Expected = &self;
                let unknown =
                    || E::custom(format_args!("unknown word {}: expected {expected}", text::shown(name)));
                T::parse(name).map(Word).ok_or_else(unknown)
            }
        }

        deserializer.deserialize_str(Name(PhantomData))
    }
}

#[cfg(feature = "schema")]
impl<T: Words> schemars::JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<_> = T::WORDS.iter().map(|value| value.word()).collect();
        schemars::json_schema!({ "enum": words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_and_read_by_name() {
        for verdict in Verdict::ALL {
            let json = serde_json::to_string(&Word(verdict)).unwrap();
            assert_eq!(json, format!("\"{}\"", verdict.name()));
            assert_eq!(serde_json::from_str::<Word<Verdict>>(&json).unwrap(), Word(verdict));
        }
        let error = serde_json::from_str::<Word<Verdict>>("\"splendid\"").unwrap_err().to_string();
        assert!(error.contains("splendid") && error.contains("one of good limited missing"), "{error}");
    }
}
