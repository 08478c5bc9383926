//! The stream of `nsprobe trace --json`: one object per line.

use crate::document::trace::{self, Initial};
use crate::model::{Body, Line};
use crate::render::bytes;
use std::io;

/// Writes the lines of one stream.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// The initial namespaces, from the line of the start.
    initial: Initial,
}

impl Writer {
    /// Appends a line to `out`.
    pub fn write(&mut self, line: &Line, out: &mut Vec<u8>) -> io::Result<()> {
        if let Body::Start(start) = &line.body {
            self.initial = trace::initial(&start.namespaces);
        }
        bytes::to_writer(&mut *out, &trace::Line::new(line, &self.initial))?;
        out.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests;
