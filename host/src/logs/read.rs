//! One reader of a log: the lines that are there, and those that come, a piece at a time.
//!
//! Reads the files themselves, so one that is slow costs no memory; a file that goes meanwhile is read to its end. Ends when it is
//! dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::files;
use super::function::Function;
use super::line;

/// Which lines of a log.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those that came then or later.
    pub since: Option<DateTime<Utc>>,
    /// Those of one version, and those about all.
    pub version: Option<String>,
    /// The last so many of those that are there; where each of them begins is kept in memory.
    pub limit: Option<usize>,
}

/// What is read of a log.
pub struct Reader {
    folder: PathBuf,
    function: Arc<Function>,
    /// The function's changes that it has seen.
    seen: u64,
    since: String,
    version: Option<String>,
    /// The search for the last lines, as long as it goes on.
    last: Option<Last>,
    place: Place,
}

/// Some lines of a log.
#[derive(Debug, Default)]
pub struct Piece {
    /// Those that are wanted; there may be none among those that were read.
    pub lines: Vec<u8>,
    /// Whether all was read that is there.
    pub at_end: bool,
}

/// Where the last so many lines begin.
struct Last {
    limit: usize,
    begins: VecDeque<(u64, u64)>,
}

/// Where in a log: a file, and what was read of it.
#[derive(Default)]
struct Place {
    file: Option<BufReader<File>>,
    began_ms: u64,
    /// Where the line begins that is being read.
    offset: u64,
    line: Vec<u8>,
}

/// A piece of a log has about so many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// So many bytes are read for it, whether their lines are wanted or not: its reader may go meanwhile.
const READ_BYTES: usize = 1 << 20;

/// No line of ours is longer: six bytes for each of its text.
const MAX_LINE_BYTES: u64 = 64 << 10;

impl Reader {
    pub(super) fn new(folder: PathBuf, function: Arc<Function>, wanted: Wanted, max_age: Duration) -> Self {
        let oldest = TimeDelta::from_std(max_age).ok().and_then(|age| Utc::now().checked_sub_signed(age));
        let since = wanted.since.max(oldest).map(line::time).unwrap_or_default();
        let last = wanted.limit.map(|limit| Last { limit, begins: VecDeque::new() });
        Self { folder, function, seen: 0, since, version: wanted.version, last, place: Place::default() }
    }

    /// The next lines. Blocks.
    pub fn piece(&mut self) -> io::Result<Piece> {
        self.seen = self.function.changes();
        let (mut piece, mut read) = (Piece::default(), 0);
        while piece.lines.len() < PIECE_BYTES && read < READ_BYTES {
            if !self.place.next(&self.folder)? {
                piece.at_end = !self.found_last()?;
                break;
            }
            read += self.place.line.len();
            if !self.wants(&self.place.line) {
                continue;
            }
            match &mut self.last {
                None => piece.lines.extend_from_slice(&self.place.line),
                Some(last) => last.add((self.place.began_ms, self.place.offset)),
            }
        }
        Ok(piece)
    }

    /// All was read; if that was the search for the last lines, goes to where they begin.
    fn found_last(&mut self) -> io::Result<bool> {
        let Some(last) = self.last.take() else { return Ok(false) };
        let Some(&(began_ms, offset)) = last.begins.front() else { return Ok(false) };
        self.place = Place::at(&self.folder, began_ms, offset)?;
        Ok(true)
    }

    /// Whether there may be lines that were not there the last time.
    pub fn has_news(&self) -> bool {
        self.function.changes() != self.seen
    }

    /// Whether none will come.
    pub fn has_ended(&self) -> bool {
        self.function.has_ended()
    }

    fn wants(&self, line: &[u8]) -> bool {
        let Some(head) = line::head(line) else { return false };
        let is_of = |wanted: &String| head.version.is_none_or(|version| version == wanted);
        head.time >= self.since.as_str() && self.version.as_ref().is_none_or(is_of)
    }
}

impl Last {
    fn add(&mut self, begin: (u64, u64)) {
        self.begins.push_back(begin);
        if self.begins.len() > self.limit {
            self.begins.pop_front();
        }
    }
}

impl Place {
    /// A place in a file; before the files that follow, where that one is gone.
    fn at(folder: &Path, began_ms: u64, offset: u64) -> io::Result<Self> {
        let mut place = Self { began_ms: began_ms.saturating_sub(1), ..Self::default() };
        if place.follow(folder)? && place.began_ms == began_ms {
            place.skip(offset)?;
        }
        Ok(place)
    }

    /// Reads the next line. False: there is none yet.
    fn next(&mut self, folder: &Path) -> io::Result<bool> {
        loop {
            if self.read()? {
                return Ok(true);
            }
            // Whoever begins a file has finished the one before, so what comes to its end now has ended.
            if files::list(folder).last().is_none_or(|(began_ms, _)| *began_ms <= self.began_ms) {
                return Ok(false);
            }
            if self.read()? {
                return Ok(true);
            }
            if !self.follow(folder)? {
                return Ok(false);
            }
        }
    }

    /// Goes on to the next file.
    fn follow(&mut self, folder: &Path) -> io::Result<bool> {
        let later = files::list(folder).into_iter().filter(|(began_ms, _)| *began_ms > self.began_ms);
        for (began_ms, path) in later {
            match File::open(path) {
                Ok(file) => {
                    *self = Self { file: Some(BufReader::new(file)), began_ms, ..Self::default() };
                    return Ok(true);
                }
                // It was too old, just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(bytes))?;
            self.offset = bytes;
        }
        Ok(())
    }

    /// Reads a line of this file, as far as it is there.
    fn read(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        if self.line.ends_with(b"\n") {
            self.offset += self.line.len() as u64;
            self.line.clear();
        }
        loop {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len() as u64);
            file.take(room).read_until(b'\n', &mut self.line)?;
            if self.line.ends_with(b"\n") {
                return Ok(true);
            }
            if (self.line.len() as u64) < MAX_LINE_BYTES {
                return Ok(false);
            }
            // No line of ours: what follows is the end of it, and none either.
            self.offset += self.line.len() as u64;
            self.line.clear();
        }
    }
}
