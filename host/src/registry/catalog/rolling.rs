//! Functions of which a rollout may have begun, for whoever carries rollouts on: told once each, however often they change meanwhile.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::super::name::FunctionName;
use super::route::Shown;
use super::{Catalog, Entry};

#[derive(Debug, Default)]
pub(super) struct Rolling {
    /// At most as many as there are functions.
    begun: Mutex<BTreeSet<FunctionName>>,
    noted: Notify,
}

impl Rolling {
    /// Looks at what is shown of a function.
    pub(super) fn look(&self, entry: &Entry) {
        let Entry::Usable(Shown { function, .. }) = entry else { return };
        let revision = &function.revision;
        if revision.is_rolling() {
            self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(revision.function.clone());
            self.noted.notify_one();
        }
    }

    /// The next one. For one who waits.
    pub(super) async fn next(&self) -> FunctionName {
        loop {
            let next = self.begun.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match next {
                Some(name) => return name,
                None => self.noted.notified().await,
            }
        }
    }
}

impl Catalog {
    /// The next function of which a rollout may have begun. For one who waits.
    pub async fn next_rolling(&self) -> FunctionName {
        self.shared.rolling.next().await
    }
}
