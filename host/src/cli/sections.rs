//! The sections of a WebAssembly file, without reading what is in them.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Serialize;

const PREAMBLE_BYTES: i64 = 8;
/// More of a name is not looked at.
const NAME_BYTES: u32 = 256;

/// A section: what it is called and how long its content is.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
}

/// The outermost sections of `file`, in order.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<Section>> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let size = opened.metadata()?.len();
    sections(BufReader::new(opened), size).with_context(|| format!("{} is no whole WebAssembly file", file.display()))
}

fn sections(mut file: impl Read + Seek, size: u64) -> anyhow::Result<Vec<Section>> {
    file.seek_relative(PREAMBLE_BYTES)?;
    let mut sections = Vec::new();
    while file.stream_position()? < size {
        let id = byte(&mut file)?;
        let length = number(&mut file)?;
        let end = file.stream_position()? + u64::from(length);
        ensure!(end <= size, "a section runs past its end");
        let name = match id {
            0 => custom_name(&mut file, length)?,
            id => kind(id).to_owned(),
        };
        let size_bytes = end.saturating_sub(file.stream_position()?);
        sections.push(Section { name, size_bytes });
        file.seek(io::SeekFrom::Start(end))?;
    }
    Ok(sections)
}

fn custom_name(file: &mut impl Read, section: u32) -> anyhow::Result<String> {
    let length = number(file)?;
    ensure!(length < section, "a section's name runs past the section");
    let mut name = Vec::new();
    file.take(length.min(NAME_BYTES).into()).read_to_end(&mut name)?;
    io::copy(&mut file.take(length.saturating_sub(NAME_BYTES).into()), &mut io::sink())?;
    Ok(String::from_utf8_lossy(&name).into_owned())
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

/// An unsigned number in base 128.
fn number(file: &mut impl Read) -> anyhow::Result<u32> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = byte(file)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).context("a number in it is too large");
        }
    }
    anyhow::bail!("a number in it is too long")
}

fn byte(file: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte[0])
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
        assert_eq!(found, [("nocti.manifest", 200), ("(types)", 3), (&long[..256], 3)]);
        assert!(sections(Cursor::new(&bytes), bytes.len() as u64 - 1).is_err());
    }
}
