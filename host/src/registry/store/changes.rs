//! The store's notices: which functions are about to change, in an order that all hosts see alike.
//!
//! ```text
//! changes/<number, 20 digits>.json    whose revision, and which; written create-only before the revision itself
//! ```
//! Numbers follow each other without a gap, so who has seen all up to one asks only for those after it, and who misses one knows.
//! No clock takes part. A notice of a revision that never came says nothing; the revisions alone are the truth.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};

use super::super::name::FunctionName;
use super::create::{Written, create};
use super::{Store, StoreError, failed, number_of, numbered};

/// So many stay when older ones are removed: who has not looked for that many changes compares everything. Few, as a folder is listed
/// whole at every look.
const KEPT: u64 = 500;
/// Read at once.
const READS: usize = 16;
/// Losing so often means that something is wrong.
const MAX_ATTEMPTS: usize = 64;

/// A function is about to get a revision, or has got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub function: FunctionName,
    pub revision: u64,
    /// The revision's own, which tells its writer from others.
    #[serde(default)]
    pub id: Option<String>,
}

/// What was noticed after a number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// With their numbers, which follow each other. What cannot be read is `None`.
    pub notices: Vec<(u64, Option<Notice>)>,
    /// Some in between are gone already.
    pub gap: bool,
}

impl Store {
    /// Says that a revision is about to be written. [`StoreError::Conflict`]: other hosts were quicker each time.
    pub async fn announce(&self, notice: &Notice) -> Result<(), StoreError> {
        let content = Bytes::from(serde_json::to_vec(notice).expect("names and numbers can be written"));
        let _turn = self.announcing.lock().await;
        let mut last = self.last_notice.load(Ordering::Relaxed);
        for _ in 0..MAX_ATTEMPTS {
            // Always looked for: those that this host knows may be removed by now, and a number must not come twice.
            last = self.notice_numbers(last).await?.last().copied().unwrap_or(last);
            let path = path(last + 1);
            if create(&*self.objects, &path, content.clone()).await? == Written::ByUs {
                self.last_notice.fetch_max(last + 1, Ordering::Relaxed);
                return Ok(());
            }
        }
        Err(StoreError::Conflict { function: notice.function.clone(), revision: notice.revision })
    }

    /// The numbers of the first and the last notice there is; zeros if there is none.
    pub async fn notices_there_are(&self) -> Result<(u64, u64), StoreError> {
        let numbers = self.notice_numbers(0).await?;
        let ends = numbers.first().zip(numbers.last());
        Ok(ends.map_or((0, 0), |(first, last)| (*first, *last)))
    }

    /// The notices after number `last`. One small request where there are none.
    pub async fn notices_after(&self, last: u64) -> Result<Noticed, StoreError> {
        let numbers = self.notice_numbers(last).await?;
        let gap = numbers.iter().zip(last + 1..).any(|(number, expected)| *number != expected);
        if let Some(newest) = numbers.last() {
            self.last_notice.fetch_max(*newest, Ordering::Relaxed);
        }
        let reads = numbers.into_iter().map(|number| async move {
            match self.read(&path(number), 1 << 16).await {
                Ok(content) => Ok((number, serde_json::from_slice(&content).ok())),
                Err(error @ StoreError::Unreachable { .. }) => Err(error),
                Err(_) => Ok((number, None)),
            }
        });
        let notices = futures::stream::iter(reads).buffered(READS).try_collect().await?;
        Ok(Noticed { notices, gap })
    }

    /// Removes notices that are covered by what else hosts start from: up to number `covered`, but for the newest.
    pub async fn remove_notices(&self, covered: u64) -> Result<(), StoreError> {
        let numbers = self.notice_numbers(0).await?;
        let newest = numbers.last().copied().unwrap_or_default();
        let old = numbers.into_iter().filter(|number| *number <= covered.min(newest.saturating_sub(KEPT)));
        let paths: Vec<_> = old.map(|number| Ok(path(number))).collect();
        let mut removed = self.objects.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(outcome) = removed.next().await {
            match outcome {
                // Another host removes them as well.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed("remove", &folder())(error)),
            }
        }
        Ok(())
    }

    /// Smallest first.
    async fn notice_numbers(&self, after: u64) -> Result<Vec<u64>, StoreError> {
        let listed = self.objects.list_with_offset(Some(&folder()), &path(after));
        let listed: Vec<_> = listed.try_collect().await.map_err(failed("list", &folder()))?;
        let mut numbers: Vec<u64> = listed.iter().filter_map(|object| number_of(object.location.filename()?)).collect();
        numbers.retain(|number| *number > after);
        numbers.sort_unstable();
        Ok(numbers)
    }
}

fn folder() -> ObjectPath {
    ObjectPath::from("changes")
}

fn path(number: u64) -> ObjectPath {
    ObjectPath::from_iter(["changes", &numbered(number)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_notice_whose_number_is_impossible_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_folder(dir.path()).await.unwrap();
        let notice = |revision| Notice { function: "f".parse().unwrap(), revision, id: None };
        store.announce(&notice(1)).await.unwrap();
        std::fs::write(dir.path().join("changes").join(numbered(u64::MAX)), "{}").unwrap();
        store.announce(&notice(2)).await.expect("the next number is the second");
        let noticed = store.notices_after(0).await.unwrap();
        assert_eq!(noticed, Noticed { notices: vec![(1, Some(notice(1))), (2, Some(notice(2)))], gap: false });
        assert_eq!(store.notices_there_are().await.unwrap(), (1, 2));
    }
}
