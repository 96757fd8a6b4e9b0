use proptest::prelude::*;

use super::*;
use crate::registry::name::VersionName;
use crate::registry::revision::Weights;

fn weights(weights: &[u32]) -> Weights {
    weights.iter().enumerate().map(|(version, &weight)| (format!("v{version}").parse().unwrap(), weight)).collect()
}

fn shares(weights: &Weights) -> Shares<&VersionName> {
    Shares::of(weights.iter().map(|(version, weight)| (version, *weight))).expect("there is a weight")
}

fn keyed(weights: &Weights, key: usize) -> &str {
    by_key(weights, "f", "live", key)
}

fn by_key<'w>(weights: &'w Weights, function: &str, alias: &str, key: usize) -> &'w str {
    shares(weights).by_key(|version| version.as_str(), function, alias, &key.to_le_bytes()).as_str()
}

/// Asserts that each version got its share of so many draws, give or take six standard deviations.
fn shared_out<'w>(shares: &'w Weights, draws: usize, draw: impl Fn(usize) -> &'w str) {
    let mut counts: std::collections::HashMap<&str, usize> = Default::default();
    for number in 0..draws {
        *counts.entry(draw(number)).or_default() += 1;
    }
    let total: u32 = shares.values().sum();
    for (version, &weight) in shares {
        let share = f64::from(weight) / f64::from(total);
        let (expected, deviation) = (draws as f64 * share, (draws as f64 * share * (1.0 - share)).sqrt());
        let count = counts.get(version.as_str()).copied().unwrap_or_default();
        assert!(
            (count as f64 - expected).abs() <= 6.0 * deviation,
            "{version}: {count} of {draws}, weight {weight} of {total}"
        );
    }
}

#[test]
fn weights_decide_by_their_share() {
    let weights = weights(&[1, 0, 3]);
    let shares = shares(&weights);
    let picked: Vec<_> = (0..4).map(|draw| shares.at(draw).as_str()).collect();
    assert_eq!(picked, ["v0", "v2", "v2", "v2"]);
    assert!(Shares::of([("a", 0)]).is_none());
}

#[test]
fn both_ways_are_exact_in_the_long_run() {
    for weighted in [&[90, 10][..], &[1, 1, 1], &[5, 0, 995], &[7], &[u32::MAX - 1, 1], &[1; 100]] {
        let weights = weights(weighted);
        let shares = shares(&weights);
        shared_out(&weights, 20_000, |_| shares.by_chance().as_str());
        shared_out(&weights, 20_000, |key| keyed(&weights, key));
    }
}

#[test]
fn functions_and_aliases_do_not_agree_on_keys() {
    let shares = weights(&[1, 1]);
    let picks = |function: &str, alias: &str| -> Vec<&str> {
        (0..64).map(|key| by_key(&shares, function, alias, key)).collect()
    };
    assert_eq!(picks("f", "live"), picks("f", "live"));
    assert_ne!(picks("f", "live"), picks("g", "live"));
    assert_ne!(picks("f", "live"), picks("f", "test"));
    assert_ne!(picks("fl", "ive"), picks("f", "live"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_key_moves_to_the_version_whose_weight_grew_or_stays(
        mut shares in prop::collection::vec(1..100u32, 1..6), grows in any::<prop::sample::Index>(), by in 1..100u32,
    ) {
        let before = weights(&shares);
        let grows = grows.index(shares.len());
        shares[grows] += by;
        let after = weights(&shares);
        let mut moved = 0;
        for key in 0..500 {
            let (from, to) = (keyed(&before, key), keyed(&after, key));
            if from != to {
                prop_assert_eq!(to, format!("v{grows}"));
                moved += 1;
            }
            prop_assert_eq!(keyed(&after, key), to);
        }
        // No more of them than its share grew by.
        let share = |shares: &Weights| {
            let total: u32 = shares.values().sum();
            f64::from(shares[format!("v{grows}").as_str()]) / f64::from(total)
        };
        let grown = share(&after) - share(&before);
        prop_assert!(f64::from(moved) <= 500.0 * grown + 6.0 * (500.0 * grown).sqrt() + 1.0, "{moved} of 500 for {grown}");
    }

    #[test]
    fn a_key_does_not_heed_the_order_of_the_versions(weighted in prop::collection::vec(1..100u32, 1..6), key in any::<usize>()) {
        let weights = weights(&weighted);
        let turned = Shares::of(weights.iter().rev().map(|(version, weight)| (version, *weight))).unwrap();
        let picked = turned.by_key(|version| version.as_str(), "f", "live", &key.to_le_bytes());
        prop_assert_eq!(keyed(&weights, key), picked.as_str());
    }
}
