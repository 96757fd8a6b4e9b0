//! Destination: whom a function may send requests to, an entry of its manifest's `network.allow`.
//!
//! A leaf, and pure: what is written, what that means, and whether a request is to it. A host is compared as what it is, a name
//! or an address, never as text, so that no other spelling of an address passes for a name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Scheme, host and port that are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    scheme: Scheme,
    hosts: Hosts,
    port: u16,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// A host as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In lower case.
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    This(Host),
    /// Every name that ends with a dot and this one; not this one itself.
    Below(String),
}

/// Why text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{why}: write scheme://host or scheme://host:port, for example \"https://api.example.com\" or \
     \"https://*.example.com:8443\" for all names below it"
)]
pub struct DestinationError {
    why: &'static str,
}

impl Destination {
    /// Whether a request to there is allowed.
    pub fn includes(&self, origin: &Origin) -> bool {
        let host = match (&self.hosts, &origin.host) {
            (Hosts::This(host), asked) => host == asked,
            (Hosts::Below(domain), Host::Name(name)) => {
                name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Hosts::Below(_), Host::Address(_)) => false,
        };
        host && self.scheme == origin.scheme && self.port == origin.port
    }
}

impl Origin {
    /// Reads `host` or `host:port`, as it stands in a URL. `None` for what names no host.
    pub fn parse(scheme: Scheme, authority: &str) -> Option<Self> {
        let (host, port) = split(authority)?;
        Some(Self { scheme, host: host.parse().ok()?, port: port.unwrap_or(scheme.port()) })
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Host and port; `None` when what follows the host is no port.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(end);
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok().filter(|&port| port != 0)?),
        _ => return None,
    };
    Some((host, port))
}

impl FromStr for Host {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Result<Ipv6Addr, _> = address.parse();
            return address
                .map(|v6| Self::Address(v6.into()))
                .map_err(|_| wrong("what is in brackets is no IPv6 address"));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(inner)
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(wrong("the host is neither a name nor an address"));
        }
        // Resolvers take `127.1` and `0x7f000001` for addresses.
        if name.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit())) {
            return Err(wrong("an IPv4 address is four numbers from 0 to 255"));
        }
        Ok(Self::Name(name))
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (scheme, rest) = text.split_once("://").ok_or(wrong("the scheme is missing"))?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(wrong("the scheme is neither http nor https")),
        };
        if rest.contains(['/', '?', '#', '@']) {
            return Err(wrong("nothing but host and port can be allowed, no path and no user"));
        }
        let (host, port) = split(rest).ok_or(wrong("the port is not a number from 1 to 65535"))?;
        let hosts = match host.strip_prefix("*.") {
            None => Hosts::This(host.parse()?),
            Some(domain) => match domain.parse()? {
                Host::Name(domain) => Hosts::Below(domain),
                Host::Address(_) => return Err(wrong("there are no names below an address")),
            },
        };
        Ok(Self { scheme, hosts, port: port.unwrap_or(scheme.port()) })
    }
}

fn wrong(why: &'static str) -> DestinationError {
    DestinationError { why }
}

impl TryFrom<String> for Destination {
    type Error = DestinationError;

    fn try_from(text: String) -> Result<Self, DestinationError> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::This(host) => write!(f, "{}://{host}", self.scheme.name()),
            Hosts::Below(domain) => write!(f, "{}://*.{domain}", self.scheme.name()),
        }?;
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests;
