//! Waiting for a change of what a build is made from.
//!
//! Folders are watched one by one, those alone that have sources: a build writes thousands of files elsewhere. Ends with its value.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::super::output;
use super::sources::{Seen, Sources};

/// Who saves a file may save more of them: nothing is looked at until it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(50);

/// But where it is never quiet, no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is told of changes.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    /// Those that it was said of that they are not watched.
    skipped: BTreeSet<PathBuf>,
}

/// That there may be something new. However much there is, it is told once.
#[derive(Clone, Default)]
pub(super) struct News(Arc<Notify>);

impl Watch {
    /// Nothing is watched yet.
    pub(super) fn begin(news: &News) -> anyhow::Result<Self> {
        let news = Arc::clone(&news.0);
        let tell = move |event: notify::Result<Event>| {
            // What cannot be told may be anything.
            if event.is_ok_and(|event| is_reading(event.kind)) {
                return;
            }
            news.notify_one();
        };
        let watcher = notify::recommended_watcher(tell).context("the system does not tell of changes")?;
        Ok(Self { watcher, folders: BTreeSet::new(), skipped: BTreeSet::new() })
    }

    /// The sources as they are. From now on changes of them are told.
    pub(super) fn look(&mut self, sources: &Sources, before: &Seen) -> anyhow::Result<Seen> {
        loop {
            let mut folders = BTreeSet::new();
            let seen = sources.look(before, |folder| match self.watch_once(folder, &mut folders) {
                // One that has gone is not there, and where no more can be watched none is.
                Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::QuotaExceeded) => {
                    if self.skipped.insert(folder.to_owned()) {
                        output::note(&format!("{} is not watched: {error}", folder.display()));
                    }
                    Ok(())
                }
                watched => watched,
            })?;
            let earlier = std::mem::replace(&mut self.folders, folders);
            let left: Vec<&PathBuf> = earlier.difference(&self.folders).collect();
            if left.is_empty() {
                return Ok(seen);
            }
            for folder in left {
                // One that is gone is not watched any more.
                let _ = self.watcher.unwatch(folder);
            }
            // Again: to the system, one that was moved is the same by both its names, and has just gone by the new one, too.
        }
    }

    /// Watches a folder, unless it is one of those that are; however it is called.
    fn watch_once(&mut self, folder: &Path, folders: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let folder = std::fs::canonicalize(folder)?;
        if !folders.contains(&folder) {
            // Again, even where it was: it may be another one of that name.
            self.watch(&folder)?;
            folders.insert(folder);
        }
        Ok(())
    }

    fn watch(&mut self, folder: &Path) -> io::Result<()> {
        self.watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| match error.kind {
            notify::ErrorKind::PathNotFound => io::ErrorKind::NotFound.into(),
            notify::ErrorKind::Io(error) => error,
            notify::ErrorKind::MaxFilesWatch => io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the system watches no more folders (on Linux, `fs.inotify.max_user_watches` says how many it does)",
            ),
            _ => io::Error::other(format!("{} cannot be watched: {error}", folder.display())),
        })
    }
}

impl News {
    /// Waits until there may be something new, and has not been any for a moment.
    pub(super) async fn come(&self) {
        self.0.notified().await;
        let quiet = async { while tokio::time::timeout(QUIET, self.0.notified()).await.is_ok() {} };
        let _ = tokio::time::timeout(PATIENCE, quiet).await;
    }
}

/// Builds read all sources, and so do we.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_at_once_are_one() {
        let news = News::default();
        for _ in 0..100 {
            news.0.notify_one();
        }
        news.come().await;
        assert!(tokio::time::timeout(Duration::from_secs(60), news.come()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_stops_is_not_waited_for() {
        let news = News::default();
        let teller = news.clone();
        let restless = tokio::spawn(async move {
            loop {
                teller.0.notify_one();
                tokio::time::sleep(QUIET / 2).await;
            }
        });
        let began = tokio::time::Instant::now();
        news.come().await;
        assert!(began.elapsed() <= PATIENCE + QUIET);
        restless.abort();
    }

    #[tokio::test]
    async fn a_folder_that_is_made_anew_is_watched_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (at, news) = (folder.path(), News::default());
        std::fs::create_dir(at.join("src")).expect("a temporary folder");
        let (mut watch, sources) = (Watch::begin(&news).expect("inotify"), Sources::new(at, []));
        let mut seen = watch.look(&sources, &Seen::new()).expect("readable");
        std::fs::remove_dir(at.join("src")).expect("there");
        std::fs::create_dir(at.join("src")).expect("a temporary folder");
        news.come().await;
        for content in ["one", "another"] {
            seen = watch.look(&sources, &seen).expect("readable");
            std::fs::write(at.join("src/lib.rs"), content).expect("a temporary folder");
            news.come().await;
        }
        let now = watch.look(&sources, &seen).expect("readable");
        assert_eq!(super::super::sources::changed(&seen, &now), [at.join("src/lib.rs")]);
    }

    #[tokio::test]
    async fn a_folder_that_is_moved_is_watched_by_its_new_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (at, news) = (folder.path(), News::default());
        let link = at.join("function/m.onnx");
        for folder in ["function", "old"] {
            std::fs::create_dir(at.join(folder)).expect("a temporary folder");
        }
        std::fs::write(at.join("old/m.onnx"), "one").expect("a temporary folder");
        std::os::unix::fs::symlink("../old/m.onnx", &link).expect("a temporary folder");
        let (mut watch, sources) = (Watch::begin(&news).expect("inotify"), Sources::new(&at.join("function"), []));
        let seen = watch.look(&sources, &Seen::new()).expect("readable");
        std::fs::rename(at.join("old"), at.join("new")).expect("the same folder");
        std::fs::remove_file(&link).expect("there");
        std::os::unix::fs::symlink("../new/m.onnx", &link).expect("a temporary folder");
        news.come().await;
        let seen = watch.look(&sources, &seen).expect("readable");
        // All that was told is of the move.
        while tokio::time::timeout(QUIET, news.0.notified()).await.is_ok() {}
        std::fs::write(at.join("new/m.onnx"), "another").expect("a temporary folder");
        tokio::time::timeout(Duration::from_secs(30), news.come()).await.expect("it is told");
        let now = watch.look(&sources, &seen).expect("readable");
        assert_eq!(super::super::sources::changed(&seen, &now), [link]);
    }
}
