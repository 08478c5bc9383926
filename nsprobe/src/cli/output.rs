//! stdout for data, stderr for messages, and their capabilities.

use super::feed::Feed;
use crate::kernel::advice;
use crate::model::{Snapshot, text};
use crate::render::style::TextStyle;
use crate::render::wrap::wrapped;
use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

/// Buffered stdout, and the capabilities of the terminal behind it.
pub(super) struct Output {
    stdout: BufWriter<File>,
    /// Set if the terminal supports colours.
    color: bool,
    choice: Color,
}

impl Output {
    /// Writes go to a separate descriptor: Rust's stdout treats EBADF as success.
    pub(super) fn new(choice: Color) -> io::Result<Self> {
        let stdout = io::stdout();
        let color = match choice {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
        };
        let file = File::from(stdout.as_fd().try_clone_to_owned()?);
        Ok(Self { stdout: BufWriter::with_capacity(64 * 1024, file), color, choice })
    }

    /// The descriptor behind it, for a stream of lines that is not buffered.
    pub(super) fn file(&self) -> io::Result<File> {
        self.stdout.get_ref().try_clone()
    }

    /// The style for a file; `ascii` if the caller requested plain lines.
    pub(super) fn text_style_of_file(&self, ascii: bool) -> TextStyle {
        TextStyle { color: self.choice == Color::Always, unicode: !ascii && locale_is_utf8(), width: None }
    }

    /// The style for the terminal; `ascii` if the caller requested plain lines.
    pub(super) fn text_style(&self, ascii: bool) -> TextStyle {
        TextStyle { color: self.color, unicode: !ascii && locale_is_utf8(), width: width(&io::stdout()) }
    }
}

impl Write for Output {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stdout.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Columns of the terminal behind `stream`, or `COLUMNS` if that is set; `None` if it is not a terminal: output to a
/// pipe or a file is not cut, whatever the shell has exported.
fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.filter(|&columns| columns > 0).or_else(|| {
        let (width, _) = terminal_size::terminal_size_of(stream)?;
        Some(usize::from(width.0)).filter(|&width| width > 0)
    })
}

/// True if the locale's characters are UTF-8: the first of the three variables that is set decides, as in locale(7).
/// Without any it is the C locale.
fn locale_is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

/// The queue of messages to stderr while nothing may wait for its reader.
static MESSAGES: Mutex<Option<Feed>> = Mutex::new(None);

/// Bytes of messages that wait for a reader of stderr.
const MESSAGES_ROOM: usize = 64 << 10;

/// The time that the last messages wait for a reader.
const FINAL_WAIT: Duration = Duration::from_millis(150);

/// From now on nothing waits for the reader of stderr; messages that do not fit are dropped.
pub(super) fn messages_in_background() -> io::Result<()> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    *MESSAGES.lock().unwrap_or_else(PoisonError::into_inner) = Some(Feed::new(stderr.into(), MESSAGES_ROOM)?);
    Ok(())
}

/// Waits for the last messages to be written, if there is a reader.
pub(super) fn finish_messages() {
    if let Some(messages) = &*MESSAGES.lock().unwrap_or_else(PoisonError::into_inner) {
        // If stderr has gone there is nowhere to report it.
        let _ = messages.wait(FINAL_WAIT, FINAL_WAIT, &mut || false);
    }
}

/// The column at which a message wider than the terminal continues: below its first word.
const INDENT: usize = "nsprobe: ".len();

/// Writes a message to stderr: the only place that does. Untrusted texts are in their printed form in `message`
/// already; those from libraries may not be. On a terminal it is wrapped.
pub(super) fn complain(message: &dyn Display) {
    let line = format!("nsprobe: {}", text::guarded(&advice::message(message)));
    let line = wrapped(&line, INDENT, TextStyle { width: width(&io::stderr()), ..TextStyle::PLAIN }) + "\n";
    // If stderr has gone there is nowhere to report it.
    if let Some(messages) = &mut *MESSAGES.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = messages.push(line.as_bytes(), false, 0) && messages.flush().is_ok();
    } else {
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Reports an error of the command line, or prints the help that was requested.
pub(super) fn usage(error: clap::Error) -> ExitCode {
    let error = with_hint(harmless(error));
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        // A failed write to stderr leaves nowhere to report it.
        Err(why) if !error.use_stderr() && why.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format_args!("stdout: {why}"));
            ExitCode::from(2)
        }
        _ => ExitCode::from(code),
    }
}

/// The error with the given texts in their printed form.
fn harmless(mut error: clap::Error) -> clap::Error {
    let inside = |text: &str| {
        let quoted = text::quoted(text.as_bytes());
        quoted[1..quoted.len() - 1].to_owned()
    };
    let changed: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| {
            let harmless = match value {
                ContextValue::String(text) => ContextValue::String(inside(text)),
                ContextValue::Strings(texts) => {
                    ContextValue::Strings(texts.iter().map(|text| inside(text)).collect())
                }
                _ => return None,
            };
            (harmless != *value).then_some((kind, harmless))
        })
        .collect();
    if !changed.is_empty() {
        // It repeats the given text.
        error.remove(ContextKind::Suggested);
    }
    for (kind, value) in changed {
        error.insert(kind, value);
    }
    error
}

/// `1 process`, `2 processes`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The error, with a hint if a command to be traced does not follow `--`.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let is_word = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(text)) if !text.starts_with('-'));
    let traces = std::env::args_os().any(|argument| argument == "trace");
    if error.kind() == ErrorKind::UnknownArgument && is_word && traces {
        let hint = "put `--` before the command: nsprobe trace -- COMMAND";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

/// Reports that nothing matched, and how much was searched.
pub(super) fn nothing(snapshot: &Snapshot) {
    complain(&format_args!(
        "nothing matches; {} and {} were searched",
        counted(snapshot.namespaces.len() as u64, "namespace", "namespaces"),
        counted(snapshot.processes.len() as u64, "process", "processes")
    ));
}
