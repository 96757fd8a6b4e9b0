use proptest::prelude::*;

use super::super::FunctionKind;
use super::super::tests::{now, record};
use super::*;

fn deployed(revision: &Revision, version: &str, content: &str, alias: Option<&str>) -> Revision {
    let (version, alias) = (version.parse().unwrap(), alias.map(|alias| alias.parse().unwrap()));
    revision
        .with_deploy(&version, &record(content, FunctionKind::Http), alias.as_ref(), now())
        .unwrap()
        .expect("it is new")
}

/// Versions 1, 2 and 3; `live` at 1.
fn three() -> Revision {
    let one = deployed(&Revision::before_first("f".parse().unwrap(), now()), "1", "one", Some("live"));
    deployed(&deployed(&one, "2", "two", None), "3", "three", None)
}

fn alias(name: &str) -> AliasName {
    name.parse().unwrap()
}

fn weights(weights: &[(&str, u32)]) -> BTreeMap<String, u32> {
    weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect()
}

fn traffic(revision: &Revision, name: &str, shares: &[(&str, u32)]) -> Result<Option<Revision>, RevisionError> {
    revision.with_traffic(&alias(name), &weights(shares), None, now())
}

fn refused(revision: &Revision, name: &str, shares: &[(&str, u32)]) -> String {
    traffic(revision, name, shares).expect_err("it must be refused").to_string()
}

#[test]
fn an_alias_is_pointed_at_versions() {
    let next = traffic(&three(), "live", &[("1", 90), ("2", 10), ("3", 0)]).unwrap().unwrap();
    let expected = Weights::from([("1".parse().unwrap(), 90), ("2".parse().unwrap(), 10)]);
    assert_eq!(next.aliases["live"], expected, "what gets nothing is not held by the alias");
    assert_eq!((next.revision, next.action.clone()), (4, Action::Traffic { alias: AliasName::live() }));
    assert_eq!(next.check(), Ok(()));
    assert_eq!(traffic(&next, "live", &[("1", 90), ("2", 10)]), Ok(None), "that is how it is");
    assert_eq!(traffic(&next, "live", &[("1", 9), ("2", 1)]), Ok(None), "the shares are the same");
    assert!(traffic(&next, "live", &[("1", 9), ("2", 2)]).unwrap().is_some());
    let other = traffic(&next, "test", &[("3", 1)]).unwrap().unwrap();
    assert_eq!((other.aliases.len(), &other.aliases["live"]), (2, &expected));
    assert!(next.without_version("2", now()).is_err() && next.without_version("3", now()).is_ok());
}

#[test]
fn raw_http_and_tensors_share_no_alias() {
    let record = record("typed", FunctionKind::Typed);
    let typed = three().with_deploy(&"t".parse().unwrap(), &record, None, now()).unwrap().expect("it is new");
    let why = refused(&typed, "live", &[("1", 1), ("t", 1)]);
    assert!(why.contains("version '1' takes raw HTTP and version 't' tensors"), "{why}");
    assert!(traffic(&typed, "live", &[("1", 0), ("t", 1)]).is_ok(), "only one of them gets any");
    assert!(traffic(&typed, "other", &[("t", 1)]).is_ok());
}

#[test]
fn there_are_not_more_aliases_than_can_be_kept() {
    let mut full = three();
    while full.aliases.len() < MAX_ALIASES {
        full = traffic(&full, &format!("a{}", full.aliases.len()), &[("1", 1)]).unwrap().expect("it is new");
    }
    assert!(refused(&full, "more", &[("1", 1)]).contains("100 aliases already"));
    assert!(traffic(&full, "a7", &[("2", 1)]).is_ok(), "those there are can be changed");
    let fewer = full.without_alias(&alias("a7"), now()).unwrap();
    assert!(traffic(&fewer, "more", &[("1", 1)]).is_ok());
}

#[test]
fn what_cannot_be_shared_out_is_refused() {
    assert!(refused(&three(), "live", &[]).contains("alias 'live' of function 'f' cannot be pointed so: no version"));
    assert!(refused(&three(), "live", &[("1", 0)]).contains("give at least one"));
    assert!(refused(&three(), "live", &[("1", u32::MAX), ("2", 1)]).contains("more than 4294967295; use smaller"));
    assert!(refused(&three(), "live", &[("4", 0)]).ends_with("function 'f' has versions 1, 2, 3"));
    let clash = traffic(&three(), "2", &[("1", 1)]);
    assert!(matches!(clash, Err(RevisionError::NameClash { choose: "alias", .. })), "{clash:?}");
    let (mut many, names) = (three(), (0..101).map(|number| format!("v{number}")).collect::<Vec<_>>());
    for name in &names {
        many = deployed(&many, name, name, None);
    }
    let all: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    assert!(refused(&many, "live", &all).contains("101 versions have a weight above 0; share among at most 100"));
    assert!(traffic(&many, "live", &all[1..]).is_ok());
    let gone = three().without_anything(now()).unwrap();
    for shares in [&[][..], &[("1", 1)]] {
        assert_eq!(refused(&gone, "live", shares), "Request for unknown model: 'f' is not found");
    }
}

#[test]
fn an_alias_goes_and_live_stays() {
    let with_test = traffic(&three(), "test", &[("2", 1)]).unwrap().unwrap();
    let without = with_test.without_alias(&alias("test"), now()).unwrap();
    assert_eq!((&without.aliases, without.revision), (&three().aliases, 5));
    let error = with_test.without_alias(&AliasName::live(), now()).expect_err("requests go there");
    assert!(error.to_string().contains("would have no alias 'live' any more"), "{error}");
    let error = with_test.without_alias(&alias("other"), now()).expect_err("there is none");
    assert_eq!(error.to_string(), "function 'f' has no alias 'other'; it has live, test");
    let gone = three().without_anything(now()).unwrap();
    assert!(matches!(gone.without_alias(&alias("x"), now()), Err(RevisionError::UnknownFunction(_))));
}

#[test]
fn aliases_go_back_to_where_they_were() {
    let split = traffic(&three(), "live", &[("1", 50), ("2", 50)]).unwrap().unwrap();
    let split = traffic(&split, "test", &[("3", 1)]).unwrap().unwrap();
    let back = split.rolled_back(&three(), now()).unwrap();
    assert_eq!((&back.aliases, back.revision, &back.action), (&three().aliases, 6, &Action::Rollback { to: 3 }));
    assert_eq!(back.versions, split.versions, "what is deployed stays");
    let again = back.restored(&split, now()).unwrap().expect("they are elsewhere");
    assert_eq!((&again.aliases, &again.action), (&split.aliases, &Action::Restore { to: 5 }));
    assert_eq!(again.restored(&split, now()), Ok(None));
}

#[test]
fn what_is_gone_cannot_get_requests_again() {
    let at_two = traffic(&three(), "live", &[("2", 1)]).unwrap().unwrap();
    let without_one = at_two.without_version("1", now()).unwrap();
    let other_one = deployed(&without_one, "1", "other content", None);
    for current in [&without_one, &other_one] {
        let error = current.rolled_back(&three(), now()).expect_err("1 was another one");
        assert!(
            error.to_string().starts_with("revision 3 of function 'f' sent requests to a version '1' that"),
            "{error}"
        );
    }
    let same_one = deployed(&without_one, "1", "one", None);
    assert!(same_one.rolled_back(&three(), now()).is_ok());
    let called_so = deployed(&at_two, "test", "x", None);
    let with_test = traffic(&three(), "test", &[("2", 1)]).unwrap().unwrap();
    assert!(matches!(called_so.restored(&with_test, now()), Err(RevisionError::NameClash { .. })));
    let before_live = deployed(&Revision::before_first("f".parse().unwrap(), now()), "1", "one", None);
    assert!(matches!(three().restored(&before_live, now()), Err(RevisionError::Traffic(TrafficError::LiveStays(_)))));
    let deleted = three().without_anything(now()).unwrap();
    let error = before_live.restored(&deleted, now()).expect_err("nothing was there");
    assert!(error.to_string().starts_with("at revision 4 function 'f' was deleted; go to another"), "{error}");
}

proptest! {
    #[test]
    fn whatever_is_asked_for_is_a_sound_state_or_refused(
        shares in prop::collection::btree_map("[1-4]", prop_oneof![0..3u32, Just(u32::MAX)], 0..5),
    ) {
        if let Ok(Some(next)) = three().with_traffic(&AliasName::live(), &shares, None, now()) {
            prop_assert_eq!(next.check(), Ok(()));
            for (version, weight) in &next.aliases["live"] {
                prop_assert_eq!(shares.get(version.as_str()), Some(weight));
            }
            prop_assert!(next.rolled_back(&three(), now()).is_ok());
        }
    }
}
