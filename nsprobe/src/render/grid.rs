//! Rows and columns of text: every row on one line, cut at the terminal's width.

use crate::render::style::{self, Look};
use anstyle::Style;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets};
use std::io::{self, Write};

/// A column's name, and whether it holds numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading {
    pub(super) name: &'static str,
    pub(super) is_number: bool,
}

/// How wide a cell is at most, where no terminal is narrower: as long as a path may be.
const WIDEST: usize = 4096;

/// Writes `rows`, each in its style; the line of names only where `header` says so.
pub(super) fn write(
    headings: &[Heading],
    rows: impl Iterator<Item = (Style, Vec<String>)>,
    header: bool,
    look: Look,
    out: &mut impl Write,
) -> io::Result<()> {
    let widest = look.width.map_or(WIDEST, |width| width.min(WIDEST));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut styles = Vec::new();
    if header {
        let names = headings.iter().map(|heading| aligned(*heading, heading.name.to_owned()));
        // One line each, this and the rows below: a line is what gets cut and painted.
        table.set_header(one_line(Row::from(names)));
        styles.push(Style::new().bold());
    }
    for (style, cells) in rows {
        // Before they are laid out: the time that it takes to split a text grows with the square of its length, and a
        // column is as wide in each row as in its widest.
        let cells = headings
            .iter()
            .zip(cells)
            .map(|(heading, text)| aligned(*heading, style::cut(&text, widest, look)));
        table.add_row(one_line(Row::from(cells)));
        styles.push(style);
    }
    fit(&mut table, look);
    for (style, line) in styles.into_iter().zip(table.lines()) {
        let line = line.trim_end();
        let painted = if style == Style::new() { line.to_owned() } else { look.paint(style, line) };
        writeln!(out, "{painted}")?;
    }
    Ok(())
}

/// All columns at their width, and the last cut to what the terminal leaves.
fn fit(table: &mut Table, look: Look) {
    let columns = table.column_count();
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        let last = index + 1 == columns;
        if !last {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if let Some(width) = look.width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        table.set_truncation_indicator(if look.unicode { "…" } else { "..." });
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
}

fn one_line(mut row: Row) -> Row {
    row.max_height(1);
    row
}

fn aligned(heading: Heading, text: String) -> Cell {
    let alignment = if heading.is_number { CellAlignment::Right } else { CellAlignment::Left };
    Cell::new(text).set_alignment(alignment)
}
