//! The names of functions, versions, aliases, models and assets, and the rule each follows.
//!
//! A value of these types is valid by construction, so a name can become part of a path, a URL or a metric's label
//! without another check. Knows nothing of what bears the names.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::excerpt::excerpt;

/// Text that breaks the rule for a kind of name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    rule: &'static str,
    text: String,
}

impl NameError {
    fn new(what: &'static str, rule: &'static str, text: &str) -> Self {
        Self { what, rule, text: excerpt(text) }
    }
}

/// Declares one kind of name: a cheaply cloned text that satisfies `$valid`, and lies where the name does if it is short.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(SmolStr);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(NameError::new($what, $rule, text)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        // Lets maps keyed by the name be asked with the unchecked text of a request.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}

name!(
    /// What a function is called: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, which is also a valid DNS label.
    FunctionName,
    "function name",
    "use 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last",
    is_label
);

name!(
    /// What a version is called: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    VersionName,
    "version",
    "use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', with a letter or digit first",
    is_token
);

name!(
    /// What an alias is called: the same rule as a function's name.
    AliasName,
    "alias",
    "use 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last",
    is_label
);

name!(
    /// What a guest loads a model by: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    ModelName,
    "model name",
    "use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', with a letter or digit first",
    is_token
);

name!(
    /// Where a guest finds an asset below `/assets`: relative, `/` between segments, no way up or out.
    AssetPath,
    "asset path",
    "use a relative path of at most 255 bytes with '/' between its parts, none of them empty, '.' or '..', and no \
     backslash or control character",
    is_inner_path
);

name!(
    /// What a label is called: `[A-Za-z0-9._/-]{1,63}`.
    LabelKey,
    "label",
    "use 1 to 63 of A-Z, a-z, 0-9, '.', '_', '/' and '-'",
    is_label_key
);

name!(
    /// What a label says.
    LabelValue,
    "label's value",
    "use one line of at most 256 characters",
    |text| text.chars().nth(256).is_none() && !text.chars().any(char::is_control)
);

impl AliasName {
    /// The alias that a request without a version goes to.
    pub const LIVE: &'static str = "live";

    /// The alias that a request without a version goes to.
    pub fn live() -> Self {
        Self(SmolStr::new_static(Self::LIVE))
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_token(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(inner) && text.as_bytes()[0].is_ascii_alphanumeric()
}

fn is_label_key(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
    (1..=63).contains(&text.len()) && text.bytes().all(inner)
}

fn is_inner_path(text: &str) -> bool {
    text.len() <= 255
        && !text.chars().any(|c| c == '\\' || c.is_control())
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_names_are_labels() {
        for good in ["a", "0", "iris", "hello-http", &"a".repeat(63)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a/b", &"a".repeat(64)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_and_models_are_tokens() {
        for good in ["1", "1.0.0", "V2_rc-1", &"9".repeat(64)] {
            assert!(good.parse::<VersionName>().is_ok(), "{good}");
            assert!(good.parse::<ModelName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-1", "_a", "a b", "a/b", "é", &"9".repeat(65)] {
            assert!(bad.parse::<VersionName>().is_err(), "{bad}");
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn asset_paths_stay_inside() {
        for good in ["labels.txt", "a/b/c", ".hidden", "..a", "été/x y"] {
            assert!(good.parse::<AssetPath>().is_ok(), "{good}");
        }
        for bad in ["", "/", "/a", "a/", "a//b", "./a", "a/..", "..", "a\\b", "a\0b", "a\nb", &"a".repeat(256)] {
            assert!(bad.parse::<AssetPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_short_words_that_say_one_line() {
        for good in ["a", "Team", "example.com/stage_1-", "-", &"a".repeat(63)] {
            assert!(good.parse::<LabelKey>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a=b", "é", "a:b", &"a".repeat(64)] {
            assert!(bad.parse::<LabelKey>().is_err(), "{bad}");
        }
        for good in ["", "two words = é", &"é".repeat(256)] {
            assert!(good.parse::<LabelValue>().is_ok(), "{good}");
        }
        for bad in ["a\nb", "\u{1b}[31m", &"é".repeat(257)] {
            assert!(bad.parse::<LabelValue>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_states_rule_and_text() {
        let error = "My Model".parse::<FunctionName>().expect_err("upper case and a space");
        assert_eq!(
            error.to_string(),
            "'My Model' is not a valid function name: use 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last"
        );
    }
}
