//! Values that JSON has in a form of its own: bytes, times, ids, inodes, arguments.

use super::word::Words;
use crate::model::{self, NsId, NsSlot, Pid, Slots, Text};
use data_encoding::BASE64;
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::SystemTime;

/// All bytes of a text that is not UTF-8, beside the field that shows it with U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64<'a>(pub Cow<'a, [u8]>);

impl<'a> Base64<'a> {
    /// The bytes of a text; `None` if it is UTF-8, which the field beside it shows whole.
    #[must_use]
    pub fn of(text: &'a Text) -> Option<Self> {
        (!text.is_utf8()).then(|| Self(text.as_bytes().into()))
    }
}

/// The text of a field and of the bytes beside it.
#[must_use]
pub fn text(shown: Cow<'_, str>, bytes: Option<Base64<'_>>) -> Text {
    bytes.map_or_else(|| shown.into_owned().into(), |Base64(bytes)| bytes.into_owned().into())
}

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let encoded = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(encoded.as_bytes()).map_err(D::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

/// A time in RFC 3339 with nanoseconds, UTC. A time after the year 9999 is shown as the end of that year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::try_from(self.0).unwrap_or(Timestamp::MAX);
        serializer.collect_str(&format_args!("{time:.9}"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let time: Timestamp = String::deserialize(deserializer)?.parse().map_err(D::Error::custom)?;
        SystemTime::try_from(time).map(Self).map_err(D::Error::custom)
    }
}

/// A 64-bit id: a string, because many JSON readers keep less than 64 bits of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal(pub u64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// The inodes of the ten slots of a process: `{"cgroup":4026531835, …,"time_for_children":null}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inodes(pub Slots<Option<u64>>);

impl From<&Slots<Option<NsId>>> for Inodes {
    fn from(slots: &Slots<Option<NsId>>) -> Self {
        Self(slots.map(|id| id.map(|id| id.ino)))
    }
}

impl Serialize for Inodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(NsSlot::ALL.len()))?;
        for (slot, ino) in self.0.iter() {
            map.serialize_entry(slot.name(), ino)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Inodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Inodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of inodes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inodes, A::Error> {
                let mut slots = Slots::default();
                while let Some(name) = map.next_key::<String>()? {
                    match NsSlot::ALL.into_iter().find(|slot| slot.name() == name) {
                        Some(slot) => *slots.get_mut(slot) = map.next_value()?,
                        // From a later version.
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Inodes(slots))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Reads an array of at most `most` items: more would take more memory than their text does. Items that `keep` does not
/// return are left out.
fn few<'de, D, T, U>(deserializer: D, most: usize, keep: fn(T) -> Option<U>) -> Result<Vec<U>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Few<T, U> {
        most: usize,
        keep: fn(T) -> Option<U>,
    }

    impl<'de, T: Deserialize<'de>, U> Visitor<'de> for Few<T, U> {
        type Value = Vec<U>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an array of at most {}", self.most)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<U>, A::Error> {
            let (mut found, mut read) = (Vec::new(), 0);
            while let Some(item) = items.next_element()? {
                if read == self.most {
                    return Err(A::Error::custom(format_args!("more than {} items", self.most)));
                }
                read += 1;
                found.extend((self.keep)(item));
            }
            Ok(found)
        }
    }

    deserializer.deserialize_seq(Few { most, keep })
}

/// The pids of a process: the kernel nests pid namespaces 32 deep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pids<'a>(pub Cow<'a, [Pid]>);

impl<'a> Pids<'a> {
    /// The pids of a process, if they are known.
    #[must_use]
    pub fn of(process: &'a model::Process) -> Option<Self> {
        (!process.pids.is_empty()).then_some(Self(process.pids.as_slice().into()))
    }
}

impl Serialize for Pids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for Pids<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        few(deserializer, 64, Some).map(|pids| Self(pids.into()))
    }
}

/// Words of a closed set, each at most once. Words of a later version are not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordSet<'a, T: Clone>(pub Cow<'a, [T]>);

impl<T: Words> Serialize for WordSet<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| value.word()))
    }
}

impl<'de, T: Words> Deserialize<'de> for WordSet<'_, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        few(deserializer, 64, |name: String| T::parse(&name)).map(|words| Self(words.into()))
    }
}

/// The arguments of a process, as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments<'a>(pub Cow<'a, model::Arguments>);

/// The arguments of a process, as base64 of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedArguments<'a>(pub Cow<'a, model::Arguments>);

impl<'a> EncodedArguments<'a> {
    /// Arguments of which one is not UTF-8; `None` if all are.
    #[must_use]
    pub fn of(arguments: &'a model::Arguments) -> Option<Self> {
        let is_utf8 = arguments.iter().all(|argument| std::str::from_utf8(argument).is_ok());
        (!is_utf8).then_some(Self(Cow::Borrowed(arguments)))
    }
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(String::from_utf8_lossy))
    }
}

impl Serialize for EncodedArguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|argument| Base64(argument.into())))
    }
}

impl<'de> Deserialize<'de> for Arguments<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = ArgumentTexts::<String>(PhantomData);
        deserializer.deserialize_seq(texts).map(|arguments| Self(Cow::Owned(arguments)))
    }
}

impl<'de> Deserialize<'de> for EncodedArguments<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = ArgumentTexts::<Base64<'_>>(PhantomData);
        deserializer.deserialize_seq(texts).map(|arguments| Self(Cow::Owned(arguments)))
    }
}

/// Reads the texts of an array as arguments, and keeps no more than are kept of a process.
struct ArgumentTexts<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + AsRef<[u8]>> Visitor<'de> for ArgumentTexts<T> {
    type Value = model::Arguments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<model::Arguments, A::Error> {
        let mut bytes = Vec::new();
        while let Some(text) = items.next_element::<T>()? {
            if bytes.len() <= model::Arguments::MOST {
                bytes.extend_from_slice(text.as_ref());
                bytes.push(0);
            }
        }
        Ok(model::Arguments::new(&bytes))
    }
}

impl AsRef<[u8]> for Base64<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The schemas of these types.
#[cfg(feature = "schema")]
mod schemas {
    use super::{Arguments, Base64, Decimal, EncodedArguments, Inodes, NsSlot, Pids, Time, WordSet};
    use crate::document::word::{Word, Words};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde_json::{Map, Value};
    use std::borrow::Cow;

    macro_rules! inline {
        ($($type:ty: $generator:ident $schema:expr;)*) => {
            $(impl JsonSchema for $type {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                    $schema
                }
            })*
        };
    }

    inline! {
        Base64<'_>: _generator json_schema!({ "type": "string", "contentEncoding": "base64" });
        Time: _generator json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{9}Z$",
        });
        Decimal: _generator json_schema!({ "type": "string", "pattern": r"^\d+$" });
        Pids<'_>: generator {
            let pid = generator.subschema_for::<u32>();
            json_schema!({ "type": "array", "items": pid, "minItems": 1 })
        };
        Arguments<'_>: generator generator.subschema_for::<Vec<String>>();
        EncodedArguments<'_>: generator generator.subschema_for::<Vec<Base64<'_>>>();
    }

    impl<T: Words> JsonSchema for WordSet<'_, T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            std::any::type_name::<T>().into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let word = generator.subschema_for::<Word<T>>();
            json_schema!({ "type": "array", "items": word, "uniqueItems": true })
        }
    }

    impl JsonSchema for Inodes {
        fn schema_name() -> Cow<'static, str> {
            "slots".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let names = NsSlot::ALL.map(NsSlot::name);
            let ino = json_schema!({
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "Inode of the namespace. Null if unknown, or if the kernel does not support it.",
            });
            let fields: Map<String, Value> =
                names.iter().map(|&name| (name.to_owned(), ino.clone().to_value())).collect();
            json_schema!({
                "type": "object",
                "description": "Inodes of the namespaces in the ten links of /proc/PID/ns: the eight that the process \
                    is in, and the two that its next child will be in.",
                "properties": fields,
                "required": names,
            })
        }
    }
}
