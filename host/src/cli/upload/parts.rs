//! Where the parts of a bundle lie in its file.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use indicatif::ProgressBar;
use reqwest::Method;

use super::Source;
use crate::cli::client::{Client, Content};
use crate::cli::sections::{self, Section};
use crate::registry::digest::Blob;
use crate::registry::manifest::Manifest;
use crate::registry::section::{ASSET, DIGEST, MANIFEST, MODEL, PREAMBLE, PREFIX};

/// A bundle's file, and which ranges of it are which part.
#[derive(Debug)]
pub(crate) struct Parts<'f> {
    file: &'f Path,
    ranges: HashMap<Blob, Vec<Range<u64>>>,
}

/// A part, and the ranges of the file that are its content.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    blob: Blob,
    ranges: Vec<Range<u64>>,
}

impl<'f> Parts<'f> {
    /// All parts of the bundle in a file; `None` where it is not as its manifest says, which a host tells better that gets all of it.
    pub(crate) fn of(file: &'f Path, manifest: &Manifest) -> anyhow::Result<Option<Self>> {
        let parts = parts(&sections::read(file)?, manifest);
        let ranges = parts.map(|parts| parts.into_iter().map(|part| (part.blob, part.ranges)).collect());
        Ok(ranges.map(|ranges| Self { file, ranges }))
    }

    /// What a part is made of; nothing of one that is not here.
    pub(crate) fn content(&self, part: Blob, bar: &ProgressBar) -> Content<'f> {
        Content::of(self.file, self.ranges.get(&part).cloned().unwrap_or_default(), bar)
    }
}

impl Source for Parts<'_> {
    async fn send(&self, client: &Client, part: Blob, offset: u64, bar: &ProgressBar) -> (u64, anyhow::Result<()>) {
        let (path, content) = (super::path(part, offset), self.content(part, bar).after(offset));
        match content.packed().await {
            Ok(Some(packed)) => {
                let length = packed.len() as u64;
                bar.inc(content.size_bytes());
                (length, client.send_packed(Method::PUT, &path, packed).await.map(drop))
            }
            Ok(None) => {
                let sent = client.upload(Method::PUT, &path, content.clone()).await;
                (content.sent_bytes(), sent.map(drop))
            }
            Err(error) => (0, Err(error)),
        }
    }
}

fn parts(sections: &[Section], manifest: &Manifest) -> Option<Vec<Part>> {
    let models = manifest.models.iter().map(|model| (format!("{MODEL}{}", model.name), model.blob));
    let assets = manifest.assets.iter().map(|asset| (format!("{ASSET}{}", asset.path), asset.blob));
    let mut named: Vec<(String, Part)> =
        models.chain(assets).map(|(name, blob)| (name, Part { blob, ranges: Vec::new() })).collect();
    let preamble = 0..PREAMBLE.len() as u64;
    let mut component =
        Part { blob: manifest.component.unwrap_or_else(|| Blob::of(&PREAMBLE)), ranges: vec![preamble] };
    let mut start = PREAMBLE.len() as u64;
    for Section { name, size_bytes, end } in sections {
        if !name.starts_with(PREFIX) {
            component.ranges.push(start..*end);
        } else if name != MANIFEST && name != DIGEST {
            named.iter_mut().find(|(known, _)| known == name)?.1.ranges.push(end - size_bytes..*end);
        }
        start = *end;
    }
    let named = named.into_iter().map(|(_, part)| part);
    // What is no component's, of a bundle without one, is too long for it.
    let is_whole = |part: &Part| part.ranges.iter().map(|range| range.end - range.start).sum::<u64>() == part.blob.size;
    let (has_component, component) = (manifest.component.is_some(), std::iter::once(component));
    let parts: Vec<Part> = component.chain(named).collect();
    let all_whole = parts.iter().all(is_whole);
    all_whole.then(|| parts.into_iter().skip(usize::from(!has_component)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::bundle::Bundle;
    use crate::registry::nocti_toml::Project;

    #[test]
    fn the_parts_are_what_the_manifest_says_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let component = [&PREAMBLE[..], &[0, 4, 1, b'x', 7, 7]].concat();
        std::fs::write(folder.path().join("c.wasm"), &component).unwrap();
        std::fs::write(folder.path().join("m.onnx"), "0123456789").unwrap();
        std::fs::write(folder.path().join("empty"), "").unwrap();
        let text = "name='f'\nversion='1'\n[component]\npath='c.wasm'\n[[model]]\nname='m'\npath='m.onnx'\n\
                    [assets]\n'a/b'='empty'\nc='m.onnx'\n";
        let project = Project::parse(folder.path(), text).unwrap();
        let bundle = Bundle::prepare(&project).unwrap();
        let file = folder.path().join("f.wasm");
        bundle.write_file(&file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let index = |at: u64| usize::try_from(at).unwrap();
        let of = |manifest: &Manifest| parts(&sections::read(&file).unwrap(), manifest);
        let parts = of(bundle.manifest()).expect("all parts");
        assert_eq!(
            parts.iter().map(|part| part.blob).collect::<Vec<_>>(),
            bundle.manifest().blobs().collect::<Vec<_>>()
        );
        for part in &parts {
            let ranges = part.ranges.iter().map(|range| &bytes[index(range.start)..index(range.end)]);
            assert_eq!(Blob::of(&ranges.collect::<Vec<_>>().concat()), part.blob);
        }
        let mut other = bundle.manifest().clone();
        other.models[0].blob.size += 1;
        assert_eq!(of(&other), None, "not what the manifest says");
        other.models.clear();
        assert_eq!(of(&other), None, "a section too many");
    }
}
