//! Named values in their order: a request's inputs, what a model takes and gives, an answer.

use std::fmt;

use crate::bindings::types;
use crate::entry::Entry;
use crate::{FromValue, Value};

/// Named values, each name at most once.
///
/// ```
/// # use nocti_sdk::prelude::*;
/// let mut values = Values::new().with("label", vec![7_i64]).with("words", Text::from("seven"));
/// let label: Tensor<i64> = values.take("label")?;
/// assert_eq!(label.data(), [7]);
/// assert_eq!(values.names().collect::<Vec<_>>(), ["words"]);
/// # Ok::<(), nocti_sdk::TakeError>(())
/// ```
///
/// Values of one type can be written as an array: `model.run([("a", a), ("b", b)])`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Values {
    entries: Vec<(String, Entry)>,
}

/// There is no value of this name, or it is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeError {
    /// No value has the name.
    Missing {
        /// The name asked for.
        name: String,
        /// The names there are.
        given: Vec<String>,
    },
    /// The value is of another type, or not text.
    Wrong {
        /// The name asked for.
        name: String,
        /// A sentence that goes on after the name.
        reason: String,
    },
}

impl Values {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// These values and one more; it replaces one of the same name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds a value; it replaces one of the same name, which comes back.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => Some(std::mem::replace(old, value.into()).into_value()),
            None => {
                self.entries.push((name, value.into()));
                None
            }
        }
    }

    /// Takes a value out as the type asked for: `Tensor<T>`, [`Text`](crate::Text), [`Bytes`](crate::Bytes) or [`Value`].
    ///
    /// # Errors
    /// There is none of this name, or it is of another type; a value of another type is gone.
    pub fn take<V: FromValue>(&mut self, name: &str) -> Result<V, TakeError> {
        self.take_optional(name)?.ok_or_else(|| TakeError::Missing {
            name: name.to_owned(),
            given: self.names().map(str::to_owned).collect(),
        })
    }

    /// Takes a value out if it is there.
    ///
    /// # Errors
    /// The value is there but of another type; it is gone then.
    pub fn take_optional<V: FromValue>(&mut self, name: &str) -> Result<Option<V>, TakeError> {
        let Some(index) = self.entries.iter().position(|(known, _)| known == name) else {
            return Ok(None);
        };
        let (name, entry) = self.entries.remove(index);
        V::from_value(entry.into_value()).map(Some).map_err(|reason| TakeError::Wrong { name, reason })
    }

    /// The value of this name, left where it is.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find_map(|(known, entry)| (known == name).then(|| entry.get()))
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Values from the host; of those with the same name the last.
    pub(crate) fn from_entries<E: Into<Entry>>(given: Vec<(String, E)>) -> Self {
        let mut entries: Vec<(String, Entry)> = Vec::with_capacity(given.len());
        for (name, entry) in given {
            match entries.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = entry.into(),
                None => entries.push((name, entry.into())),
            }
        }
        Self { entries }
    }

    pub(crate) fn into_entries(self) -> Vec<(String, Entry)> {
        self.entries
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<N: Into<String>, V: Into<Value>, const COUNT: usize> From<[(N, V); COUNT]> for Values {
    fn from(entries: [(N, V); COUNT]) -> Self {
        entries.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Values {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        entries.into_iter().fold(Self::new(), |values, (name, value)| values.with(name, value))
    }
}

/// The values in order, with their names.
#[derive(Debug)]
pub struct IntoIter(std::vec::IntoIter<(String, Entry)>);

impl Iterator for IntoIter {
    type Item = (String, Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, entry)| (name, entry.into_value()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for IntoIter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(name, entry)| (name, entry.into_value()))
    }
}

impl ExactSizeIterator for IntoIter {}

impl IntoIterator for Values {
    type Item = (String, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self.entries.into_iter())
    }
}

impl From<Vec<types::NamedValue>> for Values {
    fn from(entries: Vec<types::NamedValue>) -> Self {
        Self::from_entries(entries)
    }
}

impl From<Values> for Vec<types::NamedValue> {
    fn from(values: Values) -> Self {
        values.entries.into_iter().map(|(name, entry)| (name, entry.into())).collect()
    }
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, given } if given.is_empty() => {
                write!(f, "`{name}` is missing, and there is no other")
            }
            Self::Missing { name, given } => write!(f, "`{name}` is missing; there is `{}`", given.join("`, `")),
            Self::Wrong { name, reason } => write!(f, "`{name}` {reason}"),
        }
    }
}

impl std::error::Error for TakeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Tensor, Text};

    fn values() -> Values {
        Values::new().with("image", vec![1_u8, 2]).with("words", Bytes::from(vec![vec![0xff]]))
    }

    #[test]
    fn what_is_missing_is_named_beside_what_is_there() {
        let error = values().take::<Tensor<u8>>("picture").unwrap_err();
        assert_eq!(error.to_string(), "`picture` is missing; there is `image`, `words`");
        let error = Values::new().take::<Value>("picture").unwrap_err();
        assert_eq!(error.to_string(), "`picture` is missing, and there is no other");
        assert_eq!(values().take_optional::<Text>("picture"), Ok(None));
    }

    #[test]
    fn a_wrong_type_is_told_with_the_expected_one() {
        let told = |error: TakeError| error.to_string();
        assert_eq!(
            values().take::<Tensor<f32>>("image").map_err(told),
            Err("`image` is UINT8 where FP32 is expected".into())
        );
        assert_eq!(
            values().take::<Bytes>("image").map_err(told),
            Err("`image` is UINT8 where BYTES is expected".into())
        );
        let error = values().take_optional::<Text>("words").map_err(told).unwrap_err();
        assert!(error.starts_with("`words` is not text: element 0 is not UTF-8"), "{error}");
    }

    #[test]
    fn a_name_is_there_once() {
        let mut values = values();
        assert_eq!(values.insert("image", vec![3_i32]), Some(vec![1_u8, 2].into()));
        assert_eq!(values.names().collect::<Vec<_>>(), ["image", "words"]);
        assert_eq!(values.get("image").map(Value::shape), Some(&[1][..]));
        assert_eq!(Values::from([("a", vec![1_i64]), ("a", vec![2])]), Values::from([("a", vec![2_i64])]));
    }
}
