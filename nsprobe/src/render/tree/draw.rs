//! Labelled nodes → lines: connectors, indentation, cutting, wrapping.

use crate::render::style::{self, TextStyle};
use anstyle::Style;
use std::fmt::Write as _;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr as _;

/// A run of text in one style.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub style: Style,
    pub text: String,
}

impl Span {
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into() }
    }
}

/// One line of a tree, and further lines on the same thing.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Always shown, joined by blanks.
    pub head: Vec<Span>,
    /// Cut to the width.
    pub text: Span,
    /// After the text, and preferred to it where there is no room for both.
    pub tail: Span,
    /// Below it: each begins a line and is wrapped between its spans, and a span wider than a line is cut.
    pub notes: Vec<Vec<Span>>,
}

/// Nodes with what is below each.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    nodes: Vec<Node>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl Drawing {
    /// Adds `node` as the last child of `parent`, or as the last root; gives its index.
    pub fn add(&mut self, parent: Option<usize>, node: Node) -> usize {
        let index = self.nodes.len();
        self.nodes.push(node);
        self.children.push(Vec::new());
        match parent {
            Some(parent) => self.children[parent].push(index),
            None => self.roots.push(index),
        }
        index
    }

    /// Writes the lines.
    pub fn write(&self, out: &mut dyn Write, look: TextStyle) -> io::Result<()> {
        let mut indent = Indent::new(look);
        // (node, how many are above it, whether it is its parent's last child)
        let mut stack: Vec<(usize, usize, bool)> =
            self.roots.iter().rev().map(|&root| (root, 0, false)).collect();
        while let Some((index, depth, last)) = stack.pop() {
            let node = &self.nodes[index];
            let children = &self.children[index];
            indent.enter(depth, last);
            write_label(out, node, &indent.connector(), look)?;
            if !node.notes.is_empty() {
                write_notes(out, &node.notes, &indent.below(), look)?;
            }
            let below = children.iter().enumerate().rev();
            stack.extend(below.map(|(i, &child)| (child, depth + 1, i + 1 == children.len())));
        }
        Ok(())
    }
}

/// How many levels are drawn where no terminal is too narrow for them.
const MOST_LEVELS: usize = 128;

/// The lines that lead from a node's ancestors to it.
struct Indent {
    look: TextStyle,
    /// For each node on the way down, roots left out: whether it is the last child.
    last: Vec<bool>,
    /// How many levels are drawn; those above are counted.
    levels: usize,
}

impl Indent {
    fn new(look: TextStyle) -> Self {
        // What is left of the width should hold a pid and some of a command.
        let levels = match look.width {
            Some(width) => (width.saturating_sub(24) / 3 + 1).min(MOST_LEVELS),
            // Each line of a chain of processes has those above it.
            None => MOST_LEVELS,
        };
        Self { look, last: Vec::new(), levels }
    }

    fn enter(&mut self, depth: usize, last: bool) {
        self.last.truncate(depth.saturating_sub(1));
        if depth > 0 {
            self.last.push(last);
        }
    }

    /// Before the node's own line.
    fn connector(&self) -> String {
        let Some((&last, above)) = self.last.split_last() else { return String::new() };
        let mut text = self.bars(above);
        text.push_str(match (self.look.unicode, last) {
            (true, false) => "├─ ",
            (true, true) => "└─ ",
            (false, false) => "|- ",
            (false, true) => "`- ",
        });
        text
    }

    /// Before what belongs to the node on further lines.
    fn below(&self) -> String {
        let mut text = self.bars(&self.last);
        text.push_str(if self.look.unicode { "┊ " } else { ": " });
        text
    }

    fn bars(&self, last: &[bool]) -> String {
        let hidden = last.len().saturating_sub(self.levels);
        let mut text = String::with_capacity((last.len() - hidden + 4) * 5);
        if hidden > 0 {
            let ellipsis = if self.look.unicode { "…" } else { "..." };
            let _ = write!(text, "{ellipsis}{hidden} ");
        }
        for &last in &last[hidden..] {
            text.push_str(match (last, self.look.unicode) {
                (true, _) => "   ",
                (false, true) => "│  ",
                (false, false) => "|  ",
            });
        }
        text
    }
}

fn write_label(out: &mut dyn Write, node: &Node, prefix: &str, look: TextStyle) -> io::Result<()> {
    let mut line = look.paint(style::DIM, prefix);
    if prefix.is_empty() {
        line.clear();
    }
    let mut used = prefix.width();
    let mut parts: Vec<(Style, &str)> = node.head.iter().map(|span| (span.style, &*span.text)).collect();
    used += parts.iter().map(|(_, text)| text.width() + 1).sum::<usize>();
    let room = look.width.map(|width| width.saturating_sub(used));
    let fit = |text: &str, reserve: usize| match room {
        Some(room) => style::cut(text, room.saturating_sub(reserve), look),
        None => text.to_owned(),
    };
    let tail = fit(&node.tail.text, 0);
    let reserve = if tail.is_empty() { 0 } else { tail.width() + 1 };
    let text = fit(&node.text.text, reserve);
    parts.push((node.text.style, &text));
    parts.push((node.tail.style, &tail));
    let mut blank = false;
    for (style, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
        if std::mem::replace(&mut blank, true) {
            line.push(' ');
        }
        line.push_str(&look.paint(style, text));
    }
    writeln!(out, "{line}")
}

/// How many columns have to be left for a remark to be cut to them: less would help nobody.
const LEAST_ROOM: usize = 24;

/// Cuts a remark to what a prefix of this width leaves. It is not wrapped, because the name of a process or of a path
/// could then begin a line.
fn fitting(span: &Span, prefix: usize, look: TextStyle) -> Span {
    let room = look.width.map(|width| width.saturating_sub(prefix)).filter(|room| *room >= LEAST_ROOM);
    Span::new(span.style, room.map_or_else(|| span.text.clone(), |room| style::cut(&span.text, room, look)))
}

fn write_notes(out: &mut dyn Write, notes: &[Vec<Span>], prefix: &str, look: TextStyle) -> io::Result<()> {
    for note in notes {
        let mut used = usize::MAX;
        let mut line = String::new();
        let pieces = note.iter().map(|span| fitting(span, prefix.width(), look));
        for span in pieces {
            let width = span.text.width();
            if !line.is_empty() && look.width.is_some_and(|most| used + 1 + width > most) {
                writeln!(out, "{line}")?;
                line.clear();
            }
            if line.is_empty() {
                line = look.paint(style::DIM, prefix);
                used = prefix.width();
            } else {
                line.push(' ');
                used += 1;
            }
            line.push_str(&look.paint(span.style, &span.text));
            used += width;
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}
