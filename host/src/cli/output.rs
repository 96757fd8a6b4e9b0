//! What people and scripts get to read: aligned tables, JSON, errors.
//!
//! The only place of the command line that writes. A reader who goes away early (`nocti list | head -1`) is no error.

use std::fmt::Write as _;
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Rows of text in aligned columns, two spaces apart.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// A table without headings: names and what they stand for.
    pub(crate) fn of_pairs() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Vec::from(cells));
    }

    /// The table as text, every line indented by so many spaces.
    pub(crate) fn text(&self, indent: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for (cell, &width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Writes `text` to standard output, with a line break at its end.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let line_break = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    bytes(format!("{text}{line_break}").as_bytes())
}

/// Writes a value as indented JSON.
pub(crate) fn json(value: &Value) -> anyhow::Result<()> {
    text(&serde_json::to_string_pretty(value)?)
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    piece(bytes).map(drop)
}

/// The same of what goes on; whether anybody reads it.
pub(crate) fn piece(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// Asks on standard error; the answer is typed on the same line.
pub(crate) fn ask(question: &str) -> anyhow::Result<()> {
    let mut err = io::stderr().lock();
    err.write_all(question.as_bytes())?;
    Ok(err.flush()?)
}

/// Tells on standard error what is going on.
pub(crate) fn note(text: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells on standard error what went wrong.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {}", chain(error)));
}

/// An error and its causes in one line; causes that the text before already repeats are left out.
pub(super) fn chain(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.is_empty() {
            true => cause,
            false if text.contains(&cause) => text,
            false => format!("{text}: {cause}"),
        }
    })
}

/// A bar on standard error, invisible where that is no terminal.
pub(crate) fn progress_bar(doing: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is valid");
    ProgressBar::new(0).with_style(style).with_prefix(doing)
}

/// A size for people: `41.2 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// A length of time for people: `2h 05m`.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes:02}m"),
        _ => format!("{days}d {hours:02}h"),
    }
}

/// `1 model`, `2 models`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A digest short enough for a table.
pub(crate) fn short_digest(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// A dash for what is not there.
pub(crate) fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn tables_are_aligned_and_have_no_trailing_spaces() {
        let mut table = Table::new(["NAME", "KIND"]);
        table.row(["é".into(), "typed".into()]);
        table.row(["longer".into(), String::new()]);
        assert_eq!(table.text(1), " NAME    KIND\n é       typed\n longer\n");
    }

    #[test]
    fn sizes_and_spans() {
        let sizes = [0, 1023, 1024, 41_000, 90 << 20, 5 << 40].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "40.0 KiB", "90.0 MiB", "5.0 TiB"]);
        let spans = [5, 65, 3600, 90_000].map(span);
        assert_eq!(spans, ["5s", "1m 05s", "1h 00m", "1d 01h"]);
    }

    #[test]
    fn causes_are_told_once() {
        let error = Err::<(), _>(std::io::Error::other("disk on fire"))
            .context("cannot read x: disk on fire")
            .context("cannot deploy")
            .expect_err("it is one");
        assert_eq!(chain(&error), "cannot deploy: cannot read x: disk on fire");
    }
}
