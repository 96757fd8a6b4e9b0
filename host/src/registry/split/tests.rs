use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::registry::manifest::{Asset, MAX_MANIFEST_BYTES, Model, ModelOptions};
use crate::registry::section::{PREAMBLE, custom_header};

/// A bundle being laid out by hand, so that it can be laid out wrongly.
struct Layout {
    manifest: Manifest,
    sections: Vec<(String, Vec<u8>)>,
}

const COMPONENT_SECTIONS: &[u8] = b"\x01\x08\0asm\x01\0\0\0\x00\x0b\x09producersx";

fn component() -> Vec<u8> {
    [&PREAMBLE, COMPONENT_SECTIONS].concat()
}

impl Layout {
    fn new() -> Self {
        let mut manifest = Manifest::new("f".parse().unwrap(), "1".parse().unwrap());
        manifest.component = Some(Blob::of(&component()));
        let mut sections = vec![(String::new(), COMPONENT_SECTIONS.to_vec())];
        for (name, content) in [("m", "model m"), ("n", "model n, longer")] {
            let blob = Blob::of(content.as_bytes());
            manifest.models.push(Model { name: name.parse().unwrap(), blob, options: ModelOptions::default() });
            sections.push((format!("nocti.model.{name}"), content.into()));
        }
        manifest.assets.push(Asset { path: "a/b.txt".parse().unwrap(), blob: Blob::of(b"") });
        sections.push(("nocti.asset.a/b.txt".to_owned(), Vec::new()));
        Self { manifest, sections }
    }

    /// The bytes of the bundle; sections without a name stand for themselves.
    fn bytes(&self) -> Vec<u8> {
        let manifest = self.manifest.canonical_json();
        let digest = Digest::of(&manifest).to_string().into_bytes();
        let own = [("nocti.manifest".to_owned(), manifest), ("nocti.digest".to_owned(), digest)];
        let mut bytes = PREAMBLE.to_vec();
        for (name, content) in own.iter().chain(&self.sections) {
            if !name.is_empty() {
                bytes.extend(custom_header(name, u32::try_from(content.len()).unwrap()));
            }
            bytes.extend(content);
        }
        bytes
    }
}

/// Splits in the given chunks; data events in a row become one.
fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<(Arc<Manifest>, Vec<Event>), SplitError> {
    let mut splitter = Splitter::new();
    let mut all = Vec::new();
    for chunk in chunks {
        for event in splitter.push(Bytes::copy_from_slice(chunk))? {
            match (all.last_mut(), event) {
                (Some(Event::BlobData(data)), Event::BlobData(more)) => *data = [&data[..], &more].concat().into(),
                (_, event) => all.push(event),
            }
        }
    }
    Ok((splitter.finish()?, all))
}

fn refused(bytes: &[u8]) -> String {
    split([bytes]).expect_err("the bundle is not right").to_string()
}

fn refused_layout(change: impl FnOnce(&mut Layout)) -> String {
    let mut layout = Layout::new();
    change(&mut layout);
    refused(&layout.bytes())
}

fn start(part: Part, content: &[u8]) -> Event {
    Event::BlobStart { part, blob: Blob::of(content) }
}

#[test]
fn a_bundle_comes_apart_in_order() {
    let layout = Layout::new();
    let data = |bytes: &[u8]| Event::BlobData(Bytes::copy_from_slice(bytes));
    let expected = [
        start(Part::Component, &component()),
        data(&component()),
        Event::BlobEnd,
        start(Part::Model("m".parse().unwrap()), b"model m"),
        data(b"model m"),
        Event::BlobEnd,
        start(Part::Model("n".parse().unwrap()), b"model n, longer"),
        data(b"model n, longer"),
        Event::BlobEnd,
        start(Part::Asset("a/b.txt".parse().unwrap()), b""),
        Event::BlobEnd,
    ];
    let (manifest, events) = split([&layout.bytes()[..]]).expect("the bundle is right");
    assert_eq!((&*manifest, &events[..]), (&layout.manifest, &expected[..]));
}

#[test]
fn a_model_in_chunks_is_one_part() {
    let mut layout = Layout::new();
    layout.sections[2].1.truncate(7);
    layout.sections.insert(3, ("nocti.model.n".to_owned(), b", longer".to_vec()));
    let whole = split([&Layout::new().bytes()[..]]).unwrap();
    assert_eq!(split([&layout.bytes()[..]]).expect("chunks are allowed"), whole);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = Layout::new().bytes();
    for length in 0..bytes.len() {
        assert!(split([&bytes[..length]]).is_err(), "the first {length} of {} bytes", bytes.len());
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let bytes = Layout::new().bytes();
    for at in 0..bytes.len() {
        for change in 1..=255 {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            assert!(split([&damaged[..]]).is_err(), "byte {at} changed by {change:#x}");
        }
    }
}

#[test]
fn what_is_no_bundle_is_told_apart() {
    let plain = component();
    let cases: [(&[u8], &str); 7] = [
        (b"\x08\x07onnx...", "not a WebAssembly file"),
        (b"\0asm\x01\0\0\0", "core module, not a component; build it with --target wasm32-wasip2"),
        (b"\0asm\x0e\0\x01\0", "of a version this host does not read"),
        (b"\0asm", "cut off after 4 bytes"),
        (b"", "cut off after 0 bytes"),
        (&plain, "not a Nocti bundle: its first section is not nocti.manifest; make one with `nocti build`"),
        (&PREAMBLE, "not a Nocti bundle"),
    ];
    for (bytes, expected) in cases {
        let message = refused(bytes);
        assert!(message.contains(expected), "{message}");
    }
}

fn section(name: &str, content: &str) -> (String, Vec<u8>) {
    (name.to_owned(), content.as_bytes().to_vec())
}

/// What the message must say, and what is laid out wrongly.
type Case = (&'static str, fn(&mut Layout));

#[test]
fn every_wrong_layout_is_refused_by_name() {
    let cases: [Case; 16] = [
        ("without nocti.model.n", |l| drop(l.sections.remove(2))),
        ("without nocti.asset.a/b.txt", |l| drop(l.sections.pop())),
        ("nocti.model.m is damaged: its sha256 should be", |l| l.sections[1].1[0] = b'M'),
        ("nocti.model.m has 8 bytes or more, but the manifest says 7", |l| l.sections[1].1.push(b'!')),
        ("inside nocti.asset.a/b.txt", |l| l.manifest.assets[0].blob.size = 1),
        ("nocti.model.m at byte", |l| l.manifest.models.truncate(0)),
        ("the bundle has had it already", |l| l.sections.push(section("nocti.model.m", "model m"))),
        ("the bundle has had it already", |l| l.sections.push(section("nocti.manifest", "{}"))),
        ("the manifest does not list it", |l| l.sections.push(section("nocti.asset.z", ""))),
        ("this host knows no such section", |l| l.sections.push(section("nocti.policy", ""))),
        ("parts must not be interleaved", |l| l.sections[1].1.truncate(6)),
        ("all the component's sections must come before", |l| l.sections.rotate_left(1)),
        ("all the component's sections must come before", |l| l.sections.push(section("x", ""))),
        ("the component has 43 bytes or more", |l| l.sections[0].1[1] = 33),
        ("together have the size", |l| l.sections.insert(0, l.sections[0].clone())),
        ("the manifest lists no component", |l| {
            l.manifest.component = None;
            l.manifest.models.truncate(1);
        }),
    ];
    for (expected, change) in cases {
        let message = refused_layout(change);
        assert!(message.contains(expected), "expected {expected:?}: {message}");
    }
}

#[test]
fn the_manifest_is_checked_before_anything_else() {
    let message = refused_layout(|layout| layout.manifest.limits.concurrency = 0);
    assert!(message.contains("limits.concurrency"), "{message}");

    let header = custom_header("nocti.manifest", u32::try_from(MAX_MANIFEST_BYTES + 1).unwrap());
    let message = refused(&[&PREAMBLE[..], &header].concat());
    assert!(message.contains("at most 1048576"), "{message}");

    let no_digest = [&PREAMBLE[..], &custom_header("nocti.manifest", 2), b"{}", COMPONENT_SECTIONS].concat();
    assert!(refused(&no_digest).contains("without nocti.digest"), "{}", refused(&no_digest));
}

#[test]
fn after_an_error_there_are_only_errors() {
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from_static(b"not wasm")).expect_err("it is not");
    splitter.push(Layout::new().bytes().into()).expect_err("too late");
    splitter.finish().expect_err("never began");
}

#[test]
fn content_is_neither_copied_nor_kept() {
    let mut splitter = Splitter::new();
    let bytes = Bytes::from(Layout::new().bytes());
    let events = splitter.push(bytes.clone()).expect("the bundle is right");
    let model = events.iter().find_map(|event| match event {
        Event::BlobData(data) if data == "model n, longer" => Some(data.clone()),
        _ => None,
    });
    assert!(bytes.as_ptr_range().contains(&model.expect("the model is there").as_ptr()));
}

proptest! {
    #[test]
    fn chunks_of_any_size_give_the_same_events(cuts in prop::collection::vec(any::<Index>(), 0..40)) {
        let bytes = Layout::new().bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(split(chunks).unwrap(), split([&bytes[..]]).unwrap());
    }

    #[test]
    fn errors_do_not_depend_on_chunks_either(at: Index, to: u8) {
        let mut bytes = Layout::new().bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let whole = split([&bytes[..]]).map_err(|error| error.to_string());
        prop_assert_eq!(split(bytes.chunks(1)).map_err(|error| error.to_string()), whole);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, at: Index) {
        let _ = split([&bytes[..]]);
        let mut bundle = Layout::new().bytes();
        let at = at.index(bundle.len());
        bundle.splice(at.., bytes);
        prop_assert!(split([&bundle[..]]).is_err());
    }
}
