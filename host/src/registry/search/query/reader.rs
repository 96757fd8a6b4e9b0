//! One character of a query after another.

use super::QueryError;

/// A query, and how much of it has been read.
pub(super) struct Reader<'t> {
    whole: &'t str,
    rest: &'t str,
}

/// A place in a query, to say what is wrong there.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Characters before it.
    before: usize,
}

impl Place {
    pub(super) fn wrong(self, why: &str) -> QueryError {
        QueryError::Wrong { at: self.before + 1, why: why.to_owned() }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(whole: &'t str) -> Self {
        Self { whole, rest: whole }
    }

    pub(super) fn place(&self) -> Place {
        Place { before: self.whole.chars().count() - self.rest.chars().count() }
    }

    /// Something is wrong right here.
    pub(super) fn wrong(&self, why: &str) -> QueryError {
        self.place().wrong(why)
    }

    /// Whether there is something behind the spaces.
    pub(super) fn skip_spaces(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        !self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn take(&mut self, wanted: char) -> bool {
        let behind = self.rest.strip_prefix(wanted);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    /// All up to a space or one of `ends`, which may be nothing.
    pub(super) fn word(&mut self, ends: &[char]) -> String {
        self.up_to(|c| c.is_whitespace() || ends.contains(&c))
    }

    /// All that is of `these`.
    pub(super) fn all_of(&mut self, these: &[char]) -> String {
        self.up_to(|c| !these.contains(&c))
    }

    /// A word or a phrase in quotes.
    pub(super) fn text(&mut self) -> Result<String, QueryError> {
        Ok(self.quoted()?.unwrap_or_else(|| self.word(&['"'])))
    }

    /// A phrase in quotes, if there is one.
    pub(super) fn quoted(&mut self) -> Result<Option<String>, QueryError> {
        let begin = self.place();
        if !self.take('"') {
            return Ok(None);
        }
        let mut phrase = String::new();
        let mut chars = self.rest.chars();
        while let Some(next) = chars.next() {
            let escaped = |c: &char| matches!(c, '"' | '\\');
            match next {
                '"' => {
                    self.rest = chars.as_str();
                    return Ok(Some(phrase));
                }
                '\\' => match chars.clone().next().filter(escaped) {
                    Some(c) => {
                        chars.next();
                        phrase.push(c);
                    }
                    None => phrase.push('\\'),
                },
                _ => phrase.push(next),
            }
        }
        Err(begin.wrong("the quote that begins here does not end"))
    }

    fn up_to(&mut self, is_end: impl Fn(char) -> bool) -> String {
        let (taken, rest) = self.rest.split_at(self.rest.find(is_end).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken.to_owned()
    }
}
