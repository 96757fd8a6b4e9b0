//! The files of all logs: `FUNCTION/<milliseconds since 1970 when it was begun, 20 digits>.jsonl`, of each function two at most.
//!
//! A file is written at its end alone, and never renamed. It ends when it has half of a log's bytes or covers half of the time that
//! lines are kept; then another is begun and the oldest goes. A line that a crash or a full disk has broken off gets an end when
//! the file is written next, and is then none.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Files that are open at once, of however many functions.
const MAX_OPEN: usize = 128;

/// Files of one log.
const OF_ONE: u32 = 2;

pub(super) struct Files {
    folder: PathBuf,
    /// Of one file.
    max_bytes: u64,
    max_age: Duration,
    open: HashMap<String, Open>,
}

/// A file that is being written.
struct Open {
    file: File,
    bytes: u64,
    began_ms: u64,
    used: Instant,
}

impl Files {
    /// How long a file stays open that nothing is written to.
    pub(super) const IDLE: Duration = Duration::from_secs(10);

    /// `max_bytes` and `max_age` are those of one log. Nothing is made yet.
    pub(super) fn new(folder: PathBuf, max_bytes: u64, max_age: Duration) -> Self {
        Self { folder, max_bytes: max_bytes / u64::from(OF_ONE), max_age, open: HashMap::new() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Adds whole lines to a function's log.
    pub(super) fn append(&mut self, function: &str, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let mut open = self.take_open(function)?;
            let room = self.max_bytes.saturating_sub(open.bytes);
            let fits = whole_lines(lines, usize::try_from(room).unwrap_or(usize::MAX), open.bytes == 0);
            // One that cannot be written is not kept: the next time looks at it anew.
            open.file.write_all(&lines[..fits])?;
            open.bytes += fits as u64;
            lines = &lines[fits..];
            if lines.is_empty() {
                open.used = Instant::now();
                self.open.insert(function.to_owned(), open);
            } else {
                let next = self.begin(function)?;
                self.open.insert(function.to_owned(), next);
            }
        }
        Ok(())
    }

    /// The function's log ends.
    pub(super) fn remove(&mut self, function: &str) {
        self.open.remove(function);
        self.remove_if(function, |_| true);
    }

    /// Removes what is too old.
    pub(super) fn sweep(&mut self) {
        let is_old = |path: &Path| {
            let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
            written.and_then(|written| written.elapsed().ok()).is_some_and(|age| age > self.max_age)
        };
        for name in self.functions() {
            self.remove_if(&name, is_old);
        }
    }

    /// Removes files of one log, and its folder when they were all there was. Whatever else lies in there is not ours.
    fn remove_if(&self, function: &str, goes: impl Fn(&Path) -> bool) {
        let folder = self.folder.join(function);
        let mut removed = false;
        for (_, path) in list(&folder) {
            if goes(&path) {
                removed |= fs::remove_file(path).is_ok();
            }
        }
        if removed {
            // Fails unless it is empty.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Closes what was not written of late.
    pub(super) fn close_idle(&mut self) {
        self.open.retain(|_, open| open.used.elapsed() < Self::IDLE);
    }

    /// The function's newest file, taken out of those that are open.
    fn take_open(&mut self, function: &str) -> io::Result<Open> {
        if let Some(open) = self.open.remove(function) {
            // Somebody may have removed it.
            let is_there = open.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
            if is_there && open.bytes < self.max_bytes && !self.is_old(open.began_ms) {
                return Ok(open);
            }
        }
        while self.open.len() >= MAX_OPEN {
            let longest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(name, _)| name.clone());
            longest.and_then(|name| self.open.remove(&name));
        }
        let newest = list(&self.folder.join(function)).pop();
        if let Some((began_ms, path)) = newest.filter(|(began_ms, _)| !self.is_old(*began_ms)) {
            let mut file = OpenOptions::new().read(true).append(true).open(path)?;
            let mut bytes = file.metadata()?.len();
            if bytes > 0 && bytes < self.max_bytes {
                let mut last = [0];
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                    bytes += 1;
                }
            }
            if bytes < self.max_bytes {
                return Ok(Open { file, bytes, began_ms, used: Instant::now() });
            }
        }
        self.begin(function)
    }

    /// Begins another file; the oldest go.
    fn begin(&mut self, function: &str) -> io::Result<Open> {
        let folder = self.folder.join(function);
        fs::create_dir_all(&folder)?;
        let mut others = list(&folder);
        // Later than the others, even where the clock has gone back.
        let after = others.last().map_or(0, |(began_ms, _)| began_ms + 1);
        let began_ms = now_ms().max(after);
        let file = OpenOptions::new().append(true).create_new(true).open(folder.join(file_name(began_ms)))?;
        let too_many = (others.len() + 1).saturating_sub(OF_ONE as usize);
        for (_, path) in others.drain(..too_many) {
            let _ = fs::remove_file(path);
        }
        Ok(Open { file, bytes: 0, began_ms, used: Instant::now() })
    }

    fn is_old(&self, began_ms: u64) -> bool {
        let age = Duration::from_millis(now_ms().saturating_sub(began_ms));
        age >= self.max_age / OF_ONE
    }

    /// The functions that have a log.
    fn functions(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

/// The files of one log and when each was begun, the oldest first; none where they cannot be listed.
pub(super) fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // Only what is called as ours are: a folder may have other files.
    let began = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let began_ms = name.strip_suffix(SUFFIX)?.parse().ok().filter(|began_ms| *began_ms < u64::MAX)?;
        (name == file_name(began_ms)).then_some(began_ms)
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some((began(&entry.path())?, entry.path()))).collect();
    files.sort_unstable();
    files
}

const SUFFIX: &str = ".jsonl";

fn file_name(began_ms: u64) -> String {
    format!("{began_ms:020}{SUFFIX}")
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// How many of these bytes are whole lines that fit; `one`: the first one fits whatever its length.
fn whole_lines(lines: &[u8], room: usize, one: bool) -> usize {
    let end = |byte: &u8| *byte == b'\n';
    if lines.len() <= room {
        return lines.len();
    }
    match lines[..room].iter().rposition(end) {
        Some(at) => at + 1,
        None if one => lines.iter().position(end).map_or(lines.len(), |at| at + 1),
        None => 0,
    }
}
