use proptest::prelude::*;

use super::*;
use crate::telemetry::latencies::Latencies;

fn plan() -> Plan {
    Plan { steps: vec![5, 100], every_ms: 1000, min_requests: 20, max_error_ppm: 10_000, max_p99_permille: Some(1500) }
}

/// So many answers of a millisecond, so many slow ones, and so many failures.
fn served(quick: u64, slow: u64, failed: u64) -> Served {
    let latencies = Latencies::default();
    (0..quick).for_each(|_| latencies.add(Duration::from_millis(1)));
    (0..slow).for_each(|_| latencies.add(Duration::from_millis(3)));
    Served { answered: quick + slow, failed, abandoned: 0, took: latencies.spread() }
}

fn verdict(new: (u64, u64, u64), others: (u64, u64, u64)) -> Verdict {
    judge(&served(new.0, new.1, new.2), &served(others.0, others.1, others.2), &plan())
}

#[track_caller]
fn goes_back(new: (u64, u64, u64), others: (u64, u64, u64), part: &str) {
    let verdict = verdict(new, others);
    assert!(matches!(&verdict, Verdict::Back(why) if why.contains(part)), "{part}: {verdict:?}");
}

#[test]
fn what_does_well_goes_on_when_it_has_answered_enough() {
    assert_eq!(verdict((19, 0, 0), (1000, 0, 0)), Verdict::Wait);
    assert_eq!(verdict((20, 0, 0), (1000, 0, 0)), Verdict::Go);
    assert_eq!(verdict((20, 0, 0), (0, 0, 0)), Verdict::Go, "nobody else is asked");
    assert_eq!(verdict((1000, 0, 10), (1000, 0, 0)), Verdict::Go, "so many are allowed");
    assert_eq!(verdict((50, 0, 50), (500, 0, 500)), Verdict::Go, "the others do no better");
    assert_eq!(verdict((1000, 10, 0), (1000, 0, 0)), Verdict::Go, "a hundredth may be slow");
    assert_eq!(verdict((0, 1000, 0), (0, 1000, 0)), Verdict::Go, "the others are as slow");
}

#[test]
fn one_unlucky_request_sends_nothing_back() {
    for new in [(0, 0, 1), (19, 0, 1), (0, 1, 0), (20, 1, 0), (0, 0, 2), (20, 2, 0)] {
        assert_eq!(verdict(new, (30, 0, 0)), Verdict::Wait, "{new:?}");
    }
    assert_eq!(verdict((0, 0, 5), (0, 0, 0)), Verdict::Wait, "what would the others do?");
    assert_eq!(verdict((0, 50, 0), (19, 0, 0)), Verdict::Go, "too little is known of their times");
}

#[test]
fn what_does_badly_goes_back() {
    goes_back((0, 0, 3), (100, 0, 0), "3 of 3 requests failed, 1% are allowed, and 0 of the others' 100 failed");
    goes_back((0, 0, 10), (0, 0, 0), "10 of 10 requests failed");
    goes_back((980, 0, 40), (1000, 0, 0), "40 of 1020");
    goes_back((40, 5, 0), (30, 0, 0), "its p99 is 3.071ms and the others' 1.023ms, of which 1.5x is allowed");
    let many = |failed| Served { answered: 10_000_000, failed, ..Served::default() };
    assert!(matches!(judge(&many(200_000), &many(0), &plan()), Verdict::Back(_)));
    assert_eq!(judge(&many(101_000), &many(0), &plan()), Verdict::Go, "one in a hundred");
}

#[test]
fn callers_that_go_count_where_the_others_have_stayed() {
    let of = |answered, abandoned| Served { abandoned, ..served(answered, 0, 0) };
    let verdict = |new: (u64, u64), others: (u64, u64)| judge(&of(new.0, new.1), &of(others.0, others.1), &plan());
    let went = verdict((20, 381), (991, 0));
    let why = "381 of 401 callers went before their answer had come, and 0 of the others' 991";
    assert_eq!(went, Verdict::Back(why.into()));
    assert!(matches!(verdict((0, 20), (100, 0)), Verdict::Back(_)), "it answers nobody");
    assert_eq!(verdict((0, 10), (100, 0)), Verdict::Wait, "of those it has, none is answered");
    assert_eq!(verdict((20, 9), (1000, 0)), Verdict::Go, "one who has lost patience");
    assert_eq!(verdict((180, 20), (1000, 60)), Verdict::Wait, "it may be chance");
    assert_eq!(verdict((80, 20), (800, 190)), Verdict::Go, "they always do");
    assert_eq!(verdict((80, 20), (10, 0)), Verdict::Go, "nobody knows what is usual");
}

#[test]
fn tails_are_those_of_the_binomial_distribution() {
    for (some, all, chance, expected) in [
        (0, 5, 0.5, 1.0),
        (5, 5, 0.5, 0.03125),
        (2, 20, 0.01, 0.016859),
        (3, 20, 0.01, 0.001004),
        (30, 1000, 0.01, 3.0e-7),
        (1, 1, 1.0, 1.0),
    ] {
        let found = tail(some, all, chance);
        assert!((found - expected).abs() <= expected * 0.02 + 1e-7, "{some} of {all}: {found}");
    }
}

proptest! {
    #[test]
    fn more_failures_are_never_better(quick in 0..2000u64, failed in 0..200u64, more in 1..50u64, others in 0..5000u64) {
        let rank = |failed| match verdict((quick, 0, failed), (others, 0, 0)) {
            Verdict::Go => 0,
            Verdict::Wait => 1,
            Verdict::Back(_) => 2,
        };
        // Those more requests may make up the number that is waited for.
        if quick + failed >= 20 {
            prop_assert!(rank(failed) <= rank(failed + more));
        }
    }

    #[test]
    fn what_is_no_worse_never_goes_back(quick in 0..2000u64, slow in 0..200u64, failed in 0..200u64, times in 1..5u64) {
        let others = (quick * times, slow * times, failed * times);
        let same = verdict((quick, slow, failed), others);
        prop_assert!(!matches!(same, Verdict::Back(_)), "{same:?}");
    }

    #[test]
    fn chances_are_between_never_and_always(some in 0..10_000_000u64, more in 0..10_000_000u64, chance in 0.0..=1.0f64) {
        let tail = tail(some, some + more, chance);
        prop_assert!((0.0..=1.0).contains(&tail), "{tail}");
    }
}
