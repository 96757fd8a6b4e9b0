//! What functions print, and what was asked of them: a log for each function, in files of this node, and who reads it.
//!
//! ```text
//! Log (a version's pen) ──▶ Function (lines that wait, within a budget) ──▶ Queue ──▶ Writer (one thread) ──▶ Files ──▶ Reader
//! ```
//!
//! Whoever writes a line waits for nothing and for nobody but writers of the same function: lines wait in memory, few of each
//! function and few of all, and one thread takes them to the disk. What has no room is counted, and the log says how much is missing;
//! a disk that fails costs lines and one warning. A function's log ends with the function; its files go by size and by age. When the
//! host stops, what waits is written. Knows nothing of guests, HTTP or the catalog.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::oneshot;

mod budget;
mod files;
mod function;
mod line;
mod place;
mod queue;
mod read;
mod writer;

pub use function::Log;
pub use line::{Line, Stream, plain};
pub use read::{Piece, Reader, Wanted};

use files::Files;
use function::Function;
use place::Place;
use queue::{Job, Queue};
use writer::Writer;

/// The `[logs]` part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node's folder for them; empty: `logs` inside `cache_dir`.
    pub dir: PathBuf,
    /// Bytes that each function's files may take.
    pub max_bytes: u64,
    /// How long lines are kept.
    pub max_age: Duration,
    /// Whether requests are lines too.
    pub requests: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { dir: PathBuf::new(), max_bytes: 8 << 20, max_age: Duration::from_secs(7 * 24 * 3600), requests: false }
    }
}

/// The logs of all functions.
pub struct Logs {
    place: Place,
    max_age: Duration,
    requests: bool,
    /// Those that were written or read since the host started, until they are deleted.
    functions: DashMap<String, Arc<Function>>,
    queue: Arc<Queue>,
    /// Told when the writer has ended.
    written: Mutex<Option<oneshot::Receiver<()>>>,
}

/// How long a host that stops waits for a disk.
const LAST_WRITE: Duration = Duration::from_secs(5);

impl Logs {
    /// Logs in `folder`, or in one inside it where another host has its own there. What is there already stays until it is too old.
    pub fn open(folder: &Path, config: &Config) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let place = Place::claim(folder);
        let files = Files::new(place.folder().to_owned(), config.max_bytes, config.max_age);
        let (ended, written) = oneshot::channel();
        Writer::new(Arc::clone(&queue), files).spawn(ended)?;
        let (max_age, requests) = (config.max_age, config.requests);
        Ok(Self { place, max_age, requests, functions: DashMap::new(), queue, written: Mutex::new(Some(written)) })
    }

    /// What a version writes with.
    pub fn of(&self, function: &str, version: &str) -> Log {
        Log::new(self.function(function), version, &self.queue)
    }

    /// The same for its requests, if they are written.
    pub fn of_requests(&self, function: &str, version: &str) -> Option<Log> {
        self.requests.then(|| self.of(function, version))
    }

    /// A function is deployed no more: its log ends.
    pub fn forget(&self, function: &str) {
        if let Some((_, known)) = self.functions.remove(function) {
            known.end();
        }
        self.queue.push(Job::Remove(function.to_owned()));
    }

    /// A function's lines, as they are and as they come.
    pub fn read(&self, function: &str, wanted: Wanted) -> Reader {
        Reader::new(self.place.folder().join(function), self.function(function), wanted, self.max_age)
    }

    /// Writes what waits. Nothing is written after it.
    pub async fn close(&self) {
        self.queue.stop();
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(written) = written else { return };
        if tokio::time::timeout(LAST_WRITE, written).await.is_err() {
            tracing::warn!("the disk does not take what functions have printed last; it is lost");
        }
    }

    fn function(&self, name: &str) -> Arc<Function> {
        let known = self.functions.get(name).map(|function| Arc::clone(&function));
        known.unwrap_or_else(|| {
            let new = || Arc::new(Function::new(name));
            Arc::clone(&self.functions.entry(name.to_owned()).or_insert_with(new))
        })
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

#[cfg(test)]
mod tests;
