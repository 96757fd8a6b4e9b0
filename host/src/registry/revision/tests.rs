use super::*;

const NOW: &str = "2026-11-23T14:31:00Z";

pub(super) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(super) fn record(content: &str, kind: FunctionKind) -> VersionRecord {
    VersionRecord {
        digest: Digest::of(content.as_bytes()),
        kind,
        created_at: now(),
        signature: None,
        models: Vec::new(),
        size_bytes: 7,
        labels: Labels::new(),
    }
}

pub(super) fn deploy(
    revision: &Revision,
    version: &str,
    content: &str,
    alias: Option<&str>,
) -> Result<Option<Revision>, RevisionError> {
    let alias = alias.map(|alias| alias.parse().unwrap());
    revision.with_deploy(&version.parse().unwrap(), &record(content, FunctionKind::Typed), alias.as_ref(), now())
}

fn empty() -> Revision {
    Revision::before_first("f".parse().unwrap(), now())
}

/// Versions 1.9 and 1.10, `live` at the latter.
pub(super) fn two() -> Revision {
    let one = deploy(&empty(), "1.9", "a", Some("live")).unwrap().unwrap();
    deploy(&one, "1.10", "b", Some("live")).unwrap().unwrap()
}

#[test]
fn a_deploy_adds_the_version_and_points_the_alias() {
    let two = two();
    assert_eq!(two.revision, 2);
    assert_eq!(
        two.versions.keys().map(VersionName::as_str).collect::<Vec<_>>(),
        ["1.9", "1.10"],
        "in order of deployment"
    );
    assert_eq!(two.aliases["live"], BTreeMap::from([("1.10".parse().unwrap(), 100)]));
    assert_eq!(two.action, Action::Deploy { version: "1.10".parse().unwrap(), alias: Some(AliasName::live()) });
}

#[test]
fn deploys_make_no_more_aliases_than_can_be_kept() {
    let mut full = two();
    for number in 1..100 {
        full = deploy(&full, "1.10", "b", Some(&format!("a{number}"))).unwrap().expect("the alias is new");
    }
    let error = deploy(&full, "1.10", "b", Some("a100")).expect_err("live is one too").to_string();
    assert!(error.contains("alias 'a100' of function 'f' cannot be pointed so: there are 100 aliases"), "{error}");
    assert!(deploy(&full, "2", "c", Some("a99")).is_ok_and(|next| next.is_some()), "those there are can be moved");
    assert!(deploy(&full, "2", "c", None).is_ok());
}

#[test]
fn without_traffic_no_alias_moves() {
    let three = deploy(&two(), "2", "c", None).unwrap().unwrap();
    assert_eq!(three.aliases, two().aliases);
    assert_eq!(three.versions.len(), 3);
}

#[test]
fn the_same_content_again_changes_nothing_but_may_move_the_alias() {
    assert_eq!(deploy(&two(), "1.10", "b", Some("live")), Ok(None));
    assert_eq!(deploy(&two(), "1.9", "a", None), Ok(None));
    let back = deploy(&two(), "1.9", "a", Some("live")).unwrap().unwrap();
    assert_eq!(back.aliases["live"], BTreeMap::from([("1.9".parse().unwrap(), 100)]));
    assert_eq!(back.versions, two().versions);
}

#[test]
fn other_content_under_the_same_version_is_refused() {
    let error = deploy(&two(), "1.9", "other", Some("live")).expect_err("1.9 is taken");
    assert!(matches!(error, RevisionError::VersionTaken { .. }));
    assert!(
        error.to_string().contains("version '1.9' of function 'f' is already deployed with other content"),
        "{error}"
    );
}

#[test]
fn a_name_is_a_version_or_an_alias() {
    for (version, alias) in [("live", None), ("x", Some("x")), ("y", Some("2"))] {
        let with_2 = deploy(&two(), "2", "c", None).unwrap().unwrap();
        let error = deploy(&with_2, version, "d", alias).expect_err("the names clash");
        assert!(matches!(error, RevisionError::NameClash { .. }), "{error}");
    }
}

#[test]
fn a_version_in_use_stays_and_others_go() {
    let error = two().without_version("1.10", now()).expect_err("live points there");
    assert!(error.to_string().contains("through alias 'live'"), "{error}");
    let one = two().without_version("1.9", now()).unwrap();
    assert_eq!((one.revision, one.versions.len()), (3, 1));
    let none = one.without_version("1.10", now()).expect("the last version may go");
    assert!(none.is_deleted() && none.aliases.is_empty());
}

#[test]
fn unknown_versions_are_answered_with_the_known_ones() {
    let error = two().without_version("3", now()).expect_err("there is no 3");
    assert_eq!(
        error.to_string(),
        "Request for unknown model: 'f' version '3' is not found; function 'f' has versions 1.9, 1.10"
    );
    let error = empty().without_version("3", now()).expect_err("there is nothing");
    assert_eq!(error.to_string(), "Request for unknown model: 'f' is not found");
}

#[test]
fn numbers_go_on_after_a_deletion() {
    let gone = two().without_anything(now()).unwrap();
    assert_eq!((gone.revision, gone.is_deleted()), (3, true));
    assert!(matches!(gone.without_anything(now()), Err(RevisionError::UnknownFunction(_))));
    let again = deploy(&gone, "1.9", "other", Some("live")).unwrap().expect("a deleted version may come back");
    assert_eq!(again.revision, 4);
}

#[test]
fn json_reads_back_and_is_checked() {
    let text = serde_json::to_string(&two()).unwrap();
    let read: Revision = serde_json::from_str(&text).unwrap();
    assert_eq!(read, two());
    assert_eq!(read.check(), Ok(()));
    for (from, to) in [("\"1.10\":100", "\"1.11\":100"), (":100", ":0")] {
        let broken: Revision = serde_json::from_str(&text.replace(from, to)).unwrap();
        assert!(broken.check().is_err(), "{to}");
    }
}

#[test]
fn who_and_why_are_kept_and_need_not_be_there() {
    let note = Note::new(Some("ada".into()), Some("the new weights".into()), None).unwrap();
    let noted = two().noted(&note);
    let text = serde_json::to_string(&noted).unwrap();
    assert!(text.contains(r#""by":"ada","message":"the new weights""#), "{text}");
    assert_eq!(serde_json::from_str::<Revision>(&text).unwrap(), noted);
    let next = noted.without_version("1.9", now()).unwrap();
    assert_eq!((next.by, next.message), (None, None), "they are of one change alone");
    let text = serde_json::to_string(&two()).unwrap();
    assert!(!text.contains("\"by\"") && !text.contains("message"), "an earlier release reads it: {text}");
    let later = text.replace(r#""aliases""#, r#""later":{},"aliases""#);
    assert!(serde_json::from_str::<Revision>(&later).is_err(), "what it means is not known");
}

#[test]
fn what_a_later_release_did_is_known_by_its_name() {
    let text = serde_json::to_string(&two()).unwrap();
    let action = serde_json::to_string(&two().action).unwrap();
    let unknown = Action::Unknown { kind: "melt".into() };
    for (written, read) in [
        (r#"{"kind":"melt","by_degrees":3}"#, unknown.clone()),
        (r#"{"kind":"deploy","version":"1.10","alias":"live","slowly":true}"#, two().action),
        (r#"{"kind":"deploy","versions":["1.10"]}"#, Action::Unknown { kind: "deploy".into() }),
    ] {
        let revision: Revision = serde_json::from_str(&text.replace(&action, written)).unwrap();
        assert_eq!(revision, Revision { action: read, ..two() });
    }
    let again = serde_json::to_string(&unknown).unwrap();
    assert_eq!((again.as_str(), serde_json::from_str(&again).unwrap()), (r#"{"kind":"melt"}"#, unknown));
    for broken in ["{}", "5", r#"{"kind":5}"#] {
        assert!(serde_json::from_str::<Revision>(&text.replace(&action, broken)).is_err(), "{broken}");
    }
}

#[test]
fn a_clock_that_is_put_back_does_not_reorder_history() {
    let earlier = "2026-11-23T14:30:59Z".parse().unwrap();
    let next = two().without_version("1.9", earlier).unwrap();
    assert_eq!((next.revision, next.created_at), (3, now()));
    let later = "2026-11-23T14:31:01Z".parse().unwrap();
    assert_eq!(two().without_version("1.9", later).unwrap().created_at, later);
}

#[test]
fn a_change_meant_for_another_revision_is_refused() {
    let at = |revision| Note::new(None, None, revision).unwrap();
    assert_eq!(two().check_expected(&at(None)), Ok(()));
    assert_eq!(two().check_expected(&at(Some(2))), Ok(()));
    let error = two().check_expected(&at(Some(1))).expect_err("somebody was quicker");
    assert!(error.to_string().starts_with("function 'f' is at revision 2, no more at 1"), "{error}");
}
