//! What the last start or stop of this node read from the store, in one file, so that a start reads only what has changed.
//!
//! ```text
//! one line of JSON    the format, the store, each function with its manifests
//! 16 hex digits       the line's xxh3
//! ```
//! Every function has the number of its newest revision, and the [stamps](Stamp) of that and of its manifests. A function that
//! the store does not show to be the same is read from there, and so is everything if the file is missing, damaged, of
//! another store or of another release. The file only saves time: it may be deleted, and nobody waits until it is written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::super::manifest::Manifest;
use super::super::name::FunctionName;
use super::super::revision::Revision;
use super::super::store::{Folder, Store, StoreError};
use super::{Function, read};
use crate::stamp::Stamp;

const FILE_NAME: &str = "catalog.snapshot";

/// A release may refuse what an earlier one took, so none uses another's file.
const FORMAT: &str = concat!("1, nocti ", env!("CARGO_PKG_VERSION"));

/// Where the file is.
#[derive(Debug, Clone)]
pub(super) struct File {
    folder: PathBuf,
}

/// Everything in the store.
#[derive(Default)]
pub(super) struct Everything {
    /// What could be read. A function that has been deleted has no versions.
    pub(super) functions: Vec<Arc<Function>>,
    pub(super) damaged: Vec<(FunctionName, String)>,
    /// What is to be saved, if that is not saved already.
    pub(super) unsaved: Option<Vec<Known>>,
}

/// A function, and what the store shows of it without being read.
pub(super) struct Known {
    function: Arc<Function>,
    newest: (u64, Stamp),
    /// One for each version.
    manifests: Vec<Stamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<S, F> {
    format: S,
    store: PathBuf,
    functions: Vec<F>,
}

/// A function as it is written down; the manifests are in the order of the revision's versions.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<R, M> {
    newest: (u64, Stamp),
    revision: R,
    manifests: Vec<(Stamp, M)>,
}

impl File {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// What is saved; nothing if that is of no use.
    fn read(&self, store: &Folder) -> Vec<Known> {
        match std::fs::read(self.folder.join(FILE_NAME)) {
            Ok(bytes) => parse(&bytes, store.root()).unwrap_or_else(|| {
                tracing::warn!(file = FILE_NAME, "not of this store and release, or damaged: everything is read anew");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        }
    }

    /// Replaces what is saved. Written aside and renamed: whoever reads the file finds all of it or what was there before.
    pub(super) fn write(&self, store: &Store, functions: &[Known]) {
        let Some(store) = store.folder() else { return };
        let write = || {
            std::fs::create_dir_all(&self.folder)?;
            let mut staged = tempfile::NamedTempFile::new_in(&self.folder)?;
            std::io::Write::write_all(&mut staged, &to_bytes(functions, store.root())?)?;
            staged.persist(self.folder.join(FILE_NAME))?;
            Ok::<_, std::io::Error>(())
        };
        if let Err(error) = write() {
            tracing::warn!(file = FILE_NAME, %error, "cannot be written; the next start takes longer");
        }
    }
}

/// Reads everything from the store, of what is the same as in `file` only the metadata.
pub(super) async fn read_all(store: &Store, file: Option<&File>) -> Result<Everything, StoreError> {
    let names = store.list_functions().await?;
    let Looks { mut known, unknown, gone } = match file.cloned() {
        None => Looks { known: Vec::new(), unknown: names.into_iter().map(|name| (name, None)).collect(), gone: false },
        Some(file) => {
            let store = store.clone();
            let looks = tokio::task::spawn_blocking(move || {
                store.folder().map(|folder| Looks::take(folder, names, file.read(folder))).unwrap_or_default()
            });
            // Where nobody could look, as the process ends, there is nothing to serve either.
            looks.await.unwrap_or_default()
        }
    };
    let mut everything = Everything::default();
    everything.functions.extend(known.iter().map(|known| Arc::clone(&known.function)));
    let before = known.len();
    let reads = unknown.into_iter().map(|(name, newest)| async move { (read_one(store, &name, newest).await, name) });
    let mut reads = futures::stream::iter(reads).buffer_unordered(16);
    while let Some((read, name)) = reads.next().await {
        match read {
            Ok(None) => {}
            Ok(Some((function, seen))) => {
                everything.functions.push(Arc::clone(&function));
                known.extend(seen.map(|(newest, manifests)| Known { function, newest, manifests }));
            }
            Err(error) => everything.damaged.push((name, error.to_string())),
        }
    }
    everything.unsaved = (gone || known.len() > before).then_some(known);
    Ok(everything)
}

/// What the store's metadata says about what is saved.
#[derive(Default)]
struct Looks {
    /// The same still.
    known: Vec<Known>,
    /// To be read, with the newest revision where it has a stamp.
    unknown: Vec<(FunctionName, Option<(u64, Stamp)>)>,
    /// Whether something that is saved is no more.
    gone: bool,
}

impl Looks {
    fn take(store: &Folder, names: Vec<FunctionName>, saved: Vec<Known>) -> Self {
        let by_name = saved.into_iter().map(|known| (known.function.name().clone(), known));
        let mut saved: HashMap<_, _> = by_name.collect();
        let mut looks = Self { known: Vec::new(), unknown: Vec::new(), gone: false };
        for name in names {
            let newest = store.latest_stamp(&name);
            match saved.remove(&name) {
                Some(known) if Some(known.newest) == newest && known.has_its_manifests(store) => {
                    looks.known.push(known)
                }
                _ => looks.unknown.push((name, newest)),
            }
        }
        looks.gone = !saved.is_empty();
        looks
    }
}

impl Known {
    fn has_its_manifests(&self, store: &Folder) -> bool {
        let versions = self.function.versions.values();
        versions.zip(&self.manifests).all(|(version, stamp)| store.blob_stamp(&version.digest) == Some(*stamp))
    }
}

type Seen = ((u64, Stamp), Vec<Stamp>);

/// A function and, if its files have settled, their stamps. These are taken first: what changes in between is noticed by the
/// next who looks.
async fn read_one(
    store: &Store,
    name: &FunctionName,
    newest: Option<(u64, Stamp)>,
) -> Result<Option<(Arc<Function>, Option<Seen>)>, StoreError> {
    let Some(revision) = store.latest(name).await? else { return Ok(None) };
    let newest = newest.filter(|(number, _)| *number == revision.revision);
    let seen = newest.and_then(|newest| {
        let folder = store.folder()?;
        let manifests = revision.versions.values().map(|record| folder.blob_stamp(&record.digest));
        Some((newest, manifests.collect::<Option<_>>()?))
    });
    let function = read::with_manifests(store, revision, None).await?;
    Ok(Some((Arc::new(function), seen)))
}

fn to_bytes(functions: &[Known], root: &Path) -> serde_json::Result<Vec<u8>> {
    let record = |known: &'_ Known| {
        let manifests = known.manifests.iter().copied();
        let versions = known.function.versions.values().map(|version| version.manifest.as_ref());
        serde_json::to_value(Record {
            newest: known.newest,
            revision: &known.function.revision,
            manifests: manifests.zip(versions).collect(),
        })
    };
    let functions: Vec<_> = functions.iter().map(record).collect::<Result<_, _>>()?;
    let mut bytes = serde_json::to_vec(&Content { format: FORMAT, store: root.to_owned(), functions })?;
    let hash = XxHash3_64::oneshot(&bytes);
    bytes.extend(format!("\n{hash:016x}\n").bytes());
    Ok(bytes)
}

fn parse(bytes: &[u8], root: &Path) -> Option<Vec<Known>> {
    let (line, hash) = bytes.split_at_checked(bytes.len().checked_sub("\n0123456789abcdef\n".len())?)?;
    if hash != format!("\n{:016x}\n", XxHash3_64::oneshot(line)).as_bytes() {
        return None;
    }
    let content: Content<String, Record<Revision, Manifest>> = serde_json::from_slice(line).ok()?;
    if (content.format.as_str(), content.store.as_path()) != (FORMAT, root) {
        return None;
    }
    content.functions.into_iter().map(known).collect()
}

fn known(record: Record<Revision, Manifest>) -> Option<Known> {
    let Record { newest, revision, manifests } = record;
    let (stamps, manifests): (Vec<_>, Vec<_>) = manifests.into_iter().unzip();
    let function = Arc::new(read::from_parts(revision, manifests)?);
    Some(Known { function, newest, manifests: stamps })
}

#[cfg(test)]
mod tests;
