//! What an entry of the cache holds, so that damage is noticed: each file's size and hash, and who it was when it was hashed.
//!
//! Hashing hundreds of megabytes at every use would take longer than what the cache saves. So a file that has the inode,
//! size and times that it had when it was hashed, and was hashed since the machine started, is taken for unchanged: every way
//! to write to it changes its ctime, which programs cannot set. All others are hashed again: copied and restored ones, and
//! those that a crash of the machine may have left without their data. What rots below the file system is not noticed
//! before.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::Hasher;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twox_hash::XxHash3_64;

use crate::stamp::Stamp;

const FILE_NAME: &str = "seal.json";

/// What is in an entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seal {
    files: BTreeMap<String, Content>,
    /// The machine's start since which the files were hashed; empty where the system does not say.
    boot: String,
    facts: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    size: u64,
    xxh3: u64,
    stamp: Stamp,
    /// Whether any change after the hashing shows in the stamp.
    settled: bool,
}

/// Why an entry cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Missing,
    Damaged(String),
}

impl Seal {
    /// Seals all files of a folder; how many bytes they are.
    pub(super) fn set(folder: &Path, facts: &impl Serialize) -> std::io::Result<u64> {
        let mut seal = Self { files: BTreeMap::new(), boot: boot().to_owned(), facts: serde_json::to_value(facts)? };
        for name in files(folder)? {
            let content = Content::read(&folder.join(&name))?;
            seal.files.insert(name, content);
        }
        seal.write(folder)?;
        Ok(seal.files.values().map(|content| content.size).sum())
    }

    /// The facts about a folder's content, if it is what was sealed.
    pub(super) fn check(folder: &Path) -> Result<Value, Broken> {
        let mut seal = Self::read(folder)?;
        let trusted = !seal.boot.is_empty() && seal.boot == boot();
        let mut renewed = !trusted;
        for (name, sealed) in &mut seal.files {
            let path = folder.join(name);
            let damaged = |why: &str| Broken::Damaged(format!("{name} {why}"));
            let metadata = std::fs::metadata(&path).map_err(|_| damaged("is missing"))?;
            if metadata.len() != sealed.size {
                return Err(damaged("has another length"));
            }
            if trusted && sealed.is_unchanged(&metadata) {
                continue;
            }
            let found = Content::read(&path).map_err(|_| damaged("cannot be read"))?;
            if (found.size, found.xxh3) != (sealed.size, sealed.xxh3) {
                return Err(damaged("has another content"));
            }
            (*sealed, renewed) = (found, true);
        }
        if renewed {
            boot().clone_into(&mut seal.boot);
            // In a folder that cannot be written, it is hashed again the next time.
            let _ = seal.write(folder);
        }
        Ok(seal.facts)
    }

    fn read(folder: &Path) -> Result<Self, Broken> {
        let text = match std::fs::read_to_string(folder.join(FILE_NAME)) {
            Ok(text) => text,
            Err(_) if !folder.exists() => return Err(Broken::Missing),
            Err(error) => return Err(Broken::Damaged(format!("{FILE_NAME}: {error}"))),
        };
        let damaged = || Broken::Damaged(format!("{FILE_NAME} is not what was written"));
        let (line, hash) = text.trim_end().rsplit_once('\n').ok_or_else(damaged)?;
        if hash != format!("{:016x}", hash_bytes(line.as_bytes())) {
            return Err(damaged());
        }
        serde_json::from_str(line).map_err(|_| damaged())
    }

    /// A line of JSON, and its hash.
    fn write(&self, folder: &Path) -> std::io::Result<()> {
        let line = serde_json::to_string(self)?;
        let mut staged = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut staged, format!("{line}\n{:016x}\n", hash_bytes(line.as_bytes())).as_bytes())?;
        staged.persist(folder.join(FILE_NAME))?;
        Ok(())
    }
}

impl Content {
    fn read(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        // Before the bytes: what is written while they are read shows in the next look at it.
        let stamp = Stamp::new(&file.metadata()?);
        let settled = stamp.is_settled(SystemTime::now());
        let (mut hasher, mut size) = (XxHash3_64::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.write(&buffer[..count]);
                    size += count as u64;
                }
            }
        }
        Ok(Self { size, xxh3: hasher.finish(), stamp, settled })
    }

    /// Whether nothing can have been written to the file since it was hashed.
    fn is_unchanged(&self, metadata: &std::fs::Metadata) -> bool {
        self.settled && Stamp::new(metadata) == self.stamp
    }
}

/// The paths of all files in a folder and those below it, relative to it.
pub(super) fn files(folder: &Path) -> std::io::Result<Vec<String>> {
    let (mut found, mut below) = (Vec::new(), vec![String::new()]);
    while let Some(prefix) = below.pop() {
        for entry in std::fs::read_dir(folder.join(&prefix))? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|_| std::io::Error::other("a name is not UTF-8"))?;
            let path = prefix.clone() + &name;
            if entry.file_type()?.is_dir() { below.push(path + "/") } else { found.push(path) }
        }
    }
    Ok(found)
}

pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// Notes that an entry is used now, if it was not noted lately. Best effort: a folder that cannot be written is not evicted from.
pub(super) fn touch(folder: &Path) {
    const OFTEN: Duration = Duration::from_secs(60);
    let path = folder.join(FILE_NAME);
    let lately = used_at(folder).and_then(|at| at.elapsed().ok()).is_some_and(|age| age < OFTEN);
    if !lately && let Ok(file) = File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

pub(super) fn used_at(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder.join(FILE_NAME)).ok()?.modified().ok()
}

/// random(4): another one each time the machine starts.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    })
}
