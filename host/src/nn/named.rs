//! A version's models by the names that its guests load them by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::Model;

/// Instances are started while the models are still being loaded, so the names come later than the guests.
#[derive(Default)]
pub struct Named {
    models: OnceLock<HashMap<String, Arc<Model>>>,
    asked_early: AtomicBool,
}

impl Named {
    /// The models are loaded; the first call counts.
    pub fn set(&self, models: impl IntoIterator<Item = (String, Arc<Model>)>) {
        let _ = self.models.set(models.into_iter().collect());
    }

    /// Whether a guest asked for a model before they were loaded, as one may that loads them where it is instantiated: it was
    /// told that there is none, and must not serve.
    pub fn asked_early(&self) -> bool {
        self.asked_early.load(Ordering::Acquire)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.all()?.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.all().into_iter().flat_map(HashMap::keys)
    }

    fn all(&self) -> Option<&HashMap<String, Arc<Model>>> {
        let models = self.models.get();
        if models.is_none() {
            self.asked_early.store(true, Ordering::Release);
        }
        models
    }
}
