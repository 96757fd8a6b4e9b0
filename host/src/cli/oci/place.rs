//! `HOST[:PORT]/NAME[:TAG|@sha256:DIGEST]`, as commands take it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use oci_client::Reference;

use super::SCHEME;
use crate::registry::excerpt::excerpt;

/// A place in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    reference: Reference,
    /// Whether it names a tag or a digest.
    named: bool,
}

impl Place {
    /// As the client of registries takes it.
    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The registry: its host, and the port where one was given.
    pub(super) fn host(&self) -> &str {
        self.reference.registry()
    }

    /// The place to push a version to: what names no tag gets the version as tag.
    pub(crate) fn for_version(self, version: &str) -> anyhow::Result<Self> {
        ensure!(self.reference.digest().is_none(), "a digest follows from what is pushed: give {self} a tag instead");
        Ok(if self.named { self } else { self.with_tag(version) })
    }

    /// The place to get something from, which must say what.
    pub(crate) fn for_reading(self) -> anyhow::Result<Self> {
        ensure!(self.named, "say which version: {self}:TAG (`nocti push` takes the version's name for it)");
        Ok(self)
    }

    /// The same registry's repository of this name.
    pub(super) fn repository(&self, name: &str) -> Reference {
        let tag = self.reference.tag().unwrap_or_default();
        Reference::with_tag(self.host().to_owned(), name.to_owned(), tag.to_owned())
    }

    fn with_tag(&self, tag: &str) -> Self {
        let (host, name) = (self.host().to_owned(), self.reference.repository().to_owned());
        Self { reference: Reference::with_tag(host, name, tag.to_owned()), named: true }
    }

    /// Whether the registry is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.host();
        let address = host.parse().map(|address: SocketAddr| address.ip()).or_else(|_| host.parse::<IpAddr>());
        let name = host.split_once(':').map_or(host, |(name, _port)| name);
        address.map_or(name == "localhost", |address| address.is_loopback())
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let place = text.strip_prefix(SCHEME).unwrap_or(text);
        if place.contains("://") {
            bail!("a place in a registry has no scheme but {SCHEME}: HOST/NAME:TAG");
        }
        // Others take what names no registry for one of Docker Hub's; a function should not go there by mistake.
        let host = place.split_once('/').map_or("", |(host, _)| host);
        ensure!(
            host.contains(['.', ':']) || host == "localhost",
            "'{}' names no registry: HOST/NAME:TAG (Docker Hub is docker.io/USER/NAME:TAG)",
            excerpt(place)
        );
        let last = place.rsplit('/').next().unwrap_or_default();
        let form = "HOST[:PORT]/NAME[:TAG|@sha256:DIGEST] in lower case";
        let reference = Reference::try_from(place).with_context(|| format!("'{}' is not {form}", excerpt(place)))?;
        Ok(Self { reference, named: last.contains([':', '@']) })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.named {
            true => self.reference.fmt(f),
            false => write!(f, "{}/{}", self.host(), self.reference.repository()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error:#}"))
    }

    #[test]
    fn what_names_no_tag_gets_the_version() {
        let bare = place("oci://127.0.0.1:5000/team/digits");
        assert_eq!(bare.to_string(), "127.0.0.1:5000/team/digits");
        let tagged = bare.clone().for_version("1.0.0").expect("it has no digest");
        assert_eq!(tagged.to_string(), "127.0.0.1:5000/team/digits:1.0.0");
        assert_eq!(tagged.clone().for_version("2").expect("it has no digest"), tagged);
        assert!(bare.for_reading().is_err() && tagged.for_reading().is_ok());
        let pinned = format!("r.example.org/o/digits@sha256:{}", "a".repeat(64));
        assert!(place(&pinned).for_version("1").is_err());
        assert_eq!(place(&pinned).for_reading().expect("it says which").to_string(), pinned);
    }

    #[test]
    fn what_names_no_registry_is_refused() {
        let bad = [
            "digits",
            "team/digits:1",
            "https://r.example.org/x:1",
            "r.example.org/",
            "r.example.org/UPPER:1",
            "r.example.org/a:b:c",
            "",
        ];
        for text in bad {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_by_the_host() {
        for text in ["localhost/a:1", "localhost:5000/a:1", "127.0.0.1:5000/a:1", "127.9.9.9:1/a:1"] {
            assert!(place(text).is_loopback(), "{text}");
        }
        for text in ["r.example.org/a:1", "localhost.example.org/a:1", "10.0.0.1:5000/a:1", "127.0.0.1.example.org/a:1"]
        {
            assert!(!place(text).is_loopback(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_place_or_refused(text in "(oci://)?[a-z.]{0,8}(:[0-9]{1,3})?(/[a-zA-Z_.-]{0,6}){0,3}[:@]?\\PC{0,6}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse::<Place>().expect("it is one"), place);
            }
        }
    }
}
