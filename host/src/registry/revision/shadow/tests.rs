use super::super::tests::{now, record};
use super::*;

fn deployed(revision: &Revision, version: &str, kind: FunctionKind, alias: Option<&str>) -> Revision {
    let record = record(version, kind);
    let (version, alias) = (version.parse().unwrap(), alias.map(|alias| alias.parse().unwrap()));
    revision.with_deploy(&version, &record, alias.as_ref(), now()).unwrap().expect("it is new")
}

/// Versions 1, 2 and 3, the last of which speaks HTTP; `live` at 1.
fn three() -> Revision {
    let empty = Revision::before_first("f".parse().unwrap(), now());
    let one = deployed(&empty, "1", FunctionKind::Typed, Some("live"));
    deployed(&deployed(&one, "2", FunctionKind::ModelOnly, None), "3", FunctionKind::Http, None)
}

fn shadowed(revision: &Revision, to: &str, shadow: Option<(&str, u32)>) -> Result<Option<Revision>, RevisionError> {
    let shadow = shadow.map(|(version, percent)| Shadowing { version: version.to_owned(), percent });
    revision.with_traffic(&AliasName::live(), &BTreeMap::from([(to.to_owned(), 1)]), shadow.as_ref(), now())
}

#[test]
fn a_shadow_begins_and_ends_with_where_its_alias_points() {
    let with = shadowed(&three(), "1", Some(("2", 50))).unwrap().expect("it is new");
    assert_eq!(with.shadows["live"], Shadow { version: "2".parse().unwrap(), percent: 50 });
    assert_eq!(with.check(), Ok(()));
    assert_eq!(shadowed(&with, "1", Some(("2", 50))), Ok(None), "that is how it is");
    // The shadow becomes the version that answers, in one revision.
    let promoted = shadowed(&with, "2", None).unwrap().expect("it is another");
    assert!(promoted.shadows.is_empty() && promoted.revision == with.revision + 1, "{promoted:?}");
    let back = promoted.rolled_back(&with, now()).unwrap();
    assert_eq!((&back.aliases, &back.shadows), (&with.aliases, &with.shadows));
    assert!(shadowed(&with, "1", None).unwrap().expect("it ends").shadows.is_empty());
    assert!(deployed(&with, "4", FunctionKind::Typed, Some("live")).shadows.is_empty());
    assert!(!deployed(&with, "4", FunctionKind::Typed, None).shadows.is_empty());
    assert!(with.without_anything(now()).unwrap().shadows.is_empty());
}

#[test]
fn what_gets_copies_is_not_deleted() {
    let with = shadowed(&three(), "1", Some(("2", 100))).unwrap().unwrap();
    let error = with.without_version("2", now()).expect_err("it gets copies").to_string();
    assert!(
        error.contains("gets copies of the requests to alias 'live'; point the alias without a shadow first"),
        "{error}"
    );
    let ended = shadowed(&with, "1", None).unwrap().unwrap().without_version("2", now()).unwrap();
    assert_eq!(
        ended.restored(&with, now()),
        Ok(None),
        "requests go there already, and a shadow that is gone is left out"
    );
}

#[test]
fn what_cannot_be_a_shadow_is_refused() {
    for (to, shadow, part) in [
        ("1", ("2", 0), "0 % of the requests cannot be copied; say 1 to 100"),
        ("1", ("2", 101), "101 %"),
        ("1", ("1", 100), "'1' cannot be the shadow of alias 'live' of function 'f': the alias sends requests to it"),
        ("1", ("3", 100), "raw HTTP cannot be copied"),
        ("3", ("2", 100), "raw HTTP cannot be copied"),
        ("1", ("9", 100), "has versions 1, 2, 3"),
    ] {
        let error = shadowed(&three(), to, Some(shadow)).expect_err(part).to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let mut wrong = shadowed(&three(), "1", Some(("2", 100))).unwrap().unwrap();
    wrong.shadows.insert(AliasName::live(), Shadow { version: "9".parse().unwrap(), percent: 1 });
    assert!(wrong.check().is_err());
}

#[test]
fn one_that_has_none_is_written_as_before() {
    let text = serde_json::to_string(&three()).unwrap();
    assert!(!text.contains("shadow") && !text.contains("rollout"), "{text}");
    assert_eq!(serde_json::from_str::<Revision>(&text).unwrap(), three());
    let with = shadowed(&three(), "1", Some(("2", 100))).unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Revision>(&serde_json::to_string(&with).unwrap()).unwrap(), with);
}
