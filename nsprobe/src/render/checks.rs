//! The lines of `nsprobe doctor`.

use crate::document::doctor::Doctor;
use crate::model::{Check, Verdict};
use crate::render::bytes;
use crate::render::style::{self, TextStyle};
use crate::render::wrap::wrapped;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr as _;

/// Writes a line for each check, and its remedy below it.
pub fn text(checks: &[Check], text_style: TextStyle, out: &mut impl Write) -> io::Result<()> {
    let width = checks.iter().map(|check| check.subject.width()).max().unwrap_or(0);
    for check in checks {
        let (style, mark) = match check.verdict {
            Verdict::Good => (style::GOOD, "good   "),
            Verdict::Limited => (style::WARNING, "limited"),
            Verdict::Missing => (style::BAD, "missing"),
        };
        let finding = style::printable(&check.finding);
        let indent = 7 + 2 + width + 2;
        let line = format!("{}  {:width$}  {finding}", text_style.paint(style, mark), check.subject);
        writeln!(out, "{}", wrapped(&line, indent, text_style))?;
        if let Some(remedy) = &check.remedy {
            let arrow = if text_style.unicode { "→" } else { "->" };
            let line = format!("{:indent$}{arrow} {}", "", style::printable(remedy));
            writeln!(out, "{}", wrapped(&line, indent + arrow.width() + 1, text_style))?;
        }
    }
    Ok(())
}

/// Writes the checks as one document.
pub fn json(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    bytes::to_writer_pretty(&mut *out, &Doctor::from(checks))?;
    writeln!(out)
}
