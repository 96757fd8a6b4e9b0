//! The beginning of a bundle file: its manifest, and where the parts begin.
//!
//! Reads no further than that, and can write the same bundle under another name or version without unpacking it: the
//! manifest is the only part that says either.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};
use tempfile::NamedTempFile;
use wasmparser::{Chunk, Parser, Payload};

use crate::registry::bundle;
use crate::registry::digest::Digest;
use crate::registry::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::registry::section::{DIGEST, MANIFEST, PREAMBLE};

/// Room for the preamble, the headers and the digest beside the manifest.
const MARGIN_BYTES: usize = 1024;

/// A bundle's manifest.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) manifest: Manifest,
    /// Where the parts begin in the file.
    end: u64,
}

impl Head {
    /// Reads the head of `file`; `None` if it is a component without one, which is no bundle.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Option<Self>> {
        let mut start = Vec::new();
        let limit = (MAX_MANIFEST_BYTES + MARGIN_BYTES) as u64;
        let read = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut start));
        read.with_context(|| format!("cannot read {}", file.display()))?;
        if !start.starts_with(&PREAMBLE[..4]) {
            bail!("{} is not a WebAssembly file", file.display());
        }
        Self::parse(&start).with_context(|| format!("{} is a damaged bundle", file.display()))
    }

    fn parse(start: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut parser = Parser::new(0);
        let mut at = 0;
        let mut manifest: Option<&[u8]> = None;
        loop {
            let Chunk::Parsed { consumed, payload } = parser.parse(&start[at..], false)? else {
                return match manifest {
                    Some(_) => bail!("it is cut off in {DIGEST}"),
                    // The manifest is the first section of a bundle, so what is cut off here names itself.
                    None if start[at..].windows(MANIFEST.len()).take(16).any(|name| name == MANIFEST.as_bytes()) => {
                        bail!("it is cut off in {MANIFEST}")
                    }
                    None => Ok(None),
                };
            };
            at += consumed;
            match (payload, manifest.take()) {
                (Payload::Version { .. }, _) => {}
                (Payload::CustomSection(section), None) if section.name() == MANIFEST => {
                    manifest = Some(section.data());
                }
                (Payload::CustomSection(section), Some(manifest)) if section.name() == DIGEST => {
                    // Before it is read: what a flipped bit says is of no use to anybody.
                    if Digest::of(manifest).to_string().as_bytes() != section.data() {
                        bail!("{MANIFEST} is not what {DIGEST} says");
                    }
                    let manifest = Manifest::parse(manifest)?;
                    return Ok(Some(Self { manifest, end: at as u64 }));
                }
                (_, Some(_)) => bail!("{DIGEST} does not follow {MANIFEST}"),
                (_, None) => return Ok(None),
            }
        }
    }

    /// The bundle in `file` with this head's manifest as it is now, in a file that goes away when it is dropped.
    pub(crate) fn rewrite(&self, file: &Path) -> anyhow::Result<NamedTempFile> {
        let mut source = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        source.seek(SeekFrom::Start(self.end))?;
        let mut copy = NamedTempFile::new().context("cannot make a temporary file")?;
        copy.write_all(&bundle::head(&self.manifest)).context("cannot write a temporary file")?;
        io::copy(&mut source, &mut copy).context("cannot copy the bundle to a temporary file")?;
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::registry::bundle::Bundle;
    use crate::registry::nocti_toml::Project;
    use crate::registry::split::Splitter;

    fn bundle(folder: &Path) -> std::path::PathBuf {
        let model = folder.join("m.onnx");
        std::fs::write(&model, b"not looked at").expect("a temporary file");
        let project = Project::for_model(&model, "m".parse().expect("a name"), "1".parse().expect("a version"));
        let file = folder.join("m.wasm");
        Bundle::prepare(&project).expect("complete").write_file(&file).expect("written");
        file
    }

    #[test]
    fn a_rewritten_bundle_is_whole_and_has_the_new_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = bundle(folder.path());
        let mut head = Head::read(&file).expect("readable").expect("a bundle");
        assert_eq!(head.manifest.name.as_str(), "m");
        head.manifest.name = "other-name".parse().expect("a name");
        head.manifest.version = "2.0.0".parse().expect("a version");
        let copy = head.rewrite(&file).expect("written");

        let mut splitter = Splitter::new();
        splitter.push(Bytes::from(std::fs::read(copy.path()).expect("readable"))).expect("a bundle");
        assert_eq!(*splitter.finish().expect("a whole bundle"), head.manifest);
    }

    #[test]
    fn what_is_no_bundle_has_no_head() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("c.wasm");
        std::fs::write(&file, b"\0asm\x0d\0\x01\0").expect("a temporary file");
        assert!(Head::read(&file).expect("readable").is_none());
        let whole = std::fs::read(bundle(folder.path())).expect("readable");
        let said = |bytes: &[u8]| {
            std::fs::write(&file, bytes).expect("a temporary file");
            format!("{:#}", Head::read(&file).expect_err("it is damaged"))
        };
        assert!(said(&whole[..100]).ends_with("it is cut off in nocti.manifest"), "{}", said(&whole[..100]));
        let mut flipped = whole.clone();
        flipped[100] ^= 1;
        assert!(said(&flipped).ends_with("nocti.manifest is not what nocti.digest says"));
        assert!(said(b"plain text").ends_with("is not a WebAssembly file"));
    }
}
