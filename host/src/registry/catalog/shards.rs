//! A map from names in shares, of which a change copies one: what a deploy costs does not grow with all that is deployed.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tokio::sync::Mutex;
use twox_hash::XxHash3_64;

use super::super::name::FunctionName;

/// With a hundred thousand names, a change copies four hundred.
const SHARDS: usize = 256;

type Shard<V> = HashTable<(FunctionName, V)>;

/// An immutable map; the changed one shares with it all that is the same.
#[derive(Debug, Clone)]
pub(super) struct Shards<V> {
    shards: Box<[Arc<Shard<V>>]>,
    /// Who does not know it cannot choose names that have the same hash.
    seed: u64,
}

impl<V: Clone> Shards<V> {
    pub(super) fn get(&self, name: &str) -> Option<(&FunctionName, &V)> {
        let hash = hash(self.seed, name);
        let found = self.shards[place(hash)].find(hash, |(known, _)| known.as_str() == name);
        found.map(|(known, value)| (known, value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FunctionName, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn insert(&mut self, name: FunctionName, value: V) {
        let (seed, hashed) = (self.seed, hash(self.seed, name.as_str()));
        let shard = Arc::make_mut(&mut self.shards[place(hashed)]);
        match shard.entry(hashed, |(known, _)| *known == name, |(known, _)| hash(seed, known.as_str())) {
            Entry::Occupied(mut known) => known.get_mut().1 = value,
            Entry::Vacant(vacant) => drop(vacant.insert((name, value))),
        }
    }
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect(), seed: rand::random() }
    }
}

/// Locks for names in shares: one that is waited for holds up few others.
#[derive(Debug)]
pub(super) struct Turns(Box<[Mutex<()>]>);

impl Turns {
    pub(super) fn of(&self, name: &FunctionName) -> &Mutex<()> {
        &self.0[place(hash(0, name.as_str()))]
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

fn hash(seed: u64, name: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, name.as_bytes())
}

/// By bits that tables make no use of.
fn place(hash: u64) -> usize {
    let [.., place, _] = hash.to_le_bytes();
    usize::from(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_names_are_found_replaced_and_shared_with_what_was_before() {
        let names: Vec<FunctionName> = (0..5000).map(|number| format!("f{number}").parse().unwrap()).collect();
        let mut shards = Shards::default();
        for (number, name) in names.iter().enumerate() {
            shards.insert(name.clone(), number);
        }
        let before = shards.clone();
        for (number, name) in names.iter().enumerate() {
            assert_eq!(shards.get(name.as_str()), Some((name, &number)));
            shards.insert(name.clone(), number + 1);
        }
        shards.insert("more".parse().unwrap(), 0);
        assert_eq!((before.iter().count(), shards.iter().count()), (5000, 5001));
        for (number, name) in names.iter().enumerate() {
            assert_eq!(before.get(name.as_str()), Some((name, &number)));
            assert_eq!(shards.get(name.as_str()), Some((name, &(number + 1))));
        }
        assert_eq!(before.get("more"), None);
    }
}
