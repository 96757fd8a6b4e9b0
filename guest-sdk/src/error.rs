//! Why there is no answer, and whose fault that is. The host makes a status of it.

use std::fmt;

use crate::bindings::types;

/// Why there is no answer. Its text is shown to the caller.
///
/// Any `std::error::Error` becomes [`Error::Internal`] by `?`; where a failure is the caller's fault, say so:
///
/// ```
/// # use nocti_sdk::prelude::*;
/// fn year(text: &str) -> Result<u16> {
///     text.parse().map_err(|error| Error::invalid_input(format!("`{text}` is not a year: {error}")))
/// }
/// assert!(matches!(year("MCMXCV"), Err(Error::InvalidInput(_))));
/// ```
///
/// It is no `std::error::Error` itself: that is what lets every such error turn into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller's fault: the same request would fail again. Status 400.
    InvalidInput(String),
    /// Not now: the same request may succeed later. Status 503.
    Unavailable(String),
    /// The function's own fault. Status 500.
    Internal(String),
}

/// What `init` and `predict` give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The caller's fault.
    pub fn invalid_input(message: impl fmt::Display) -> Self {
        Self::InvalidInput(message.to_string())
    }

    /// Not now.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::Unavailable(message.to_string())
    }

    /// The function's own fault.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::Internal(message.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(message) | Self::Unavailable(message) | Self::Internal(message) => f.write_str(message),
        }
    }
}

/// Internal, with the texts of the error and of what caused it.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Internal(message)
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidInput(message) => Self::InvalidInput(message),
            Error::Unavailable(message) => Self::Unavailable(message),
            Error::Internal(message) => Self::Internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot read the labels")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn other_errors_are_internal_and_tell_their_causes() {
        let fails = || -> Result<()> { Err(Outer("x".parse::<u8>().unwrap_err()))? };
        assert_eq!(fails(), Err(Error::internal("cannot read the labels: invalid digit found in string")));
    }
}
