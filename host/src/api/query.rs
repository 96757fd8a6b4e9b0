//! What queries of management say: names and values, each name one that is known there and said once.

use std::borrow::Cow;

use http::Request;

use crate::http::respond::HttpError;
use crate::registry::excerpt::excerpt;
use crate::registry::note::Note;

/// A query, decoded.
pub(super) struct Query<'r>(Vec<(Cow<'r, str>, Cow<'r, str>)>);

/// What the query says of a change, where no body does.
pub(super) const NOTE: [&str; 3] = ["by", "message", "revision"];

impl<'r> Query<'r> {
    /// Reads the query of a request, which may say so much.
    pub(super) fn of<B>(request: &'r Request<B>, known: &[&str]) -> Result<Self, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let mut said: Vec<(Cow<'r, str>, Cow<'r, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                let (name, there_are) = (excerpt(&name), known.join(", "));
                return Err(HttpError::BadRequest(format!("there is no parameter '{name}'; there are {there_are}")));
            }
            if said.iter().any(|(other, _)| *other == name) {
                return Err(HttpError::BadRequest(format!("parameter '{name}' is there twice; say it once")));
            }
            said.push((name, value));
        }
        Ok(Self(said))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(said, _)| said == name).map(|(_, value)| &**value)
    }

    /// At most what the API's description says of whole numbers: int64.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, HttpError> {
        let parse = |text: &str| u64::try_from(text.parse::<i64>().ok()?).ok();
        let number = |text: &str| parse(text).ok_or_else(|| not(name, "a number", text));
        self.get(name).map(number).transpose()
    }

    /// How much of a list is wanted: a part that is not too large, or nothing is said.
    pub(super) fn limit(&self, most: usize) -> Result<Option<usize>, HttpError> {
        let limit = self.number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        match limit.filter(|limit| !(1..=most).contains(limit)) {
            Some(_) => Err(HttpError::BadRequest(format!("parameter 'limit' must be 1 to {most}"))),
            None => Ok(limit),
        }
    }

    /// `true` where it stands alone, too.
    pub(super) fn flag(&self, name: &str) -> Result<bool, HttpError> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(text) => Err(not(name, "true or false", text)),
        }
    }

    pub(super) fn note(&self) -> Result<Note, HttpError> {
        let [by, message, revision] = NOTE;
        note(self.get(by).map(str::to_owned), self.get(message).map(str::to_owned), self.number(revision)?)
    }
}

/// What is said of a change, if it can be kept.
pub(super) fn note(by: Option<String>, message: Option<String>, revision: Option<u64>) -> Result<Note, HttpError> {
    Note::new(by, message, revision).map_err(|error| HttpError::BadRequest(error.to_string()))
}

fn not(name: &str, what: &str, text: &str) -> HttpError {
    HttpError::BadRequest(format!("parameter '{name}' must be {what}, not '{}'", excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Request<()> {
        Request::get(format!("/?{query}")).body(()).expect("a request")
    }

    fn refused(query: &str, look: impl Fn(&Query<'_>) -> Result<(), HttpError>) -> String {
        let request = request(query);
        let outcome = Query::of(&request, &["by", "flag"]).and_then(|query| look(&query));
        outcome.expect_err("it must be refused").to_string()
    }

    #[test]
    fn names_and_values_are_decoded() {
        let request = request("by=Ada+Lovelace&message=50%25%20%C3%A9&revision=7&flag");
        let query = Query::of(&request, &["by", "message", "revision", "flag"]).expect("all are known");
        let expected = Note::new(Some("Ada Lovelace".into()), Some("50% é".into()), Some(7)).expect("one line each");
        assert_eq!(query.note().expect("a note"), expected);
        assert!(query.flag("flag").expect("true"));
        assert_eq!((query.get("other"), query.number("other").expect("none")), (None, None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(refused("x=1", |_| Ok(())), "there is no parameter 'x'; there are by, flag");
        assert_eq!(refused("by=1&by=2", |_| Ok(())), "parameter 'by' is there twice; say it once");
        let number = |query: &Query<'_>| query.number("by").map(drop);
        assert_eq!(refused("by=-1", number), "parameter 'by' must be a number, not '-1'");
        assert!(refused("by=9223372036854775808", number).contains("must be a number"));
        let flag = |query: &Query<'_>| query.flag("flag").map(drop);
        assert_eq!(refused("flag=maybe", flag), "parameter 'flag' must be true or false, not 'maybe'");
        assert!(refused("by=a%0Ab", |query| query.note().map(drop)).contains("one line"));
    }
}
