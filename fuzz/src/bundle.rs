//! A bundle, as it is deployed: taken apart while it comes.

use bytes::Bytes;
use nocti::registry::bundle::head;
use nocti::registry::digest::{Blob, Digest};
use nocti::registry::manifest::{Asset, Manifest, Model, ModelOptions};
use nocti::registry::section::{DIGEST, MANIFEST, PREAMBLE};
use nocti::registry::split::{Event, Part, SplitError, Splitter};

use crate::exchange::refused;
use crate::memory::bounded;

type Parts = Vec<(Part, Vec<u8>)>;

/// A manifest is a megabyte at most, of which it is read and written once more; an empty section, two bytes, is an event.
fn most_bytes(file_bytes: usize) -> usize {
    400 * file_bytes + (4 << 20)
}

/// The first byte says in which pieces the file comes, and how it is made of the others: as they are; as a manifest and what follows
/// it, with the right digest between; or as a list of parts, with the right manifest.
pub fn bundle(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let piece = usize::from(how / 3) + 1;
    match how % 3 {
        0 => drop(split(rest, piece)),
        1 => drop(split(&signed(rest), piece)),
        _ => laid_out(rest, piece),
    }
}

/// Takes the file apart. What that gives must not depend on the pieces, be what the manifest says, and make the same bundle again.
fn split(file: &[u8], piece: usize) -> Result<(Manifest, Parts), SplitError> {
    let file = Bytes::copy_from_slice(file);
    let taken = bounded(most_bytes(file.len()), || take(file.clone(), file.len()));
    let same = take(file.clone(), piece);
    let (manifest, parts) = match (taken, same) {
        (Ok(taken), Ok(same)) => {
            assert_eq!(taken, same);
            taken
        }
        (Err(error), Err(same)) => {
            assert_eq!(error.to_string(), same.to_string());
            refused(8 * file.len(), &error);
            return Err(error);
        }
        (taken, same) => panic!("{:?} in one piece, {:?} in pieces of {piece}", taken.err(), same.err()),
    };
    assert_eq!(parts.len(), usize::from(manifest.component.is_some()) + manifest.models.len() + manifest.assets.len());
    let again = Bytes::from(join(&manifest, &parts));
    assert_eq!(take(again, usize::MAX).expect("it was a bundle before"), (manifest.clone(), parts.clone()));
    Ok((manifest, parts))
}

fn take(mut file: Bytes, piece: usize) -> Result<(Manifest, Parts), SplitError> {
    let (mut splitter, mut parts, mut open) = (Splitter::new(), Parts::new(), None);
    while !file.is_empty() {
        let next = file.split_to(piece.min(file.len()));
        let events = match splitter.push(next) {
            Ok(events) => events,
            Err(error) => {
                no_more(&mut splitter);
                return Err(error);
            }
        };
        for event in events {
            match (event, &mut open) {
                (Event::BlobStart { part, blob }, open @ None) => *open = Some((part, blob, Vec::new())),
                (Event::BlobData(bytes), Some((_, blob, content))) => {
                    content.extend_from_slice(&bytes);
                    assert!(content.len() as u64 <= blob.size);
                }
                (Event::BlobEnd, open @ Some(_)) => {
                    let (part, blob, content) = open.take().expect("it is open");
                    assert_eq!(Blob::of(&content), blob);
                    parts.push((part, content));
                }
                (event, open) => panic!("{event:?} within {open:?}"),
            }
        }
    }
    let manifest = splitter.finish()?;
    no_more(&mut splitter);
    Ok((Manifest::clone(&manifest), parts))
}

/// Whoever has ended gives nothing any more.
fn no_more(splitter: &mut Splitter) {
    assert!(splitter.finish().is_err());
    assert!(splitter.push(Bytes::from_static(&PREAMBLE)).is_err());
}

fn signed(rest: &[u8]) -> Vec<u8> {
    let at = rest.iter().position(|&byte| byte == 0xff);
    let (manifest, sections) = at.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
    let digest = Digest::of(manifest).to_string();
    let own = [section(MANIFEST, manifest), section(DIGEST, digest.as_bytes())].concat();
    [&PREAMBLE, &own[..], sections].concat()
}

/// The first two bytes say which byte of the file is another one, and what becomes of it. The others are what the parts have in
/// them: a byte that says which one, one for the length, and the content.
fn laid_out(rest: &[u8], piece: usize) {
    let Some((&[at, other], mut rest)) = rest.split_first_chunk() else { return };
    let (mut parts, mut sections) = (Parts::new(), Vec::new());
    while let [which, length, more @ ..] = rest {
        let (content, more) = more.split_at(more.len().min((*length).into()));
        rest = more;
        let (part, section) = match which % 6 {
            0 => (Part::Component, [&[which % 12 + 1][..], &number(content.len()), content].concat()),
            1 => (Part::Component, section("nocti", content)),
            2 | 3 => {
                let name = ["a", "b"][usize::from(which % 2)];
                (Part::Model(name.parse().expect("it is a name")), section(&format!("nocti.model.{name}"), content))
            }
            _ => {
                let path = ["x", "y/z"][usize::from(which % 2)];
                (Part::Asset(path.parse().expect("it is a path")), section(&format!("nocti.asset.{path}"), content))
            }
        };
        let content = if part == Part::Component { &section[..] } else { content };
        match parts.iter_mut().find(|(known, _)| *known == part) {
            Some((_, gathered)) => gathered.extend_from_slice(content),
            None if part == Part::Component => parts.push((part, [&PREAMBLE, content].concat())),
            None => parts.push((part, content.to_vec())),
        }
        sections.extend(section);
    }
    let manifest = manifest(&parts);
    let mut file = head(&manifest);
    file.extend(sections);
    if let Ok(taken) = split(&file, piece) {
        assert_eq!(taken, (manifest, parts));
        let at = usize::from(at) * file.len() / 256;
        if other != 0 {
            file[at] ^= other;
            assert!(split(&file, piece).is_err(), "byte {at} is another one and nobody sees it");
        }
    }
}

fn manifest(parts: &Parts) -> Manifest {
    let mut manifest = Manifest::new("f".parse().expect("it is a name"), "1".parse().expect("it is a version"));
    for (part, content) in parts {
        let blob = Blob::of(content);
        match part.clone() {
            Part::Component => manifest.component = Some(blob),
            Part::Model(name) => manifest.models.push(Model { name, blob, options: ModelOptions::default() }),
            Part::Asset(path) => manifest.assets.push(Asset { path, blob }),
        }
    }
    manifest
}

/// The parts as a bundle; the splitter gave the component first.
fn join(manifest: &Manifest, parts: &Parts) -> Vec<u8> {
    let mut file = head(manifest);
    for (part, content) in parts {
        match part {
            Part::Component => file.extend_from_slice(&content[PREAMBLE.len()..]),
            part => file.extend(section(&part.to_string(), content)),
        }
    }
    file
}

/// A custom section.
fn section(name: &str, content: &[u8]) -> Vec<u8> {
    let named = [&number(name.len())[..], name.as_bytes(), content].concat();
    [&[0][..], &number(named.len()), &named].concat()
}

/// In base 128, as WebAssembly has it.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
