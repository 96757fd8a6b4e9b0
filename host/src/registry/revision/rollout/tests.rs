use proptest::prelude::*;

use super::super::Shadowing;
use super::super::tests::{now, record};
use super::*;

/// Versions 1, 2 and 3, `live` at 1.
fn three() -> Revision {
    let empty = Revision::before_first("f".parse().unwrap(), now());
    [("1", Some("live")), ("2", None), ("3", None)].into_iter().fold(empty, |revision, (version, alias)| {
        let record = record(version, FunctionKind::Http);
        let (version, alias) = (version.parse().unwrap(), alias.map(|alias| alias.parse().unwrap()));
        revision.with_deploy(&version, &record, alias.as_ref(), now()).unwrap().expect("it is new")
    })
}

fn plan(steps: &[u32]) -> Plan {
    Plan { steps: steps.to_vec(), every_ms: 1000, min_requests: 1, max_error_ppm: 10_000, max_p99_permille: None }
}

fn begun(revision: &Revision, steps: &[u32]) -> Revision {
    revision.with_rollout(&AliasName::live(), "2", &plan(steps), now()).unwrap()
}

fn at(revision: &Revision) -> AtStep {
    let rollout = &revision.rollouts["live"];
    AtStep { alias: AliasName::live(), from_revision: rollout.from_revision, step: rollout.step }
}

fn weights<const N: usize>(shares: [(&str, u32); N]) -> Weights {
    shares.map(|(version, weight)| (version.parse().unwrap(), weight)).into()
}

#[test]
fn requests_move_step_by_step() {
    let first = begun(&three(), &[5, 25, 100]);
    assert_eq!((&first.aliases["live"], first.revision), (&weights([("1", 95), ("2", 5)]), 4));
    assert_eq!(first.check(), Ok(()));
    let second = first.stepped(&at(&first), now()).unwrap().expect("it is there");
    assert_eq!(second.aliases["live"], weights([("1", 75), ("2", 25)]));
    let expected =
        Action::RolloutStep { alias: AliasName::live(), version: "2".parse().unwrap(), percent: 25, from: 3 };
    assert_eq!(second.action, expected);
    assert_eq!(second.stepped(&at(&first), now()), Ok(None), "somebody was quicker");
    assert_eq!(second.taken_back(&at(&first), "late", now()), None);
    let done = second.stepped(&at(&second), now()).unwrap().expect("it is there");
    assert_eq!((&done.aliases["live"], &done.rollouts["live"].state), (&weights([("2", 100)]), &RolloutState::Done));
    assert_eq!(done.stepped(&at(&done), now()), Ok(None), "there is no more");
    assert_eq!(serde_json::from_str::<Revision>(&serde_json::to_string(&done).unwrap()).unwrap(), done);
    assert_eq!(done.without_version("1", now()).unwrap().check(), Ok(()), "nothing is done with it any more");
}

#[test]
fn what_does_badly_goes_back() {
    let first = begun(&three(), &[5, 100]);
    let back = first.taken_back(&at(&first), "it fails", now()).expect("it is there");
    assert_eq!(back.aliases, three().aliases);
    let (state, to) = (&back.rollouts["live"].state, three().revision);
    assert_eq!(state, &RolloutState::Back { why: "it fails".into() });
    assert_eq!(back.action, Action::RolloutBack { alias: AliasName::live(), version: "2".parse().unwrap(), to });
    assert_eq!(back.taken_back(&at(&back), "again", now()), None);
    let error = back.without_rollout(&AliasName::live(), "", now()).expect_err("it has ended").to_string();
    assert_eq!(error, "no rollout of alias 'live' of function 'f' is going on");
    let ended = first.without_rollout(&AliasName::live(), "enough", now()).unwrap();
    assert_eq!((&ended.aliases, ended.check()), (&three().aliases, Ok(())));
}

#[test]
fn a_rollback_undoes_it_and_leaves_other_aliases_alone() {
    let first = begun(&three(), &[5, 100]);
    let test = BTreeMap::from([("3".to_owned(), 1)]);
    let first = first.with_traffic(&"test".parse().unwrap(), &test, None, now()).unwrap().expect("it is new");
    assert_eq!((&first.settled().aliases["live"], first.is_rolling()), (&three().aliases["live"], true));
    let back = first.rolled_back(&first, now()).unwrap();
    assert_eq!((&back.aliases["live"], back.aliases.len()), (&three().aliases["live"], 2));
    assert!(back.rollouts.is_empty() && back.check().is_ok(), "{back:?}");
    // When another alias goes back, one that is done is still seen.
    let done = begun(&three(), &[100]);
    assert_eq!(done.settled(), done);
    let with_test = done.with_traffic(&"test".parse().unwrap(), &test, None, now()).unwrap().expect("it is new");
    let back = with_test.rolled_back(&done, now()).unwrap();
    assert_eq!((&back.aliases, &back.rollouts), (&done.aliases, &done.rollouts));
    assert!(with_test.rolled_back(&three(), now()).unwrap().rollouts.is_empty());
}

#[test]
fn whatever_else_points_the_alias_ends_it() {
    let first = begun(&three(), &[5, 100]);
    let live = AliasName::live();
    let same = BTreeMap::from([("1".to_owned(), 95), ("2".to_owned(), 5)]);
    let by_hand = first.with_traffic(&live, &same, None, now()).unwrap().expect("it does not go on");
    let other = first.with_traffic(&"test".parse().unwrap(), &same, None, now()).unwrap().unwrap();
    assert!(by_hand.rollouts.is_empty() && other.rollouts["live"].is_running());
    for ended in [
        first.rolled_back(&three(), now()).unwrap(),
        first.restored(&three(), now()).unwrap().unwrap(),
        first.without_anything(now()).unwrap(),
    ] {
        assert!(ended.rollouts.is_empty(), "{ended:?}");
    }
    let back_to_it = by_hand.restored(&first, now()).unwrap();
    assert!(back_to_it.is_none_or(|back| back.rollouts.is_empty()), "what has ended is not begun again");
    assert!(first.without_version("1", now()).is_err() && first.without_version("2", now()).is_err());
    for version in ["2", "3"] {
        let error = first.with_rollout(&live, version, &plan(&[50, 100]), now()).expect_err("one goes on");
        assert!(error.to_string().contains("to version '2' goes on already; end it first"), "{error}");
    }
}

#[test]
fn a_version_of_another_kind_is_refused() {
    let mut other = three();
    other.versions.get_mut("2").expect("it is there").kind = FunctionKind::Typed;
    let error = other.with_rollout(&AliasName::live(), "2", &plan(&[5, 100]), now()).expect_err("it is of tensors");
    assert!(error.to_string().contains("raw HTTP"), "{error}");
}

#[test]
fn the_way_back_brings_the_shadow_back() {
    let mut shadowed = three();
    shadowed.versions.values_mut().for_each(|record| record.kind = FunctionKind::Typed);
    let (live, asked) = (AliasName::live(), Shadowing { version: "3".into(), percent: 50 });
    let only = BTreeMap::from([("1".to_owned(), 100)]);
    let shadowed = shadowed.with_traffic(&live, &only, Some(&asked), now()).unwrap().expect("it has none yet");
    let first = begun(&shadowed, &[5, 100]);
    assert!(first.shadows.is_empty());
    let back = first.taken_back(&at(&first), "it fails", now()).expect("it is there");
    assert_eq!((&back.shadows, back.check()), (&shadowed.shadows, Ok(())));
    let without = first.without_version("3", now()).expect("nobody refers to it");
    let back = without.without_rollout(&live, "enough", now()).unwrap();
    assert_eq!((back.shadows.len(), back.check()), (0, Ok(())));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let refused = |alias: &str, version: &str, plan: Plan| {
        let error = three().with_rollout(&alias.parse().unwrap(), version, &plan, now());
        error.expect_err("it must be refused").to_string()
    };
    for steps in [&[][..], &[0, 100], &[5, 5, 100], &[25, 5, 100], &[5, 101], &[1; 101]] {
        assert!(
            refused("live", "2", plan(steps)).contains("percents that rise, such as 5,25,100") || steps == [5, 101]
        );
    }
    for steps in [&[5][..], &[5, 101]] {
        assert!(refused("live", "2", plan(steps)).contains("the last step must be 100"));
    }
    let good = plan(&[5, 100]);
    let cases = [
        (Plan { every_ms: 0, ..good.clone() }, "every must be longer than 0"),
        (Plan { every_ms: u64::MAX, ..good.clone() }, "at most 2400h"),
        (Plan { min_requests: 0, ..good.clone() }, "min_requests must be 1"),
        (Plan { max_error_ppm: 1_000_001, ..good.clone() }, "max_error_rate must be 0 to 1"),
        (Plan { max_p99_permille: Some(999), ..good.clone() }, "max_p99 must be at least 1"),
    ];
    for (plan, part) in cases {
        let error = refused("live", "2", plan);
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(refused("live", "9", good.clone()).contains("has versions 1, 2, 3"));
    assert!(refused("test", "2", good.clone()).contains("has no alias 'test'; it has live"));
    assert!(refused("live", "1", good).contains("all its requests go to version '1' already"));
}

proptest! {
    #[test]
    fn shares_are_exact(
        from in prop::collection::btree_map("[1-5]", 1..100_000u32, 1..5),
        percent in 1..100u32,
    ) {
        let from: Weights = from.into_iter().map(|(version, weight)| (version.parse().unwrap(), weight)).collect();
        let version: VersionName = "1".parse().unwrap();
        let others: u64 = from.iter().filter(|(other, _)| **other != version).map(|(_, &weight)| u64::from(weight)).sum();
        prop_assume!(others > 0);
        if let Ok(shared) = shares(&from, &version, percent) {
            let total: u64 = shared.values().copied().map(u64::from).sum();
            prop_assert_eq!(u64::from(shared[&version]) * 100, total * u64::from(percent));
            for (other, &weight) in from.iter().filter(|(other, _)| **other != version) {
                let rest = total * u64::from(100 - percent) * u64::from(weight);
                prop_assert_eq!(u64::from(shared[other]) * others * 100, rest);
            }
        }
        prop_assert_eq!(shares(&from, &version, 100), Ok(Weights::from([(version, 100)])));
    }
}
