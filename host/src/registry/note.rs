//! What whoever changes a function says of the change: who, why, and which state it is meant for.
//!
//! Nobody is asked to prove who they are, so `by` is a claim, kept as it was made.

use super::excerpt::excerpt;

const MAX_BY_CHARS: usize = 100;
const MAX_MESSAGE_CHARS: usize = 1000;

/// Who and why, in words that are one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    pub(super) by: Option<String>,
    pub(super) message: Option<String>,
    /// The number of the revision that the change is made from; made from any other one it is refused.
    pub(super) revision: Option<u64>,
}

/// Words that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} '{text}' cannot be kept: use one line of at most {most} characters")]
pub struct NoteError {
    what: &'static str,
    most: usize,
    text: String,
}

impl Note {
    /// What is empty is as good as nothing.
    pub fn new(by: Option<String>, message: Option<String>, revision: Option<u64>) -> Result<Self, NoteError> {
        let by = line("by", MAX_BY_CHARS, by)?;
        let message = line("message", MAX_MESSAGE_CHARS, message)?;
        Ok(Self { by, message, revision })
    }

    /// The same for a change of a revision that was looked at.
    pub(super) fn upon(&self, revision: u64) -> Self {
        Self { revision: self.revision.or(Some(revision)), ..self.clone() }
    }
}

fn line(what: &'static str, most: usize, text: Option<String>) -> Result<Option<String>, NoteError> {
    let Some(text) = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else { return Ok(None) };
    // It is shown in terminals, which control characters command.
    if text.chars().any(char::is_control) || text.chars().nth(most).is_some() {
        return Err(NoteError { what, most, text: excerpt(&text) });
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Result<Option<String>, NoteError> {
        Note::new(None, Some(text.to_owned()), None).map(|note| note.message)
    }

    #[test]
    fn words_are_one_line_that_is_not_too_long() {
        assert_eq!(message(" the new weights \n"), Ok(Some("the new weights".to_owned())));
        assert_eq!(message(" "), Ok(None));
        assert_eq!(message(&"é".repeat(1000)), Ok(Some("é".repeat(1000))));
        for bad in ["two\nlines", "\u{1b}[31mred", &"x".repeat(1001)] {
            let error = message(bad).expect_err("it cannot be kept");
            assert!(error.to_string().contains("use one line of at most 1000 characters"), "{error}");
            assert!(error.to_string().len() < 250 && !error.to_string().contains('\u{1b}'), "{error}");
        }
        assert!(Note::new(Some("x".repeat(101)), None, None).is_err());
    }
}
