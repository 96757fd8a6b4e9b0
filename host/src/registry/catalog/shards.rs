//! A map from names in shares, of which a change copies one: what a deploy costs does not grow with all that is deployed.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;
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

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FunctionName, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub(super) fn insert(&mut self, name: FunctionName, value: V) {
        Arc::make_mut(&mut self.shards[place(name.as_str())]).insert(name, value);
    }
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect() }
    }
}

/// Locks for names in shares: one that is waited for holds up few others.
#[derive(Debug)]
pub(super) struct Turns(Box<[Mutex<()>]>);

impl Turns {
    pub(super) fn of(&self, name: &FunctionName) -> &Mutex<()> {
        &self.0[place(name.as_str())]
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

fn place(name: &str) -> usize {
    let [low, ..] = XxHash3_64::oneshot(name.as_bytes()).to_le_bytes();
    usize::from(low)
}
