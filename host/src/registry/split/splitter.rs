//! The state machine that takes a bundle apart, and all the checks on the way.
//!
//! What it may hold is bounded: a section's header, the manifest, one running hash. Every step consumes bytes, so it ends
//! with its input. A [`Splitter`] serves one bundle.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::super::digest::{Blob, BlobHasher, Digest};
use super::super::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
use super::super::section::{self, FileKind, Header, HeaderReader, PREAMBLE, file_kind};
use super::{Event, Part, SplitError, find, parts};

const NO_MANIFEST: &str = "its first section is not nocti.manifest";
const DIGEST_BYTES: usize = 64;

/// Takes one bundle apart. After an error it only gives errors.
#[derive(Debug)]
pub struct Splitter {
    state: State,
    /// Bytes taken so far.
    offset: u64,
    /// Where the current section starts.
    section_at: u64,
    /// The content of `nocti.manifest`, until `nocti.digest` confirms it.
    unconfirmed: Option<Bytes>,
    manifest: Option<Arc<Manifest>>,
    open: Option<OpenPart>,
    done: HashSet<Part>,
}

#[derive(Debug)]
enum State {
    Preamble(Vec<u8>),
    Header(HeaderReader),
    /// Inside `nocti.manifest` or `nocti.digest`, which are gathered.
    Gather {
        content: Vec<u8>,
        left: usize,
    },
    /// Inside a section that belongs to the open part.
    Pass {
        left: u32,
    },
    Failed,
}

/// A part whose bytes are still coming.
#[derive(Debug)]
struct OpenPart {
    part: Part,
    blob: Blob,
    hasher: BlobHasher,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// Before the first byte.
    pub fn new() -> Self {
        Self {
            state: State::Preamble(Vec::new()),
            offset: 0,
            section_at: 0,
            unconfirmed: None,
            manifest: None,
            open: None,
            done: HashSet::new(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut chunk: Bytes) -> Result<Vec<Event>, SplitError> {
        let mut events = Vec::new();
        while !chunk.is_empty() {
            if let Err(error) = self.step(&mut chunk, &mut events) {
                self.state = State::Failed;
                return Err(error);
            }
        }
        Ok(events)
    }

    /// Declares the end of the bundle and gives its manifest: an error unless every part has come.
    pub fn finish(&mut self) -> Result<Arc<Manifest>, SplitError> {
        let cut_off = |inside: &str| Err(SplitError::Truncated { offset: self.offset, inside: inside.to_owned() });
        let end = match (&self.state, &self.open) {
            (State::Header(reader), None) if reader.is_empty() => self.complete(),
            (State::Header(reader), None) if !reader.is_empty() => cut_off("a section's header"),
            (State::Failed, _) => Err(Self::already_refused(self.offset)),
            (State::Preamble(_), _) => cut_off("the first 8 bytes"),
            (_, Some(open)) => cut_off(&open.part.to_string()),
            (_, None) => cut_off(section::MANIFEST),
        };
        self.state = State::Failed;
        end
    }

    fn step(&mut self, chunk: &mut Bytes, events: &mut Vec<Event>) -> Result<(), SplitError> {
        match &mut self.state {
            State::Preamble(seen) => {
                seen.push(chunk.get_u8());
                self.offset += 1;
                match file_kind(seen) {
                    FileKind::Incomplete => {}
                    FileKind::Component => self.state = State::Header(HeaderReader::default()),
                    FileKind::CoreModule => return Err(SplitError::CoreModule),
                    FileKind::OtherVersion => {
                        return Err(SplitError::NotABundle("it is WebAssembly of a version this host does not read"));
                    }
                    FileKind::Other => return Err(SplitError::NotWasm),
                }
            }
            State::Header(reader) => {
                if reader.is_empty() {
                    self.section_at = self.offset;
                }
                let header = reader.push(chunk.get_u8());
                self.offset += 1;
                match header {
                    Ok(None) => {}
                    Ok(Some(header)) => self.enter_section(header, events)?,
                    Err(why) if self.manifest.is_some() => return Err(self.malformed(why)),
                    Err(_) => return Err(SplitError::NotABundle(NO_MANIFEST)),
                }
            }
            State::Gather { content, left } => {
                let taken = chunk.split_to(chunk.len().min(*left));
                content.extend_from_slice(&taken);
                *left -= taken.len();
                self.offset += taken.len() as u64;
                if *left == 0 {
                    let content = Bytes::from(std::mem::take(content));
                    self.end_gathered(content, events)?;
                }
            }
            State::Pass { left } => {
                let taken = chunk.split_to(chunk.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
                *left -= u32::try_from(taken.len()).expect("at most `left` was taken");
                let ended = *left == 0;
                self.offset += taken.len() as u64;
                self.receive(taken, events);
                if ended {
                    self.end_section(events)?;
                }
            }
            State::Failed => return Err(Self::already_refused(self.offset)),
        }
        Ok(())
    }

    /// Decides what the section is that `header` opens.
    fn enter_section(&mut self, header: Header, events: &mut Vec<Event>) -> Result<(), SplitError> {
        let Some(manifest) = self.manifest.clone() else {
            return self.enter_gathered(&header, events);
        };
        let left = header.left;
        match header.bundle_name() {
            None => {
                self.check_component_section(&header, &manifest)?;
                self.check_room(header.raw.len() as u64 + u64::from(left))?;
                self.receive(Bytes::from(header.raw), events);
            }
            Some(name) => {
                let (part, blob) = find(&manifest, name).map_err(|why| self.unexpected(name, why))?;
                if self.open.as_ref().is_none_or(|open| open.part != part) {
                    self.open_part(part, blob, events)?;
                }
                self.check_room(left.into())?;
            }
        }
        self.state = State::Pass { left };
        if left == 0 { self.end_section(events) } else { Ok(()) }
    }

    fn enter_gathered(&mut self, header: &Header, events: &mut Vec<Event>) -> Result<(), SplitError> {
        let left = usize::try_from(header.left).unwrap_or(usize::MAX);
        match (header.bundle_name(), &self.unconfirmed) {
            (Some(section::MANIFEST), None) if left > MAX_MANIFEST_BYTES => {
                return Err(ManifestError::TooLarge { size: left as u64 }.into());
            }
            (Some(section::MANIFEST), None) => {}
            (_, None) => return Err(SplitError::NotABundle(NO_MANIFEST)),
            (Some(section::DIGEST), Some(_)) if left == DIGEST_BYTES => {}
            (Some(section::DIGEST), Some(_)) => {
                return Err(self.malformed("nocti.digest must hold 64 hexadecimal digits"));
            }
            (_, Some(_)) => {
                return Err(SplitError::Missing { section: section::DIGEST.to_owned() });
            }
        }
        self.state = State::Gather { content: Vec::with_capacity(left), left };
        if left == 0 { self.end_gathered(Bytes::new(), events) } else { Ok(()) }
    }

    fn end_gathered(&mut self, content: Bytes, events: &mut Vec<Event>) -> Result<(), SplitError> {
        self.state = State::Header(HeaderReader::default());
        let Some(manifest) = self.unconfirmed.take() else {
            self.unconfirmed = Some(content);
            return Ok(());
        };
        let text = String::from_utf8_lossy(&content);
        let expected: Digest =
            text.parse().map_err(|_| self.malformed("nocti.digest must hold 64 hexadecimal digits"))?;
        let got = Digest::of(&manifest);
        if got != expected {
            return Err(SplitError::WrongDigest { section: section::MANIFEST.to_owned(), expected, got });
        }
        let manifest = Arc::new(Manifest::parse(&manifest)?);
        self.manifest = Some(Arc::clone(&manifest));
        if let Some(blob) = manifest.component {
            self.open_part(Part::Component, blob, events)?;
            self.check_room(PREAMBLE.len() as u64)?;
            self.receive(Bytes::from_static(&PREAMBLE), events);
            self.end_section(events)?;
        }
        Ok(())
    }

    fn open_part(&mut self, part: Part, blob: Blob, events: &mut Vec<Event>) -> Result<(), SplitError> {
        if let Some(open) = &self.open {
            let why = match open.part {
                Part::Component => "all the component's sections must come before models and assets",
                Part::Model(_) | Part::Asset(_) => {
                    "the part before it is not complete, and parts must not be interleaved"
                }
            };
            let section = format!("{part} (after {} of {} bytes of {})", open.hasher.size(), open.blob.size, open.part);
            return Err(self.unexpected(&section, why));
        }
        if self.done.contains(&part) {
            return Err(self.unexpected(&part.to_string(), "the bundle has had it already"));
        }
        self.open = Some(OpenPart { part: part.clone(), blob, hasher: BlobHasher::default() });
        events.push(Event::BlobStart { part, blob });
        Ok(())
    }

    /// The component's sections must come while the component is open.
    fn check_component_section(&self, header: &Header, manifest: &Manifest) -> Result<(), SplitError> {
        if self.open.as_ref().is_some_and(|open| open.part == Part::Component) {
            return Ok(());
        }
        let section = match &header.name {
            Some(name) => format!("'{}'", name.escape_debug()),
            None => format!("of kind {}", header.raw[0]),
        };
        let why = match manifest.component {
            Some(_) => {
                "all the component's sections must come before models and assets, and together have the size the manifest says"
            }
            None => "the manifest lists no component",
        };
        Err(self.unexpected(&section, why))
    }

    /// The open part must not grow beyond the size the manifest says.
    fn check_room(&self, more: u64) -> Result<(), SplitError> {
        let Some(open) = &self.open else { return Ok(()) };
        let got = open.hasher.size() + more;
        if got <= open.blob.size {
            return Ok(());
        }
        Err(SplitError::WrongSize { section: open.part.to_string(), expected: open.blob.size, got })
    }

    fn receive(&mut self, bytes: Bytes, events: &mut Vec<Event>) {
        if let Some(open) = &mut self.open {
            open.hasher.update(&bytes);
            events.push(Event::BlobData(bytes));
        }
    }

    /// Ends a section, and with its last section the part.
    fn end_section(&mut self, events: &mut Vec<Event>) -> Result<(), SplitError> {
        self.state = State::Header(HeaderReader::default());
        let Some(open) = self.open.take_if(|open| open.hasher.size() == open.blob.size) else {
            return Ok(());
        };
        let got = open.hasher.finish().sha256;
        if got != open.blob.sha256 {
            let section = open.part.to_string();
            return Err(SplitError::WrongDigest { section, expected: open.blob.sha256, got });
        }
        self.done.insert(open.part);
        events.push(Event::BlobEnd);
        Ok(())
    }

    fn complete(&self) -> Result<Arc<Manifest>, SplitError> {
        let Some(manifest) = &self.manifest else {
            return match self.unconfirmed {
                Some(_) => Err(SplitError::Missing { section: section::DIGEST.to_owned() }),
                None => Err(SplitError::NotABundle(NO_MANIFEST)),
            };
        };
        match parts(manifest).find(|part| !self.done.contains(part)) {
            Some(part) => Err(SplitError::Missing { section: part.to_string() }),
            None => Ok(Arc::clone(manifest)),
        }
    }

    fn unexpected(&self, section: &str, why: &'static str) -> SplitError {
        SplitError::Unexpected { section: section.to_owned(), offset: self.section_at, why }
    }

    fn malformed(&self, why: &'static str) -> SplitError {
        SplitError::Malformed { offset: self.section_at, why }
    }

    fn already_refused(offset: u64) -> SplitError {
        SplitError::Malformed { offset, why: "and the bundle was refused or finished before" }
    }
}
