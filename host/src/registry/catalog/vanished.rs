//! Versions that are deployed no more, for whoever has something of theirs in memory: told until that is seen to.
//!
//! Found where another state of a function is shown, so whoever shows it first has told it: a change made here may take what another host
//! deleted along, and then no look finds news.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::super::name::FunctionName;
use super::route::Shown;
use super::{Catalog, Entry, Version};

type Waiting = BTreeMap<FunctionName, Vec<Arc<Version>>>;

#[derive(Debug, Default)]
pub(super) struct Vanished {
    /// No function without versions.
    waiting: Mutex<Waiting>,
    noted: Notify,
}

impl Vanished {
    /// Looks at what is shown of a function now, and was before.
    pub(super) fn look(&self, before: Option<&Entry>, now: &Entry) {
        let Some(Entry::Usable(Shown { function, .. })) = before else { return };
        let stays = |version: &Version| match now {
            Entry::Usable(Shown { function, .. }) => {
                function.versions.get(&version.name).is_some_and(|there| there.digest == version.digest)
            }
            Entry::Damaged(_) | Entry::Gone(_) => false,
        };
        let gone: Vec<_> = function.versions.values().filter(|version| !stays(version)).cloned().collect();
        if !gone.is_empty() {
            self.waiting().entry(function.name().clone()).or_default().extend(gone);
            self.noted.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog {
    /// A function of which versions have vanished that nobody has [seen to](Self::seen_to). For one who waits.
    pub async fn next_vanished(&self) -> FunctionName {
        let vanished = &self.shared.vanished;
        loop {
            let next = vanished.waiting().keys().next().cloned();
            match next {
                Some(name) => return name,
                None => vanished.noted.notified().await,
            }
        }
    }

    /// Those versions of a function. One of them may have been deployed again since.
    pub fn vanished(&self, function: &FunctionName) -> Vec<Arc<Version>> {
        self.shared.vanished.waiting().get(function).cloned().unwrap_or_default()
    }

    /// Nothing of these versions is in memory any more. Said when that is so, and not before: of two who are told, each can rely on it
    /// afterwards.
    pub fn seen_to(&self, function: &FunctionName, versions: &[Arc<Version>]) {
        let mut waiting = self.shared.vanished.waiting();
        if let Some(left) = waiting.get_mut(function) {
            left.retain(|version| !versions.iter().any(|seen| Arc::ptr_eq(seen, version)));
            if left.is_empty() {
                waiting.remove(function);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::Note;
    use super::super::tests::{deployed, empty};
    use super::*;

    async fn seen_to(catalog: &Catalog) -> Vec<String> {
        let function = catalog.next_vanished().await;
        let versions = catalog.vanished(&function);
        catalog.seen_to(&function, &versions);
        versions.iter().map(|version| version.label()).collect()
    }

    #[tokio::test]
    async fn what_another_host_deleted_is_told_though_a_change_made_here_showed_it_first() {
        let (_dir, store) = empty().await;
        let one = Catalog::load(store.clone()).await.unwrap();
        deployed(&one, "f", "1").await;
        let other = Catalog::load(store).await.unwrap();
        deployed(&other, "f", "2").await;
        other.delete_version("f", "1", Note::default()).await.unwrap();
        deployed(&one, "f", "3").await;
        assert!(one.look().await.changes.is_empty(), "it is shown already");
        assert_eq!(one.next_vanished().await.as_str(), "f");
        assert_eq!(seen_to(&one).await, ["f@1"], "it is told until it is seen to");
        assert!(one.next_vanished().now_or_never().is_none());
        assert!(other.look().await.failure.is_none());
        assert_eq!(seen_to(&other).await, ["f@1"], "its own deletion");
        other.delete_function("f", Note::default()).await.unwrap();
        assert_eq!(seen_to(&other).await, ["f@2", "f@3"]);
        assert_eq!(one.look().await.changes.len(), 1);
        assert_eq!(seen_to(&one).await, ["f@2", "f@3"], "what a look shows");
    }
}
