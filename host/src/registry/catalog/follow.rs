//! What other hosts change in the store, noticed here.
//!
//! Every look asks for the notices since the last one, which is one small request where there are none, and reads the functions
//! that they name. A notice comes before its revision, so one whose revision is not there yet is kept for a while. Now and then
//! the names of all revisions are compared with what is shown, which finds what no notice told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use tokio::time::{Duration, Instant};

use super::super::name::FunctionName;
use super::super::store::StoreError;
use super::route::Shown;
use super::{Catalog, Entry, Function, Shared, read, stored};

/// A writer has given up by then.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often everything is compared, at most; where that takes long, a twentieth of the time is spent on it.
pub(super) const ALL_EVERY: Duration = Duration::from_secs(300);
/// A start from a snapshot is compared soon.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// Of a start that knows nothing: writers may be about to write what the last of the notices say.
const LOOK_BACK: u64 = 256;
/// After so many changes the snapshot is written; after fewer, when everything is compared.
const MANY_CHANGES: u64 = 256;
/// A snapshot that could not be written is not tried again sooner: it may take long, and notices wait for it.
const TIDY_AGAIN: Duration = Duration::from_secs(60);
/// Functions read at once.
const READS: usize = 32;

/// What a look at the store has shown.
#[derive(Debug, Default)]
pub struct Look {
    /// Functions that another host has changed: they are shown as they are there now.
    pub changes: Vec<FunctionName>,
    /// Something could not be read, so there may be more; what is shown stays.
    pub failure: Option<StoreError>,
}

/// How far a host has followed.
#[derive(Debug)]
pub(super) struct Follow {
    /// The last notice that was seen.
    seen: u64,
    /// Functions that are to be at a revision, or will be.
    expected: BTreeMap<FunctionName, Expected>,
    compare_at: Instant,
    tidy_at: Instant,
    /// What the store's snapshot covers, as far as this host knows; `None`: it lacks something.
    stored: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Expected {
    revision: u64,
    /// The first notice that said so; `None`: the names of revisions did.
    notice: Option<u64>,
    since: Instant,
}

/// What came of reading a function.
enum Outcome {
    /// As of this revision.
    Shown(u64),
    /// It is shown already.
    Nothing,
    NotYet,
    /// Somebody changes it here, or another one whose turns are the same: nothing was read.
    Busy,
}

impl Follow {
    /// After notice `seen`; everything is compared `after` that.
    pub(super) fn from(seen: u64, after: Duration) -> Self {
        let now = Instant::now();
        Self { seen, expected: BTreeMap::new(), compare_at: now + after, tidy_at: now, stored: Some(seen) }
    }

    /// Of all there is, when nothing has been read yet: before it is.
    pub(super) fn from_all(first: u64, last: u64, after: Duration) -> Self {
        let seen = last.saturating_sub(LOOK_BACK).max(first.saturating_sub(1));
        Self { stored: None, ..Self::from(seen, after) }
    }

    pub(super) fn expect(&mut self, function: FunctionName, revision: u64, notice: Option<u64>) {
        let new = Expected { revision, notice, since: Instant::now() };
        let expected = self.expected.entry(function).or_insert(new);
        if revision > expected.revision {
            *expected = Expected { notice: expected.notice, ..new };
        }
    }

    /// All up to this notice is shown; `None`: something is not that no notice told.
    fn covered(&self) -> Option<u64> {
        let waiting = self.expected.values().map(|expected| expected.notice);
        let mut covered = waiting.map(|notice| Some(notice?.saturating_sub(1).min(self.seen)));
        covered.try_fold(self.seen, |all, one| Some(all.min(one?)))
    }
}

impl Catalog {
    /// Shows what other hosts have changed since the last look.
    pub async fn look(&self) -> Look {
        let mut follow = self.shared.follow.lock().await;
        let mut changes = Vec::new();
        let failure = self.shared.look(&mut follow, &mut changes).await.err();
        Look { changes, failure }
    }

    /// Writes the store's snapshot if there is news.
    pub(super) async fn store_snapshot(&self) {
        self.look().await;
        self.shared.tidy(&mut *self.shared.follow.lock().await).await;
    }
}

impl Shared {
    async fn look(&self, follow: &mut Follow, changes: &mut Vec<FunctionName>) -> Result<(), StoreError> {
        let noticed = self.store.notices_after(follow.seen).await?;
        let mut compare = noticed.gap || follow.compare_at <= Instant::now();
        for (number, notice) in noticed.notices {
            match notice {
                Some(notice) if !self.shows(&notice.function, notice.revision) => {
                    follow.expect(notice.function, notice.revision, Some(number));
                }
                Some(_) => {}
                None => compare = true,
            }
            follow.seen = number;
        }
        // First what was told: to compare may take long.
        let mut read = self.read_expected(follow, changes).await;
        if compare {
            self.compare(follow, changes).await?;
            read = self.read_expected(follow, changes).await;
        }
        read?;
        let many = |stored| follow.covered().is_some_and(|covered| covered >= stored + MANY_CHANGES);
        if (compare || follow.stored.is_none_or(many)) && follow.tidy_at <= Instant::now() {
            self.tidy(follow).await;
        }
        Ok(())
    }

    /// Expects what the names of revisions say, and shows no more what is not there.
    async fn compare(&self, follow: &mut Follow, changes: &mut Vec<FunctionName>) -> Result<(), StoreError> {
        let began = Instant::now();
        // Until it has succeeded.
        follow.compare_at = began;
        // What is shown before the names are read must be among them, as revisions are not removed, but by hand.
        let shown = self.snapshot.load_full();
        let newest = self.store.newest().await?;
        for (name, entry) in shown.iter() {
            let there = newest.get(name).copied().unwrap_or_default();
            let turn = self.turns.of(name).try_lock();
            if let (Entry::Usable(Shown { function, .. }), Ok(_turn)) = (entry, turn)
                && there < function.revision.revision
                && self.usable(name).is_some_and(|now| Arc::ptr_eq(&now, function))
            {
                tracing::warn!(function = %name, "its newest revision is gone from the store");
                self.show(name, &Entry::Gone(0));
                follow.stored = None;
                changes.push(name.clone());
            }
        }
        for (function, revision) in newest {
            if !self.shows(&function, revision) && !follow.expected.contains_key(&function) {
                follow.expect(function, revision, None);
                follow.stored = None;
            }
        }
        follow.compare_at = began + ALL_EVERY.max(began.elapsed() * 20);
        Ok(())
    }

    async fn read_expected(&self, follow: &mut Follow, changes: &mut Vec<FunctionName>) -> Result<(), StoreError> {
        let expected: Vec<_> = follow.expected.iter().map(|(name, expected)| (name.clone(), *expected)).collect();
        let reads = expected.into_iter().map(|(name, expected)| async move {
            let outcome = self.read_again(&name, expected.revision).await;
            (name, expected, outcome)
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS);
        let mut all = Ok(());
        while let Some((name, expected, outcome)) = reads.next().await {
            match outcome {
                Ok(Outcome::Shown(revision)) => {
                    // A later one may be about to come.
                    if revision >= expected.revision || expected.since.elapsed() >= PATIENCE {
                        follow.expected.remove(&name);
                    }
                    changes.push(name);
                }
                // However long it takes, whether it is there is not known.
                Ok(Outcome::Busy) => {}
                Ok(Outcome::NotYet) if expected.since.elapsed() < PATIENCE => {}
                Ok(Outcome::NotYet | Outcome::Nothing) => drop(follow.expected.remove(&name)),
                Err(error) => all = Err(error),
            }
        }
        all
    }

    /// Shows a function as it is in the store, if there is something newer than what is shown: also where it is not yet at the
    /// revision that is expected, which may never come.
    async fn read_again(&self, name: &FunctionName, expected: u64) -> Result<Outcome, StoreError> {
        // Not waited for: the others that are expected would wait too.
        let Ok(_turn) = self.turns.of(name).try_lock() else { return Ok(Outcome::Busy) };
        if self.shows(name, expected) {
            return Ok(Outcome::Nothing);
        }
        let from = match self.snapshot.load().get(name.as_str()) {
            Some((_, Entry::Usable(Shown { function, .. }))) => function.revision.revision + 1,
            Some((_, Entry::Gone(last))) => last + 1,
            // Whatever there is would be found damaged again.
            Some((_, Entry::Damaged(_))) => expected,
            None => 1,
        };
        let Some(newest) = self.store.newest_from(name, from).await? else { return Ok(Outcome::NotYet) };
        let before = self.usable(name);
        let function = match self.store.revision(name, newest).await {
            Ok(revision) => read::with_manifests(&self.store, revision, before.as_ref()).await,
            Err(error) => Err(error),
        };
        let entry = match function {
            Ok(function) => Entry::of(Arc::new(function)),
            // So it is for everybody.
            Err(
                error @ (StoreError::Damaged { .. }
                | StoreError::Newer { .. }
                | StoreError::Missing { .. }
                | StoreError::TooLarge { .. }),
            ) => {
                tracing::error!(function = %name, %error, "cannot be used");
                Entry::Damaged(error.to_string())
            }
            // Another try may succeed; until then what is shown is good.
            Err(error) => return Err(error),
        };
        self.show(name, &entry);
        self.unsaved.store(true, Ordering::Relaxed);
        Ok(Outcome::Shown(newest))
    }

    fn usable(&self, name: &FunctionName) -> Option<Arc<Function>> {
        match self.snapshot.load().get(name.as_str()) {
            Some((_, Entry::Usable(Shown { function, .. }))) => Some(Arc::clone(function)),
            _ => None,
        }
    }

    /// Whether the function is shown at a revision or at a later one.
    fn shows(&self, name: &FunctionName, revision: u64) -> bool {
        match self.snapshot.load().get(name.as_str()) {
            Some((_, Entry::Usable(Shown { function, .. }))) => function.revision.revision >= revision,
            Some((_, Entry::Gone(last))) => *last >= revision,
            Some((_, Entry::Damaged(_))) | None => false,
        }
    }

    /// Writes down for other hosts' starts what is shown here, and removes the notices that nobody needs then.
    async fn tidy(&self, follow: &mut Follow) {
        let Some(covered) = follow.covered() else { return };
        let news = follow.stored.is_none_or(|stored| covered > stored);
        let written = async {
            if self.store.folder().is_none() && news {
                stored::write(&self.store, covered, self.snapshot.load_full()).await?;
            }
            self.store.remove_notices(covered).await
        };
        match written.await {
            Ok(()) => follow.stored = Some(covered),
            Err(error) => {
                follow.tidy_at = Instant::now() + TIDY_AGAIN;
                tracing::warn!(%error, "the store's snapshot is not written; starts take longer");
            }
        }
    }
}

#[cfg(test)]
mod tests;
