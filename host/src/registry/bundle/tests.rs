use std::fs;

use tempfile::TempDir;

use super::*;
use crate::registry::split::{Event, Part, Splitter};

/// A small component with a producers section and a custom section of somebody else.
fn component() -> Vec<u8> {
    let mut component = wasm_encoder::Component::new();
    component.section(&wasm_encoder::RawSection { id: 1, data: b"\0asm\x01\0\0\0" });
    component.section(&wasm_encoder::CustomSection { name: "producers".into(), data: b"someone"[..].into() });
    component.finish()
}

fn project(dir: &TempDir) -> Project {
    fs::write(dir.path().join("c.wasm"), component()).unwrap();
    fs::write(dir.path().join("m.onnx"), "0123456789").unwrap();
    fs::write(dir.path().join("empty.txt"), "").unwrap();
    let text = "name='f'\nversion='1'\n[component]\npath='c.wasm'\n[[model]]\nname='m'\npath='m.onnx'\n\
                [assets]\n'a/empty.txt'='empty.txt'\n";
    Project::parse(dir.path(), text).expect("the project is valid")
}

/// The bundle's parts, as a host sees them.
fn split(bundle: &[u8]) -> Vec<(Part, Vec<u8>)> {
    let mut splitter = Splitter::new();
    let events = splitter.push(bundle.to_vec().into()).expect("what is written can be read");
    splitter.finish().expect("the bundle is whole");
    let mut parts = Vec::new();
    for event in events {
        match event {
            Event::BlobStart { part, .. } => parts.push((part, Vec::new())),
            Event::BlobData(bytes) => parts.last_mut().unwrap().1.extend_from_slice(&bytes),
            Event::BlobEnd => {}
        }
    }
    parts
}

#[test]
fn everything_is_in_the_bundle_and_wasm_tools_accept_it() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::prepare(&project(&dir)).expect("all files are there");
    let mut bytes = Vec::new();
    let size = bundle.write_to(&mut bytes).expect("memory takes it");
    assert_eq!(size, bytes.len() as u64);
    wasmparser::validate(&bytes).expect("a bundle is a component");
    let expected = [
        (Part::Component, component()),
        (Part::Model("m".parse().unwrap()), b"0123456789".to_vec()),
        (Part::Asset("a/empty.txt".parse().unwrap()), Vec::new()),
    ];
    assert_eq!(split(&bytes), expected);
    assert_eq!(bundle.manifest().component, Some(Blob::of(&component())));
    let first = wasmparser::Parser::new(0).parse_all(&bytes).nth(1).unwrap().unwrap();
    let wasmparser::Payload::CustomSection(first) = first else { panic!("the first section is {first:?}") };
    assert_eq!((first.name(), first.data()), ("nocti.manifest", bundle.manifest().canonical_json().as_slice()));
}

#[test]
fn a_large_model_is_several_sections() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::prepare(&project(&dir)).expect("all files are there");
    let mut bytes = Vec::new();
    bundle.write_chunked(&mut bytes, 4).expect("memory takes it");
    let is_model = |payload: &wasmparser::Payload<'_>| matches!(payload, wasmparser::Payload::CustomSection(section) if section.name() == "nocti.model.m");
    let chunks = wasmparser::Parser::new(0).parse_all(&bytes).filter(|p| is_model(p.as_ref().unwrap())).count();
    assert_eq!(chunks, 3);
    assert_eq!(split(&bytes)[1].1, b"0123456789");
}

#[test]
fn a_bundle_as_component_loses_its_old_sections() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(&dir);
    let path = dir.path().join("c.wasm");
    Bundle::prepare(&project).unwrap().write_file(&path).expect("the folder takes it");
    assert_ne!(fs::read(&path).unwrap(), component());
    assert_eq!(Bundle::prepare(&project).unwrap().component(), component());
}

#[test]
fn a_bare_model_gets_an_empty_component() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("iris.onnx");
    fs::write(&path, "onnx").unwrap();
    let project = Project::for_model(&path, "iris".parse().unwrap(), "1".parse().unwrap());
    let bundle = Bundle::prepare(&project).expect("the file is there");
    assert_eq!((bundle.manifest().component, bundle.component()), (None, PREAMBLE.as_slice()));
    let mut bytes = Vec::new();
    bundle.write_to(&mut bytes).unwrap();
    assert_eq!(split(&bytes), [(Part::Model("iris".parse().unwrap()), b"onnx".to_vec())]);
    wasmparser::validate(&bytes).expect("a bundle is a component");
}

#[test]
fn a_file_that_changes_in_between_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::prepare(&project(&dir)).unwrap();
    let out = dir.path().join("out.wasm");
    for other in ["012345678X", "012345678", "0123456789+"] {
        fs::write(dir.path().join("m.onnx"), other).unwrap();
        let error = bundle.write_file(&out).expect_err("the model is another one");
        assert!(matches!(&error, BundleError::FileChanged(path) if path.ends_with("m.onnx")), "{error}");
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "neither a bundle nor a temporary file is left: {left:?}");
}

#[test]
fn what_is_no_component_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(&dir);
    let mut truncated = component();
    truncated.pop();
    let cases: [(&[u8], &str); 6] = [
        (b"\x7fELF....", "is not a WebAssembly file"),
        (b"\0asm\x01\0\0\0", "is a core module; build with --target wasm32-wasip2"),
        (b"\0asm\x0d", "ends within its first 8 bytes"),
        (b"\0asm\x0e\0\x01\0", "of another version"),
        (&truncated, "runs past the end of the file"),
        (b"\0asm\x0d\0\x01\0\x00", "ends within a section's header"),
    ];
    for (content, expected) in cases {
        fs::write(dir.path().join("c.wasm"), content).unwrap();
        let message = Bundle::prepare(&project).expect_err(expected).to_string();
        assert!(message.contains(expected) && message.contains("c.wasm"), "{message}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(&dir);
    fs::remove_file(dir.path().join("m.onnx")).unwrap();
    let message = Bundle::prepare(&project).expect_err("the model is gone").to_string();
    assert!(message.contains("m.onnx"), "{message}");
}
