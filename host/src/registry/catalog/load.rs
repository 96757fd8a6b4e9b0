//! How a catalog begins, and what it leaves for the next start: a folder is read with a file of this node that saves time, a
//! bucket with a snapshot of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::time::Duration;

use super::super::name::FunctionName;
use super::super::store::{Store, StoreError};
use super::follow::{self, Follow};
use super::rolling::Rolling;
use super::saved::{self, Everything};
use super::shards::Turns;
use super::vanished::Vanished;
use super::{Catalog, Entry, Shared, Snapshot, stored};

/// A stop does not wait longer for a bucket.
const SAVE_TIME: Duration = Duration::from_secs(5);

impl Catalog {
    /// Reads everything that is deployed. A function that cannot be read is kept as [damaged](Self::damaged) and
    /// leaves the others alone.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        match store.folder() {
            Some(_) => Self::of_folder(store, None).await,
            None => Self::of_bucket(store).await,
        }
    }

    /// The same, but of what a file in `cache` knows already only the metadata are read. The file is brought up to date
    /// behind, and by [`save`](Self::save).
    pub async fn load_saved(store: Store, cache: &Path) -> Result<Self, StoreError> {
        match store.folder() {
            Some(_) => Self::of_folder(store, Some(saved::File::new(cache))).await,
            None => Self::of_bucket(store).await,
        }
    }

    async fn of_folder(store: Store, file: Option<saved::File>) -> Result<Self, StoreError> {
        let (first, last) = store.notices_there_are().await?;
        let Everything { functions, damaged, unsaved } = saved::read_all(&store, file.as_ref()).await?;
        let saving = file.clone().zip(unsaved).map(|(file, functions)| {
            let store = store.clone();
            tokio::task::spawn_blocking(move || file.write(&store, &functions))
        });
        let functions = functions.into_iter().map(|function| (function.name().clone(), Entry::of(function)));
        let entries = functions.chain(damaged.into_iter().map(|(name, why)| (name, Entry::Damaged(why))));
        let catalog = Self::showing(store, entries, Follow::from_all(first, last, follow::ALL_EVERY), file);
        *catalog.shared.saving.lock().await = saving;
        Ok(catalog)
    }

    async fn of_bucket(store: Store) -> Result<Self, StoreError> {
        let (entries, follow) = match stored::of(&store).await? {
            Some(stored) => {
                let mut follow = Follow::from(stored.seen, follow::SOON);
                // The notices of these are among those that were seen.
                for name in stored.damaged {
                    follow.expect(name, 1, None);
                }
                (stored.entries, follow)
            }
            None => {
                let (first, last) = store.notices_there_are().await?;
                (Vec::new(), Follow::from_all(first, last, Duration::ZERO))
            }
        };
        let catalog = Self::showing(store, entries, follow, None);
        match catalog.look().await.failure {
            None => Ok(catalog),
            Some(error) => Err(error),
        }
    }

    fn showing(
        store: Store,
        entries: impl IntoIterator<Item = (FunctionName, Entry)>,
        follow: Follow,
        file: Option<saved::File>,
    ) -> Self {
        let (mut snapshot, rolling) = (Snapshot::default(), Rolling::default());
        for (name, entry) in entries {
            rolling.look(&entry);
            snapshot.insert(name, entry);
        }
        let shared = Shared {
            store,
            snapshot: ArcSwap::from_pointee(snapshot),
            turns: Turns::default(),
            rolling,
            vanished: Vanished::default(),
            follow: tokio::sync::Mutex::new(follow),
            file,
            saving: tokio::sync::Mutex::default(),
            unsaved: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Saves what has changed for the next start. Nothing is lost without.
    pub async fn save(&self) {
        if self.shared.store.folder().is_none() {
            let _ = tokio::time::timeout(SAVE_TIME, self.store_snapshot()).await;
            return;
        }
        let shared = Arc::clone(&self.shared);
        let mut saving = shared.saving.lock().await;
        if let Some(earlier) = saving.take() {
            let _ = earlier.await;
        }
        let Some(file) = shared.file.clone() else { return };
        if !shared.unsaved.swap(false, Ordering::Relaxed) {
            return;
        }
        // Read again instead of kept from each deploy: what is saved is what the store has, and deploys do no more for it.
        match saved::read_all(&shared.store, Some(&file)).await {
            Ok(Everything { unsaved: Some(functions), .. }) => {
                let store = shared.store.clone();
                let _ = tokio::task::spawn_blocking(move || file.write(&store, &functions)).await;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "what is deployed cannot be saved; the next start takes longer"),
        }
    }
}
