//! The words of a query: read, and written again.
//!
//! ```text
//! query   = term (space term)*
//! term    = ["-"] (text | FIELD ":" text | "label:" KEY ["=" text] | METRIC op NUMBER)
//! text    = a word, or a phrase in quotes, in which \" and \\ stand for a quote and a backslash
//! op      = ">" | ">=" | "<" | "<=" | "=" | "!="
//! ```

use std::fmt;
use std::str::FromStr;

use super::super::device::Device;
use super::super::excerpt::excerpt;
use super::super::name::LabelKey;
use super::super::revision::FunctionKind;

mod reader;

use reader::Reader;

/// The longest query, and the most terms of one: every term is held against every version.
const MAX_CHARS: usize = 1000;
const MAX_TERMS: usize = 32;

/// What is looked for. All text in it is lower case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub(super) terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    /// Whether it must not hold.
    pub(super) negated: bool,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// Somewhere among the words that a version says of itself.
    Text(String),
    Field(Field, String),
    Kind(FunctionKind),
    Device(Device),
    Label {
        key: String,
        /// `None`: any.
        value: Option<String>,
    },
    Metric {
        name: String,
        comparison: Comparison,
        number: f64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Tag,
    Author,
    License,
    Model,
    Input,
    Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Is,
    IsNot,
}

/// Text that is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("a query has at most {MAX_CHARS} characters, and this one has {0}")]
    TooLong(usize),
    #[error("a query has at most {MAX_TERMS} terms")]
    TooMany,
    /// Characters are counted from 1.
    #[error("at character {at}: {why}")]
    Wrong { at: usize, why: String },
}

const FIELDS: [(&str, Field); 7] = [
    ("name", Field::Name),
    ("tag", Field::Tag),
    ("author", Field::Author),
    ("license", Field::License),
    ("model", Field::Model),
    ("input", Field::Input),
    ("output", Field::Output),
];

const COMPARISONS: [(&str, Comparison); 6] = [
    (">", Comparison::Above),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Below),
    ("<=", Comparison::AtMost),
    ("=", Comparison::Is),
    ("!=", Comparison::IsNot),
];

/// Characters that end a word which is not in quotes.
const SPECIAL: [char; 6] = [':', '<', '>', '=', '!', '"'];

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let length = text.chars().count();
        if length > MAX_CHARS {
            return Err(QueryError::TooLong(length));
        }
        let mut reader = Reader::new(text);
        let mut terms = Vec::new();
        while reader.skip_spaces() {
            if terms.len() == MAX_TERMS {
                return Err(QueryError::TooMany);
            }
            terms.push(term(&mut reader)?);
        }
        Ok(Self { terms })
    }
}

fn term(reader: &mut Reader<'_>) -> Result<Term, QueryError> {
    let negated = reader.take('-');
    let begin = reader.place();
    let (word, in_quotes) = match reader.quoted()? {
        Some(phrase) => (phrase, true),
        None => (reader.word(&SPECIAL), false),
    };
    let what = match reader.peek() {
        Some(':') if !in_quotes => field(reader, begin, &word)?,
        Some('<' | '>' | '=' | '!') => metric(reader, begin, &word, in_quotes)?,
        Some(next) if !next.is_whitespace() => return Err(reader.wrong(AFTER_A_PHRASE)),
        _ if word.is_empty() && in_quotes => return Err(begin.wrong("nothing is between the quotes")),
        _ if word.is_empty() || (word.starts_with('-') && !in_quotes) => {
            return Err(begin.wrong("one '-' stands before what must not hold, such as -tag:vision"));
        }
        _ => What::Text(word.to_lowercase()),
    };
    if reader.peek().is_some_and(|next| !next.is_whitespace()) {
        return Err(reader.wrong(AFTER_A_PHRASE));
    }
    Ok(Term { negated, what })
}

const AFTER_A_PHRASE: &str = "a phrase in quotes has spaces around it, or stands right behind 'FIELD:' or 'label:KEY='";

fn field(reader: &mut Reader<'_>, begin: reader::Place, word: &str) -> Result<What, QueryError> {
    let word = word.to_lowercase();
    reader.take(':');
    let at = reader.place();
    if word == "label" {
        let key = reader.word(&['=', '"']);
        key.parse::<LabelKey>().map_err(|error| at.wrong(&error.to_string()))?;
        let value = if reader.take('=') { Some(reader.text()?.to_lowercase()) } else { None };
        return Ok(What::Label { key: key.to_lowercase(), value });
    }
    let known = FIELDS.iter().find(|(name, _)| *name == word);
    if known.is_none() && word != "kind" && word != "device" {
        let there_are: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).chain(["kind", "device", "label"]).collect();
        let (word, there_are) = (excerpt(&word), there_are.join(", "));
        return Err(begin.wrong(&format!(
            "there is no field '{word}'; there are {there_are}. What is to be found as it stands goes in quotes"
        )));
    }
    let value = reader.text()?.to_lowercase();
    if value.is_empty() {
        return Err(at.wrong(&format!("nothing is behind '{word}:'")));
    }
    match known {
        Some((_, field)) => Ok(What::Field(*field, value)),
        None if word == "kind" => {
            let kinds = [FunctionKind::ModelOnly, FunctionKind::Typed, FunctionKind::Http];
            let kind = kinds.into_iter().find(|kind| kind.to_string() == value);
            let wrong = || at.wrong(&format!("'{}' is no kind; there are model-only, typed and http", excerpt(&value)));
            kind.map(What::Kind).ok_or_else(wrong)
        }
        None => value.parse().map(What::Device).map_err(|error| at.wrong(&format!("{error}"))),
    }
}

fn metric(reader: &mut Reader<'_>, begin: reader::Place, name: &str, in_quotes: bool) -> Result<What, QueryError> {
    const WITHOUT_SPACES: &str = "a comparison has no spaces in it: accuracy>0.9";
    if name.is_empty() || (name.starts_with('-') && !in_quotes) {
        return Err(begin.wrong(WITHOUT_SPACES));
    }
    let at = reader.place();
    let written = reader.all_of(&['<', '>', '=', '!']);
    let Some((_, comparison)) = COMPARISONS.iter().find(|(text, _)| *text == written) else {
        return Err(at.wrong(&format!("there is no comparison '{}'; there are > >= < <= = !=", excerpt(&written))));
    };
    let at = reader.place();
    let number = reader.word(&['"']);
    if number.is_empty() {
        return Err(at.wrong(WITHOUT_SPACES));
    }
    match number.parse::<f64>().ok().filter(|number| number.is_finite()) {
        Some(number) => Ok(What::Metric { name: name.to_lowercase(), comparison: *comparison, number }),
        None => {
            let number = excerpt(&number);
            Err(at.wrong(&format!("'{number}' is not a number; what is to be found as it stands goes in quotes")))
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Term { negated, what }) in self.terms.iter().enumerate() {
            let (space, minus) = (if index > 0 { " " } else { "" }, if *negated { "-" } else { "" });
            write!(f, "{space}{minus}{what}")?;
        }
        Ok(())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |text: &str| quoted_if(text.starts_with('-') || text.contains(SPECIAL), text);
        let value = |text: &str| quoted_if(text.contains('"'), text);
        match self {
            Self::Text(text) => f.write_str(&word(text)),
            Self::Field(field, text) => {
                let name = FIELDS.iter().find(|(_, known)| known == field).map_or("", |(name, _)| name);
                write!(f, "{name}:{}", value(text))
            }
            Self::Kind(kind) => write!(f, "kind:{kind}"),
            Self::Device(device) => write!(f, "device:{device}"),
            Self::Label { key, value: None } => write!(f, "label:{key}"),
            Self::Label { key, value: Some(text) } => write!(f, "label:{key}={}", value(text)),
            Self::Metric { name, comparison, number } => {
                let written = COMPARISONS.iter().find(|(_, known)| known == comparison).map_or("", |(text, _)| text);
                write!(f, "{}{written}{number:?}", word(name))
            }
        }
    }
}

fn quoted_if(must_be: bool, text: &str) -> String {
    if !must_be && !text.is_empty() && !text.contains(char::is_whitespace) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
