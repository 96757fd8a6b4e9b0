//! The binary frame of a WebAssembly file: preamble, section headers, and the names of a bundle's own sections.
//!
//! Both directions of it, for the writer and for the streaming reader. Knows what a section is called and how long it is,
//! never what is in it. A `HeaderReader` lives for one header.

use std::io::{self, BufRead};

use wasm_encoder::Encode;

/// The first eight bytes of a component.
pub const PREAMBLE: [u8; 8] = *b"\0asm\x0d\0\x01\0";
/// What stands in [`PREAMBLE`]'s place in a core module.
const CORE_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// What the names of a bundle's own sections begin with; all others are the component's.
pub const PREFIX: &str = "nocti.";
/// Holds the manifest; always the first section.
pub const MANIFEST: &str = "nocti.manifest";
/// Holds the manifest's sha256, as text; always the second section.
pub const DIGEST: &str = "nocti.digest";
/// What the names of sections with a model begin with; the model's name follows.
pub const MODEL: &str = "nocti.model.";
/// The same of an asset's path.
pub const ASSET: &str = "nocti.asset.";

/// The most of a part that goes into one section, whose size has 32 bits in the format.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// More of a name is not looked at: no section of a bundle is called anything as long.
const NAME_CAP: u32 = 512;

/// What the first eight bytes of a file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Too short to tell.
    Incomplete,
    Component,
    CoreModule,
    /// WebAssembly of a version this host does not read.
    OtherVersion,
    Other,
}

/// The beginning of a section, up to and including a custom section's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The bytes it was read from; the first one says which kind of section it is.
    pub raw: Vec<u8>,
    /// A custom section's name, cut at 512 bytes; `None` for any other section.
    pub name: Option<String>,
    /// Bytes of the section that follow `raw`.
    pub left: u32,
}

/// Reads one header, byte by byte.
#[derive(Debug, Default)]
pub(super) struct HeaderReader {
    raw: Vec<u8>,
    stage: Stage,
    number: Leb,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Id,
    Size,
    NameLength {
        /// Bytes of the section that are still to come, this number included.
        left: u32,
    },
    Name {
        starts: usize,
        /// Bytes of the name still to read.
        wanted: u32,
        left: u32,
    },
}

/// An unsigned number in base 128, at most 32 bits.
#[derive(Debug, Default)]
struct Leb {
    value: u32,
    shift: u32,
}

/// Tells a file's kind by its first bytes; eight decide.
pub(super) fn file_kind(start: &[u8]) -> FileKind {
    let seen = &start[..start.len().min(8)];
    match seen.len() {
        8 if seen == PREAMBLE => FileKind::Component,
        8 if seen == CORE_MODULE => FileKind::CoreModule,
        0..8 if PREAMBLE.starts_with(seen) || CORE_MODULE.starts_with(seen) => FileKind::Incomplete,
        n if PREAMBLE[..n.min(4)] == seen[..n.min(4)] => FileKind::OtherVersion,
        _ => FileKind::Other,
    }
}

/// The header of a custom section that holds `content_bytes`.
pub(super) fn custom_header(name: &str, content_bytes: u32) -> Vec<u8> {
    let mut name_bytes = Vec::new();
    name.encode(&mut name_bytes);
    let name_length = u32::try_from(name_bytes.len()).expect("a bundle's section names are short");
    let mut header = vec![0];
    (name_length + content_bytes).encode(&mut header);
    header.extend(name_bytes);
    header
}

/// The headers of the sections that hold a part of `size` bytes, at most `max` each, and how many bytes follow each. At least one: an
/// empty file is an empty section.
pub(super) fn headers(name: &str, size: u64, max: u64) -> impl Iterator<Item = (Vec<u8>, u64)> {
    let sections = size.div_ceil(max).max(1);
    (0..sections).map(move |section| {
        let length = (size - section * max).min(max);
        (custom_header(name, u32::try_from(length).expect("the maximum fits into 32 bits")), length)
    })
}

impl Header {
    /// Reads a header, and nothing after it.
    pub fn read(from: impl BufRead) -> io::Result<Self> {
        let mut reader = HeaderReader::default();
        for byte in from.bytes() {
            if let Some(header) = reader.push(byte?).map_err(io::Error::other)? {
                return Ok(header);
            }
        }
        Err(io::Error::other("the file ends within a section's header"))
    }

    /// The name, if this is one of the bundle's own sections.
    pub(super) fn bundle_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| name.starts_with(PREFIX))
    }
}

impl HeaderReader {
    /// True between sections.
    pub(super) fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Takes the next byte; gives the header when it is complete, or says why there is none.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<Header>, &'static str> {
        self.raw.push(byte);
        match &mut self.stage {
            Stage::Id => self.stage = Stage::Size,
            Stage::Size => match self.number.push(byte)? {
                Some(left) if self.raw[0] == 0 => self.stage = Stage::NameLength { left },
                Some(left) => return Ok(Some(self.take(None, left))),
                None => {}
            },
            Stage::NameLength { left } => {
                *left = left.checked_sub(1).ok_or("its name runs past its end")?;
                if let Some(length) = self.number.push(byte)? {
                    if length > *left {
                        return Err("its name runs past its end");
                    }
                    self.stage = Stage::Name { starts: self.raw.len(), wanted: length.min(NAME_CAP), left: *left };
                    return Ok(self.end_of_name());
                }
            }
            Stage::Name { wanted, left, .. } => {
                (*wanted, *left) = (*wanted - 1, *left - 1);
                return Ok(self.end_of_name());
            }
        }
        Ok(None)
    }

    fn end_of_name(&mut self) -> Option<Header> {
        let Stage::Name { starts, wanted: 0, left } = self.stage else {
            return None;
        };
        // A name cut inside a character, or one that is no text, is none of the bundle's own either way.
        let name = String::from_utf8_lossy(&self.raw[starts..]).into_owned();
        Some(self.take(Some(name), left))
    }

    fn take(&mut self, name: Option<String>, left: u32) -> Header {
        let raw = std::mem::take(self).raw;
        Header { raw, name, left }
    }
}

impl Leb {
    fn push(&mut self, byte: u8) -> Result<Option<u32>, &'static str> {
        if self.shift == 28 && byte > 0x0f {
            return Err("a number in its header is larger than 32 bits");
        }
        self.value |= u32::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_files() {
        assert_eq!(file_kind(&PREAMBLE), FileKind::Component);
        assert_eq!(file_kind(b"\0asm\x01\0\0\0more"), FileKind::CoreModule);
        assert_eq!(file_kind(b"\0asm\x02\0\0\0"), FileKind::OtherVersion);
        assert_eq!(file_kind(b"\0asm\x0d"), FileKind::Incomplete);
        assert_eq!(file_kind(b""), FileKind::Incomplete);
        assert_eq!(file_kind(b"\x08onnx..."), FileKind::Other);
        assert_eq!(file_kind(b"PK"), FileKind::Other);
    }

    #[test]
    fn custom_headers_read_back() {
        for (name, left) in [("nocti.manifest", 70_000), ("", 0), (&*"x".repeat(300), u32::MAX - 400)] {
            let raw = custom_header(name, left);
            let header = Header::read(&raw[..]).expect("well-formed and complete");
            assert_eq!(header, Header { raw, name: Some(name.to_owned()), left });
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let said = |bytes: &[u8]| Header::read(bytes).expect_err("malformed").to_string();
        assert_eq!(said(&[0, 0, 0]), "its name runs past its end", "no room for the name's length");
        assert_eq!(said(&[0, 2, 5]), "its name runs past its end");
        assert!(said(&[1, 0x80, 0x80, 0x80, 0x80, 0x10]).contains("larger than 32 bits"), "33 bits");
        assert!(said(&[1, 0x80, 0x80, 0x80, 0x80, 0x80]).contains("larger than 32 bits"), "a sixth byte");
        assert!(said(&[0, 9, 5, b'n']).contains("ends within"));
    }
}
