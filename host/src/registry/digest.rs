//! Content addresses: the sha256 of some bytes, and how many they are.
//!
//! Owns the text form of a digest (64 lower-case hex digits, no `sha256:` in front) and the running hash. Knows no file,
//! no store and no bundle; everything here is a plain value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::excerpt::excerpt;

/// The sha256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Bytes by their content: how many, and their sha256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Length in bytes.
    pub size: u64,
    /// What the bytes hash to.
    pub sha256: Digest,
}

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a sha256 digest: it must be 64 hexadecimal digits in lower case")]
pub struct NotADigest(String);

/// Counts and hashes bytes as they pass.
#[derive(Debug, Clone, Default)]
pub struct BlobHasher {
    sha256: Sha256,
    size: u64,
}

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl Blob {
    /// Size and digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, sha256: Digest::of(bytes) }
    }
}

impl BlobHasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Bytes seen so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What has passed.
    pub fn finish(self) -> Blob {
        Blob { size: self.size, sha256: Digest(self.sha256.finalize().into()) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        // `hex` also takes upper case; one text form per digest keeps file names and manifests comparable as text.
        let lower_case = !text.bytes().any(|b| b.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower_case => Ok(Self(bytes)),
            _ => Err(NotADigest(excerpt(text))),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_form_is_lower_case_hex() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>(), Ok(Digest::of(b"")));
        assert!(EMPTY.to_uppercase().parse::<Digest>().is_err());
        assert!(format!("sha256:{EMPTY}").parse::<Digest>().is_err());
    }

    #[test]
    fn hashing_in_pieces_equals_hashing_at_once() {
        let mut hasher = BlobHasher::default();
        hasher.update(b"sea ");
        hasher.update(b"sparkle");
        assert_eq!(hasher.finish(), Blob::of(b"sea sparkle"));
    }
}
