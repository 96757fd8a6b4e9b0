//! Writing a bundle: one `.wasm` file out of a component, a manifest, models and assets.
//!
//! A [`Bundle`] is prepared first, which reads every file once to hash it, because the manifest stands before what it
//! describes; writing reads them again and refuses to go on if one has changed. Only the component is held in memory.
//! Knows no HTTP and no store; what the component exports is checked by others. Reading a bundle is `split`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::digest::{Blob, BlobHasher};
use super::manifest::{Asset, Manifest, ManifestError, Model};
use super::nocti_toml::Project;
use super::section::{self, FileKind, Header, PREAMBLE, custom_header, file_kind};

mod layout;

pub use layout::{Layout, Piece};

/// A bundle, ready to be written.
#[derive(Debug)]
pub struct Bundle {
    manifest: Manifest,
    /// The component without sections of an earlier bundle; only the preamble for a model-only function.
    component: Vec<u8>,
    files: Vec<BundledFile>,
}

/// A file that becomes one section, or several.
#[derive(Debug)]
struct BundledFile {
    section: String,
    path: PathBuf,
    blob: Blob,
}

/// Why a bundle could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the bundle: {0}")]
    Write(#[source] io::Error),
    #[error("cannot write {}: {source}", path.display())]
    WriteFile { path: PathBuf, source: io::Error },
    #[error("{} is not a WebAssembly file", .0.display())]
    NotWasm(PathBuf),
    #[error("{} is a core module; build with --target wasm32-wasip2 to get a component", .0.display())]
    CoreModule(PathBuf),
    #[error("{} is cut off or damaged at byte {offset}: {why}; build it again", path.display())]
    DamagedComponent { path: PathBuf, offset: usize, why: String },
    #[error("{} changed while the bundle was being written; try again", .0.display())]
    FileChanged(PathBuf),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Bundle {
    /// Reads and hashes everything a project names.
    pub fn prepare(project: &Project) -> Result<Self, BundleError> {
        let mut manifest = project.manifest.clone();
        let mut files = Vec::new();
        let component = match &project.component {
            Some(source) => component_only(&source.file.path)?,
            None => PREAMBLE.to_vec(),
        };
        manifest.component = project.component.as_ref().map(|_| Blob::of(&component));
        for model in &project.models {
            let blob = add(&mut files, format!("{}{}", section::MODEL, model.name), &model.file.path)?;
            manifest.models.push(Model { name: model.name.clone(), blob, options: model.options.clone() });
        }
        for asset in &project.assets {
            let blob = add(&mut files, format!("{}{}", section::ASSET, asset.path), &asset.file.path)?;
            manifest.assets.push(Asset { path: asset.path.clone(), blob });
        }
        // A manifest that no host would take must not leave the house.
        let manifest = Manifest::parse(&manifest.canonical_json())?;
        Ok(Self { manifest, component, files })
    }

    /// The same with another component in the place of the project's.
    pub fn with_component(mut self, component: Vec<u8>) -> Self {
        self.manifest.component = Some(Blob::of(&component));
        Self { component, ..self }
    }

    /// The finished manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The component as it will be compiled; only a preamble for a model-only function.
    pub fn component(&self) -> &[u8] {
        &self.component
    }

    /// Writes the bundle and returns its size in bytes.
    pub fn write_to(&self, out: impl Write) -> Result<u64, BundleError> {
        self.write_chunked(out, section::MAX_BYTES)
    }

    /// Writes the bundle into a file, which appears whole or not at all, and returns its size in bytes.
    pub fn write_file(&self, path: &Path) -> Result<u64, BundleError> {
        let failed = |source| BundleError::WriteFile { path: path.into(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = new_file(folder).map_err(failed)?;
        let size = self.write_to(io::BufWriter::new(&mut file)).map_err(|error| match error {
            BundleError::Write(source) => failed(source),
            other => other,
        })?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(size)
    }

    fn write_chunked(&self, out: impl Write, max_section_bytes: u64) -> Result<u64, BundleError> {
        let mut out = Counted { out, written: 0 };
        out.put(&head(&self.manifest))?;
        out.put(&self.component[PREAMBLE.len()..])?;
        for file in &self.files {
            file.copy(&mut out, max_section_bytes)?;
        }
        out.out.flush().map_err(BundleError::Write)?;
        Ok(out.written)
    }
}

impl BundledFile {
    fn copy(&self, out: &mut Counted<impl Write>, max_section_bytes: u64) -> Result<(), BundleError> {
        let changed = || BundleError::FileChanged(self.path.clone());
        let mut file = open(&self.path)?;
        let mut hasher = BlobHasher::default();
        for (header, length) in section::headers(&self.section, self.blob.size, max_section_bytes) {
            out.put(&header)?;
            let copied = each_chunk(&mut (&mut file).take(length), &self.path, |chunk| {
                hasher.update(chunk);
                out.put(chunk)
            })?;
            if copied != length {
                return Err(changed());
            }
        }
        let grown = each_chunk(&mut file.take(1), &self.path, |_| Ok(()))? > 0;
        if grown || hasher.finish() != self.blob { Err(changed()) } else { Ok(()) }
    }
}

/// What a bundle with this manifest begins with: the preamble, the manifest and its digest.
pub fn head(manifest: &Manifest) -> Vec<u8> {
    let mut head = PREAMBLE.to_vec();
    let digest = manifest.digest().to_string().into_bytes();
    for (name, content) in [(section::MANIFEST, manifest.canonical_json()), (section::DIGEST, digest)] {
        let length = u32::try_from(content.len()).expect("a manifest was checked to be short");
        head.extend(custom_header(name, length));
        head.extend(content);
    }
    head
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    written: u64,
}

impl<W: Write> Counted<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.out.write_all(bytes).map_err(BundleError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Reads a component, leaving out the sections of a bundle it may already be.
fn component_only(path: &Path) -> Result<Vec<u8>, BundleError> {
    let bytes = std::fs::read(path).map_err(|source| BundleError::Read { path: path.into(), source })?;
    let damaged = |offset, why: &str| BundleError::DamagedComponent { path: path.into(), offset, why: why.into() };
    match file_kind(&bytes) {
        FileKind::Component => {}
        FileKind::CoreModule => return Err(BundleError::CoreModule(path.into())),
        FileKind::Incomplete => return Err(damaged(bytes.len(), "it ends within its first 8 bytes")),
        FileKind::OtherVersion => return Err(damaged(4, "it is WebAssembly of another version")),
        FileKind::Other => return Err(BundleError::NotWasm(path.into())),
    }
    let mut component = PREAMBLE.to_vec();
    let mut at = PREAMBLE.len();
    while at < bytes.len() {
        let header = Header::read(&bytes[at..]).map_err(|error| damaged(at, &error.to_string()))?;
        let length = header.raw.len() + usize::try_from(header.left).unwrap_or(usize::MAX - header.raw.len());
        let section =
            bytes[at..].get(..length).ok_or_else(|| damaged(at, "a section runs past the end of the file"))?;
        if header.bundle_name().is_none() {
            component.extend_from_slice(section);
        }
        at += length;
    }
    Ok(component)
}

fn add(files: &mut Vec<BundledFile>, section: String, path: &Path) -> Result<Blob, BundleError> {
    let mut hasher = BlobHasher::default();
    each_chunk(&mut open(path)?, path, |chunk| {
        hasher.update(chunk);
        Ok(())
    })?;
    let blob = hasher.finish();
    files.push(BundledFile { section, path: path.into(), blob });
    Ok(blob)
}

fn open(path: &Path) -> Result<File, BundleError> {
    File::open(path).map_err(|source| BundleError::Read { path: path.into(), source })
}

/// Reads to the end, chunk by chunk, and returns how many bytes there were.
fn each_chunk(
    from: &mut impl Read,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), BundleError>,
) -> Result<u64, BundleError> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => {
                take(&buffer[..length])?;
                total += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(BundleError::Read { path: path.into(), source });
            }
        }
    }
}

/// A temporary file beside its destination, with the permissions of any other new file.
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nocti-").suffix(".wasm");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests;
