//! Where a store is: a folder, or a bucket with a prefix, as people write it.
//!
//! A bucket's credentials and endpoint never are part of it: they come from the environment, and what is written here is shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A folder of this machine or a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// A bucket, or the part of it below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub vendor: Vendor,
    /// Azure calls it a container.
    pub name: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
}

/// Whose interface a bucket is spoken to by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// Amazon S3, and all that is compatible with it.
    S3,
    Google,
    Azure,
}

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("the path of a folder or the URL of a bucket is needed, such as ./nocti-data or s3://bucket/prefix")]
    Empty,
    #[error("'{0}://' is no store: use the path of a folder, s3://, gs:// or az://")]
    Scheme(String),
    #[error("credentials do not belong into a store's URL, where others see them: put them into {}", .0.variables())]
    Credentials(Vendor),
    #[error(
        "there is nothing but a bucket and a prefix in a store's URL, so no '{0}': other settings are variables of the environment"
    )]
    Character(char),
    #[error("'{0}' is no name of a bucket, which has 3 to 63 letters, digits, '-', '.' and '_': write {1}")]
    Bucket(String, &'static str),
    #[error("the prefix '{0}' has a part that is empty, '.' or '..'")]
    Prefix(String),
    #[error("'{0}' is taken for no URL and no folder: begin a folder's path with ./ or /")]
    Colon(String),
}

impl Vendor {
    const ALL: [Self; 3] = [Self::S3, Self::Google, Self::Azure];

    /// As URLs begin.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    /// Where its credentials come from, for messages.
    pub fn variables(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION, AWS_ENDPOINT)",
            Self::Google => "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT (the path of a key file)",
            Self::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::S3 => "s3://BUCKET/PREFIX",
            Self::Google => "gs://BUCKET/PREFIX",
            Self::Azure => "az://CONTAINER/PREFIX",
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let named = |vendor: &Vendor| text.split_once(':').is_some_and(|(start, _)| start == vendor.scheme());
            return match Vendor::ALL.iter().any(named) {
                true => Err(LocationError::Colon(text.into())),
                false => Ok(Self::Folder(text.into())),
            };
        };
        let vendor = Vendor::ALL.into_iter().find(|vendor| vendor.scheme() == scheme);
        let vendor = vendor.ok_or_else(|| LocationError::Scheme(scheme.into()))?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.contains(['@', ':']) {
            return Err(LocationError::Credentials(vendor));
        }
        if let Some(wrong) = rest.chars().find(|c| matches!(c, '?' | '#' | '%' | '\\') || c.is_control()) {
            return Err(LocationError::Character(wrong));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        // Those of Google with dots may be longer.
        if !(3..=222).contains(&name.len())
            || !name.bytes().all(allowed)
            || name.contains("..")
            || name.starts_with('.')
        {
            return Err(LocationError::Bucket(name.into(), vendor.example()));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(LocationError::Prefix(prefix.into()));
        }
        Ok(Self::Bucket(Bucket { vendor, name: name.into(), prefix: prefix.into() }))
    }
}

impl From<&Path> for Location {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.into())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{}://{}{slash}{}", self.vendor.scheme(), self.name, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> String {
        text.parse::<Location>().expect_err(text).to_string()
    }

    #[test]
    fn folders_and_buckets_are_told_apart() {
        for folder in ["./nocti-data", "/srv/a b", "data:1", "s3", "s3/bucket", "C:\\data"] {
            assert_eq!(folder.parse(), Ok(Location::Folder(folder.into())));
        }
        for (text, vendor, name, prefix) in [
            ("s3://bucket", Vendor::S3, "bucket", ""),
            ("s3://bucket/", Vendor::S3, "bucket", ""),
            ("gs://a.b-c_d/one/two/", Vendor::Google, "a.b-c_d", "one/two"),
            ("az://container/prefix", Vendor::Azure, "container", "prefix"),
        ] {
            let bucket = Bucket { vendor, name: name.into(), prefix: prefix.into() };
            assert_eq!(text.parse(), Ok(Location::Bucket(bucket)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        for (text, expected) in [
            ("", "./nocti-data or s3://bucket/prefix"),
            ("http://bucket", "'http://' is no store: use the path of a folder, s3://, gs:// or az://"),
            ("S3://bucket", "'S3://' is no store"),
            ("s3:bucket", "begin a folder's path with ./"),
            ("s3://", "'' is no name of a bucket"),
            ("s3:///prefix", "write s3://BUCKET/PREFIX"),
            ("az://x/prefix", "write az://CONTAINER/PREFIX"),
            ("s3://buck et", "'buck et' is no name"),
            ("s3://key:secret@bucket", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket:9000/x", "AWS_ENDPOINT"),
            ("gs://me@bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
            ("az://key@container", "AZURE_STORAGE_ACCOUNT_KEY"),
            ("s3://bucket/x?region=eu", "no '?'"),
            ("s3://bucket/x#y", "no '#'"),
            ("s3://bucket/a//b", "'a//b' has a part that is empty"),
            ("s3://bucket/../b", "'../b' has a part"),
        ] {
            let message = message(text);
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_means_the_same(text in "(s3|gs|az|[a-z]{0,3})(://)?[a-zA-Z0-9:@/.?_ -]{0,40}") {
            if let Ok(location) = text.parse::<Location>() {
                prop_assert_eq!(location.to_string().parse(), Ok(location));
            }
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,60}") {
            let _ = text.parse::<Location>();
        }
    }
}
