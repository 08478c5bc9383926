//! The stream of `nsprobe trace --json`: one object per line.

use crate::document::trace::{self, Initial};
use crate::model::{Body, Line};
use crate::render::bytes;
use std::io::{self, Write};

/// Writes the lines of one stream.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// The initial namespaces, from the line of the start.
    initial: Initial,
}

impl Writer {
    /// Writes a line.
    pub fn write(&mut self, line: &Line, out: &mut impl Write) -> io::Result<()> {
        if let Body::Start(start) = &line.body {
            self.initial = trace::initial(&start.namespaces);
        }
        let mut text = Vec::with_capacity(1024);
        bytes::to_writer(&mut text, &trace::Line::new(line, &self.initial))?;
        text.push(b'\n');
        // In one write: the serializer hands over a few bytes at a time.
        out.write_all(&text)
    }
}

#[cfg(test)]
mod tests;
