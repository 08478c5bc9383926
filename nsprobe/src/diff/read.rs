//! Reads documents no further than the first wrong byte, and up to a limit.

use super::error::{Error, MAX_BYTES};
use crate::document::schemas::{self, SchemaName};
use crate::model::text;
use serde::de::{DeserializeOwned, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// The number of bytes that are searched for the name of the document before all of it is read.
const BEGINNING: usize = 64 * 1024;

/// Reads a document as a `T`, after checking its name.
pub(super) fn read<T: DeserializeOwned>(source: impl Read) -> Result<T, Error> {
    within(MAX_BYTES, source)
}

fn within<T: DeserializeOwned>(most: u64, source: impl Read) -> Result<T, Error> {
    let limited = Limited { source, left: most };
    let mut source = BufReader::with_capacity(BEGINNING, limited);
    if let Some((name, version)) = schema_at_the_beginning(source.fill_buf().map_err(Error::Read)?)
        && !schemas::LIST.is_readable(&name, &version)
    {
        return Err(Error::Schema { found: format!("{} {}", text::shown(&name), text::shown(&version)) });
    }
    serde_json::from_reader(source).map_err(|error| match error.io_error_kind() {
        Some(io::ErrorKind::FileTooLarge) => Error::TooLong,
        Some(_) => Error::Read(error.into()),
        None => Error::Syntax(error),
    })
}

/// A reader that fails at a limit.
struct Limited<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read(&mut buffer[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Name and version in the field `schema`, if the beginning of a document has it.
fn schema_at_the_beginning(bytes: &[u8]) -> Option<(String, String)> {
    struct Head<'a>(&'a mut Option<(String, String)>);

    impl<'de> Visitor<'de> for Head<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<String>()? {
                if key == "schema" {
                    let SchemaName { name, version } = map.next_value()?;
                    *self.0 = Some((name.into(), version.into()));
                    return Ok(());
                }
                map.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }

    let mut found = None;
    // Ends in an error, because the rest is not read; the schema that was found is kept.
    let _ = serde_json::Deserializer::from_slice(bytes).deserialize_map(Head(&mut found));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const MOST: u64 = 1 << 20;

    /// A source without end, which counts the bytes read.
    struct Endless<'a> {
        beginning: &'a [u8],
        then: u8,
        read: u64,
    }

    impl Read for &mut Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.beginning.read(buffer)?;
            buffer[count..].fill(self.then);
            self.read += buffer.len() as u64;
            Ok(buffer.len())
        }
    }

    fn endless(beginning: &str, then: u8) -> (Error, u64) {
        let mut source = Endless { beginning: beginning.as_bytes(), then, read: 0 };
        let error = within::<Value>(MOST, &mut source).unwrap_err();
        (error, source.read)
    }

    #[test]
    fn document_is_read_to_the_first_wrong_byte() {
        let (error, read) = endless("", 0);
        assert!(matches!(error, Error::Syntax(_)) && read <= BEGINNING as u64, "{error}, {read}");
        let (error, read) = endless(r#"{"schema":{"name":"nsprobe.list","version":"1.0"},"x":[]]"#, b' ');
        assert!(matches!(error, Error::Syntax(_)) && read <= BEGINNING as u64, "{error}, {read}");
        let (error, read) = endless(r#"{"schema":{"name":"nsprobe.tree","version":"1.0"},"roots":["#, b' ');
        assert!(matches!(error, Error::Schema { .. }) && read <= BEGINNING as u64, "{error}, {read}");
    }

    #[test]
    fn endless_document_is_not_read_to_the_end() {
        let (error, read) = endless("{", b' ');
        assert!(matches!(error, Error::TooLong), "{error}");
        assert!((MOST..=MOST + BEGINNING as u64).contains(&read), "{read}");
        let (error, _) = endless("", b'[');
        assert!(matches!(error, Error::Syntax(_)), "nested without end: {error}");
    }
}
