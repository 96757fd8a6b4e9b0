//! Reading a TOML document by hand, so that every mistake is reported at once, with its line and key.
//!
//! A deserialiser stops at the first mistake; a [`Table`] instead notes each one in its [`Notes`] and reads on. It
//! remembers which keys were asked for, so that whatever is left over is an unknown key. Knows TOML's types and lines,
//! no particular document. Lives as long as the text it reads.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in a file: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as the user named it.
    pub file: String,
    /// Its line, from 1; `None` where the file itself is the mistake.
    pub line: Option<usize>,
    /// The key, with the tables around it; empty where the text is not TOML.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Collects the mistakes of one document.
pub(super) struct Notes<'r> {
    file: String,
    text: &'r str,
    found: RefCell<Vec<Mistake>>,
}

/// A value and the place where the document has it.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// One table of a document.
pub(super) struct Table<'r> {
    notes: &'r Notes<'r>,
    name: String,
    table: &'r DeTable<'r>,
    at: usize,
    known: Vec<&'static str>,
}

impl<'r> Notes<'r> {
    pub(super) fn new(file: String, text: &'r str) -> Self {
        Self { file, text, found: RefCell::default() }
    }

    /// Notes a mistake at a byte of the text.
    pub(super) fn add(&self, at: usize, key: &str, message: impl Into<String>) {
        let mistake =
            Mistake { file: self.file.clone(), line: Some(self.line(at)), key: key.into(), message: message.into() };
        self.found.borrow_mut().push(mistake);
    }

    /// The line of a byte of the text, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.iter().filter(|&&b| b == b'\n').count() + 1
    }

    /// All mistakes, top to bottom.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|mistake| mistake.line);
        found
    }
}

impl<'r> Table<'r> {
    /// The document's outermost table.
    pub(super) fn root(notes: &'r Notes<'r>, table: &'r DeTable<'r>) -> Self {
        Self { notes, name: String::new(), table, at: 0, known: Vec::new() }
    }

    /// The text under `key`, if it is there and is text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Placed<&'r str>> {
        let value = self.value(key)?;
        let text = self.expect(key, value, "text in quotes", value.get_ref().as_str())?;
        Some(Placed { value: text, at: value.span().start })
    }

    /// The text under `key`, whose absence is a mistake.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<Placed<&'r str>> {
        if !self.has(key) {
            self.known.push(key);
            self.notes.add(self.at, &self.key(key), "is missing");
            return None;
        }
        self.text(key)
    }

    /// The text under `key`, read as a `T`.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, key: &'static str) -> Option<Placed<T>> {
        let text = self.text(key)?;
        self.parse(key, &text)
    }

    /// The text under `key`, read as a `T`; its absence is a mistake.
    pub(super) fn required<T: FromStr<Err: fmt::Display>>(&mut self, key: &'static str) -> Option<Placed<T>> {
        let text = self.required_text(key)?;
        self.parse(key, &text)
    }

    /// The value under `key`, text or a plain whole number, read by `read`.
    pub(super) fn quantity<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        read: fn(&str) -> Result<T, E>,
    ) -> Option<Placed<T>> {
        let value = self.value(key)?;
        let number = value.get_ref().as_integer().filter(|number| number.radix() == 10);
        let text = value.get_ref().as_str().or_else(|| Some(number?.as_str()));
        let text = self.expect(key, value, "text in quotes", text)?;
        let read = read(text).map_err(|why| self.notes.add(value.span().start, &self.key(key), why.to_string()));
        Some(Placed { value: read.ok()?, at: value.span().start })
    }

    /// The whole number under `key`.
    pub(super) fn number(&mut self, key: &'static str) -> Option<Placed<u32>> {
        let value = self.value(key)?;
        let number = whole(value.get_ref()).and_then(|n| u32::try_from(n).ok());
        let number = self.expect(key, value, "a whole number from 0 to 4294967295", number)?;
        Some(Placed { value: number, at: value.span().start })
    }

    /// The truth value under `key`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        self.expect(key, value, "true or false", value.get_ref().as_bool())
    }

    /// The elements under `key`, each read by `read`; those that are not `what` are noted and left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: fn(&'r DeValue<'r>) -> Option<T>,
    ) -> Option<Placed<Vec<T>>> {
        let value = self.value(key)?;
        let array = self.expect(key, value, &format!("a list of {what}"), value.get_ref().as_array())?;
        let items = array.iter().filter_map(|item| self.expect(key, item, what, read(item.get_ref()))).collect();
        Some(Placed { value: items, at: value.span().start })
    }

    /// The table under `key`.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Table<'r>> {
        let value = self.value(key)?;
        let table = self.expect(key, value, "a table", value.get_ref().as_table())?;
        Some(self.inner(key, table, value.span().start))
    }

    /// The tables listed under `key`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table<'r>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let what =
            if self.name.is_empty() { format!("a list of tables, each under [[{key}]]") } else { "a list".to_owned() };
        let Some(array) = self.expect(key, value, &what, value.get_ref().as_array()) else {
            return Vec::new();
        };
        let table = |item: &'r Spanned<DeValue<'r>>| {
            let table = self.expect(key, item, "a table", item.get_ref().as_table())?;
            Some(self.inner(key, table, item.span().start))
        };
        array.iter().filter_map(table).collect()
    }

    /// All entries of a table whose keys are the user's own.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Placed<&'r str>, &'r DeValue<'r>)> + use<'r> {
        self.table
            .iter()
            .map(|(key, value)| (Placed { value: key.get_ref().deref(), at: key.span().start }, value.get_ref()))
    }

    /// Whether the table has `key`, of whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the table begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Notes a mistake about `key` at a byte of the text.
    pub(super) fn note(&self, at: usize, key: &str, message: impl Into<String>) {
        self.notes.add(at, &self.key(key), message);
    }

    /// The key with the tables around it.
    pub(super) fn key(&self, key: &str) -> String {
        let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        match (self.name.as_str(), key.as_str()) {
            ("", _) => key,
            (name, "") => name.to_owned(),
            (name, _) => format!("{name}.{key}"),
        }
    }

    /// Notes every key that was not asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.entries().filter(|(key, _)| !self.known.contains(&key.value)) {
            let near = self.known.iter().map(|known| (distance(key.value, known), *known)).min();
            let advice = match near {
                Some((steps, known)) if steps <= 1 + known.len() / 4 => format!("did you mean '{known}'?"),
                _ => format!("known here: {}", self.known.join(", ")),
            };
            self.note(key.at, key.value, format!("unknown key; {advice}"));
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'r Spanned<DeValue<'r>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn inner(&self, key: &str, table: &'r DeTable<'r>, at: usize) -> Table<'r> {
        Table { notes: self.notes, name: self.key(key), table, at, known: Vec::new() }
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&self, key: &str, text: &Placed<&str>) -> Option<Placed<T>> {
        match text.value.parse() {
            Ok(value) => Some(Placed { value, at: text.at }),
            Err(why) => {
                self.note(text.at, key, why.to_string());
                None
            }
        }
    }

    fn expect<T>(&self, key: &str, value: &Spanned<DeValue<'_>>, what: &str, read: Option<T>) -> Option<T> {
        if read.is_none() {
            let found = value.get_ref().type_str();
            self.note(value.span().start, key, format!("must be {what}; found {found}{}", literal(value.get_ref())));
        }
        read
    }
}

/// A whole number of any base.
pub(super) fn whole(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A number with or without a fraction.
pub(super) fn fraction(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        _ => None,
    }
}

/// The value as it was written, where that is short enough to be worth repeating.
fn literal(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => format!(" {number}"),
        DeValue::Float(number) => format!(" {number}"),
        DeValue::Boolean(flag) => format!(" {flag}"),
        DeValue::String(text) if text.len() <= 40 => format!(" {text:?}"),
        DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => String::new(),
    }
}

/// Insertions, deletions and replacements between two words.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(80).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: ", self.file)?,
            None => write!(f, "{}: ", self.file)?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}
