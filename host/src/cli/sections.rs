//! The sections of a WebAssembly file, without reading what is in them.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::registry::section::{Header, PREAMBLE};

/// A section: what it is called and how long its content is.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    /// Where its content, and with that the section, ends in the file.
    #[serde(skip)]
    pub(crate) end: u64,
}

/// The outermost sections of `file`, in order.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<Section>> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let size = opened.metadata()?.len();
    sections(BufReader::new(opened), size).with_context(|| format!("{} is no whole WebAssembly file", file.display()))
}

fn sections(mut file: impl BufRead + Seek, size: u64) -> anyhow::Result<Vec<Section>> {
    file.seek(SeekFrom::Start(PREAMBLE.len() as u64))?;
    let mut sections = Vec::new();
    while file.stream_position()? < size {
        let Header { raw, name, left } = Header::read(&mut file)?;
        file.seek_relative(left.into())?;
        ensure!(file.stream_position()? <= size, "a section runs past its end");
        let name = name.unwrap_or_else(|| kind(raw[0]).to_owned());
        sections.push(Section { name, size_bytes: left.into(), end: file.stream_position()? });
    }
    Ok(sections)
}

/// What the component model calls the sections with a number.
fn kind(id: u8) -> &'static str {
    match id {
        1 => "(core module)",
        2 => "(core instances)",
        3 => "(core types)",
        4 => "(component)",
        5 => "(instances)",
        6 => "(aliases)",
        7 => "(types)",
        8 => "(canonical functions)",
        9 => "(start)",
        10 => "(imports)",
        11 => "(exports)",
        _ => "(unknown)",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use wasm_encoder::{Component, ComponentTypeSection, CustomSection, InstanceType};

    use super::*;

    #[test]
    fn sections_are_listed_by_name_and_kind() {
        let mut component = Component::new();
        let mut types = ComponentTypeSection::new();
        types.instance(&InstanceType::new());
        let long = "x".repeat(300);
        component.section(&CustomSection { name: "nocti.manifest".into(), data: [7; 200].as_slice().into() });
        component.section(&types);
        component.section(&CustomSection { name: long.as_str().into(), data: [7; 3].as_slice().into() });
        let bytes = component.finish();

        let found = sections(Cursor::new(&bytes), bytes.len() as u64).expect("whole");
        let found: Vec<_> = found.iter().map(|section| (section.name.as_str(), section.size_bytes)).collect();
        assert_eq!(found, [("nocti.manifest", 200), ("(types)", 3), (&long[..], 3)]);
        assert_eq!(sections(Cursor::new(&bytes), bytes.len() as u64).expect("whole")[2].end, bytes.len() as u64);
        assert!(sections(Cursor::new(&bytes), bytes.len() as u64 - 1).is_err());
    }
}
