//! A map from names in shares, of which a change copies one: what a deploy costs does not grow with all that is deployed.

use std::collections::HashMap;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::super::name::FunctionName;

/// With a hundred thousand names, a change copies four hundred.
const SHARDS: usize = 256;

/// An immutable map; the changed one shares with it all that is the same.
#[derive(Debug, Clone)]
pub(super) struct Shards<V> {
    shards: Box<[Arc<HashMap<FunctionName, V>>]>,
}

impl<V: Clone> Shards<V> {
    pub(super) fn get(&self, name: &str) -> Option<(&FunctionName, &V)> {
        self.shards[place(name)].get_key_value(name)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FunctionName, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub(super) fn insert(&mut self, name: FunctionName, value: V) {
        Arc::make_mut(&mut self.shards[place(name.as_str())]).insert(name, value);
    }

    pub(super) fn remove(&mut self, name: &FunctionName) {
        Arc::make_mut(&mut self.shards[place(name.as_str())]).remove(name);
    }
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect() }
    }
}

fn place(name: &str) -> usize {
    let [low, ..] = XxHash3_64::oneshot(name.as_bytes()).to_le_bytes();
    usize::from(low)
}
