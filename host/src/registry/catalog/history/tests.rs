use std::collections::BTreeMap;
use std::fs;

use super::super::tests::{deployed, deployment, empty};
use super::super::{Catalog, CatalogError, Deployment, Published};
use super::*;
use crate::registry::diff::{Difference, differences};
use crate::registry::name::AliasName;
use crate::registry::note::Note;
use crate::registry::revision::{AtStep, Plan, Rollout};
use crate::registry::store::Store;

fn because(message: &str) -> Note {
    Note::new(Some("ada".into()), Some(message.into()), None).unwrap()
}

fn at(revision: u64) -> Note {
    Note::new(None, None, Some(revision)).unwrap()
}

async fn traffic(catalog: &Catalog, alias: &str, weights: &[(&str, u32)]) -> Published {
    let weights: BTreeMap<_, _> = weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect();
    catalog
        .set_traffic("f", alias.parse().unwrap(), weights, None, Note::default())
        .await
        .expect("the versions are there")
}

/// Versions 1, 2 and 3 of a function, each deployed with all traffic: three revisions.
async fn three() -> (tempfile::TempDir, Store, Catalog) {
    let (dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    for version in ["1", "2", "3"] {
        deployed(&catalog, "f", version).await;
    }
    (dir, store, catalog)
}

/// A rollout that has begun.
async fn begin(catalog: &Catalog, alias: &str, version: &str) -> Rollout {
    let plan = Plan { steps: vec![5, 25, 100], every_ms: 1, min_requests: 1, max_error_ppm: 0, max_p99_permille: None };
    let what = (version.to_owned(), plan);
    let begun = catalog.begin_rollout("f", alias.parse().unwrap(), what, because("try it")).await.unwrap();
    begun.function.revision.rollouts[alias].clone()
}

/// What another rollback comes to: the revision that it says it goes to, and where every alias points then.
async fn goes_back(catalog: &Catalog) -> (u64, Vec<String>) {
    let published = catalog.rollback("f", Note::default()).await.expect("there is something");
    let revision = &published.function.revision;
    let Action::Rollback { to } = revision.action else { panic!("{:?}", revision.action) };
    assert!(!revision.is_rolling());
    let all = revision.aliases.iter().flat_map(|(alias, weights)| {
        weights.iter().map(move |(version, weight)| format!("{alias} {version}={weight}"))
    });
    (to, all.collect())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn live(published: &Published) -> String {
    let weights = published.function.revision.aliases[AliasName::LIVE].iter();
    weights.map(|(version, weight)| format!("{version}={weight}")).collect::<Vec<_>>().join(" ")
}

async fn rolled_back(catalog: &Catalog) -> Result<(String, Action), String> {
    let published = catalog.rollback("f", Note::default()).await.map_err(|error| error.to_string())?;
    Ok((live(&published), published.function.revision.action.clone()))
}

async fn diff(catalog: &Catalog, from: &Side, to: &Side) -> Result<Vec<Difference>, CatalogError> {
    catalog.sides("f", from, to).await.map(|(from, to)| differences(&from, &to))
}

#[tokio::test]
async fn a_rollback_goes_back_change_by_change() {
    let (_dir, store, catalog) = three().await;
    traffic(&catalog, "live", &[("2", 1), ("3", 1)]).await;
    // Neither changes where requests go.
    catalog.deploy(Deployment { alias: None, ..deployment("f", "4", "4") }, Note::default()).await.unwrap();
    catalog.delete_version("f", "4", Note::default()).await.unwrap();
    assert_eq!(rolled_back(&catalog).await, Ok(("3=100".into(), Action::Rollback { to: 3 })));
    assert_eq!(rolled_back(&catalog).await, Ok(("2=100".into(), Action::Rollback { to: 2 })));
    assert_eq!(catalog.resolve("f", None).unwrap().name.as_str(), "2");
    // A change in between is the last one, and behind it is what was rolled back to.
    traffic(&catalog, "live", &[("3", 7)]).await;
    let other = Catalog::load(store).await.unwrap();
    assert_eq!(rolled_back(&other).await, Ok(("2=100".into(), Action::Rollback { to: 8 })));
    assert_eq!(rolled_back(&other).await, Ok(("1=100".into(), Action::Rollback { to: 1 })));
    let error = rolled_back(&other).await.expect_err("that was the first deploy");
    assert!(error.starts_with("there is nothing to go back to: the aliases of function 'f'"), "{error}");
    let newest = other.function("f").unwrap().revision.revision;
    let forward = other.restore("f", 4, Note::default()).await.unwrap();
    assert_eq!((live(&forward).as_str(), forward.function.revision.revision), ("2=1 3=1", newest + 1));
    assert!(!other.restore("f", 4, Note::default()).await.unwrap().changed);
}

#[tokio::test]
async fn what_cannot_be_gone_back_to_is_refused_and_nothing_changes() {
    let (_dir, _store, catalog) = three().await;
    catalog.delete_version("f", "2", Note::default()).await.unwrap();
    let error = rolled_back(&catalog).await.expect_err("2 is gone");
    assert!(error.starts_with("revision 2 of function 'f' sent requests to a version '2'"), "{error}");
    let error = catalog.restore("f", 9, Note::default()).await.expect_err("there is none");
    assert!(error.to_string().starts_with("function 'f' has no revision 9; its newest is 4"), "{error}");
    assert_eq!(catalog.function("f").unwrap().revision.revision, 4);
    catalog.delete_function("f", Note::default()).await.unwrap();
    assert!(rolled_back(&catalog).await.is_err_and(|error| error.ends_with("'f' is not found")));
    deployed(&catalog, "f", "1").await;
    let error = rolled_back(&catalog).await.expect_err("what was deleted is no state to go back to");
    assert!(error.starts_with("there is nothing to go back to"), "{error}");
    assert!(matches!(catalog.rollback("unknown", Note::default()).await, Err(CatalogError::UnknownFunction(_))));
    let of_none =
        catalog.set_traffic("unknown", AliasName::live(), BTreeMap::from([("1".into(), 1)]), None, at(5)).await;
    assert!(matches!(of_none, Err(CatalogError::Revision(RevisionError::UnknownFunction(_)))), "{of_none:?}");
}

#[tokio::test]
async fn a_change_for_another_revision_is_refused() {
    let (_dir, _store, catalog) = three().await;
    let all_to_one = || BTreeMap::from([("1".to_owned(), 1)]);
    for stale in [2, 4] {
        let outcomes = [
            catalog.set_traffic("f", AliasName::live(), all_to_one(), None, at(stale)).await,
            catalog.rollback("f", at(stale)).await,
            catalog.restore("f", 1, at(stale)).await,
            catalog.delete_function("f", at(stale)).await,
        ];
        for outcome in outcomes {
            let moved = matches!(outcome, Err(CatalogError::Revision(RevisionError::Moved { current: 3, .. })));
            assert!(moved, "{outcome:?}");
        }
    }
    assert!(catalog.rollback("f", at(3)).await.is_ok());
}

#[tokio::test]
async fn history_is_told_newest_first_and_in_pages() {
    let (dir, _store, catalog) = three().await;
    catalog
        .set_traffic("f", "test".parse().unwrap(), BTreeMap::from([("1".into(), 1)]), None, because("a trial"))
        .await
        .unwrap();
    catalog.delete_function("f", because("no longer used")).await.unwrap();
    let numbers = |history: &History| history.revisions.iter().map(|past| past.revision).collect::<Vec<_>>();
    let all = catalog.history("f", None, 10).await.expect("what is deleted has a history");
    assert_eq!((numbers(&all), all.more), (vec![5, 4, 3, 2, 1], false));
    let told = all.revisions[0].told.as_ref().unwrap();
    assert_eq!((&told.action, told.by.as_deref()), (&Action::DeleteFunction, Some("ada")));
    assert_eq!(told.message.as_deref(), Some("no longer used"));
    let told = all.revisions[1].told.as_ref().unwrap();
    assert_eq!((told.aliases.len(), told.message.as_deref()), (2, Some("a trial")));
    assert_eq!(all.revisions[2].told.as_ref().unwrap().message, None);
    let page = catalog.history("f", None, 2).await.unwrap();
    assert_eq!((numbers(&page), page.more), (vec![5, 4], true));
    let page = catalog.history("f", Some(4), 3).await.unwrap();
    assert_eq!((numbers(&page), page.more), (vec![3, 2, 1], false));
    assert!(catalog.history("f", Some(1), 3).await.unwrap().revisions.is_empty());
    assert!(matches!(catalog.history("g", None, 3).await, Err(CatalogError::UnknownFunction(_))));

    fs::write(dir.path().join("functions/f/00000000000000000002.json"), "{").unwrap();
    let all = catalog.history("f", None, 10).await.expect("the others can be read");
    let damaged: Vec<_> = all.revisions.iter().filter(|past| past.told.is_err()).map(|past| past.revision).collect();
    assert_eq!(damaged, [2]);
}

#[tokio::test]
async fn versions_and_revisions_are_compared() {
    let (_dir, _store, catalog) = three().await;
    let told = |differences: Vec<Difference>| -> Vec<String> {
        let side = |side: Option<Value>| side.map_or("-".to_owned(), |value| value.to_string());
        let line = |told: Difference| format!("{}: {} {}", told.path.join(" "), side(told.from), side(told.to));
        differences.into_iter().map(line).collect()
    };
    let version = |name: &str| Side::Version(name.to_owned());
    let same = diff(&catalog, &version("1"), &version("1")).await.unwrap();
    assert_eq!(same, []);
    let lines = told(diff(&catalog, &version("1"), &version("2")).await.unwrap());
    assert!(lines.len() == 1 && lines[0].starts_with("models m ") && lines[0].contains("sha256"), "{lines:?}");
    traffic(&catalog, "live", &[("2", 1), ("3", 3)]).await;
    let lines = told(diff(&catalog, &Side::Revision(3), &Side::Revision(4)).await.unwrap());
    assert_eq!(lines, ["aliases live 2: - 1", "aliases live 3: 100 3"]);
    let lines = told(diff(&catalog, &Side::Revision(1), &Side::Revision(2)).await.unwrap());
    assert!(lines.iter().any(|line| line.starts_with("versions 2 digest: - ")), "{lines:?}");
    for (from, to) in [(version("9"), version("1")), (Side::Revision(1), Side::Revision(9))] {
        assert!(diff(&catalog, &from, &to).await.is_err());
    }
}

#[tokio::test]
async fn of_rollbacks_at_once_each_goes_back_one_change() {
    let (_dir, store, catalog) = three().await;
    let other = Catalog::load(store.clone()).await.unwrap();
    let (one, two) = tokio::join!(rolled_back(&catalog), rolled_back(&other));
    let mut lives = [one.unwrap().0, two.unwrap().0];
    lives.sort_unstable();
    assert_eq!(lives, ["1=100", "2=100"]);
    assert_eq!(Catalog::load(store).await.unwrap().resolve("f", None).unwrap().name.as_str(), "1");
}

#[tokio::test]
async fn a_rollout_is_one_change_and_one_of_several_hosts_makes_its_steps() {
    let (_dir, store, catalog) = three().await;
    let begun = begin(&catalog, "live", "1").await;
    assert_eq!(catalog.next_rolling().await.as_str(), "f");
    let at = |step| AtStep { alias: AliasName::live(), from_revision: begun.from_revision, step };
    let other = Catalog::load(store).await.unwrap();
    assert_eq!(other.next_rolling().await.as_str(), "f", "a start sees it");
    let name = "f".parse().unwrap();
    let (one, two) =
        tokio::join!(catalog.step_rollout(&name, at(0)), other.take_rollout_back(&name, at(0), "why".into()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one.changed != two.changed, "one was first");
    if two.changed {
        begin(&catalog, "live", "1").await;
    }
    let after = if one.changed { at(1) } else { AtStep { from_revision: 5, ..at(0) } };
    assert!(catalog.step_rollout(&name, after).await.unwrap().changed, "the loser's catalog has seen it");
    let to = rolled_back(&catalog).await;
    assert_eq!(to.map(|(weights, _)| weights), Ok("3=100".into()), "all steps at once");
}

/// `live` goes to 1, and then step by step to 2; meanwhile there comes an alias `canary`. Seven revisions, and the rollout's steps.
async fn moving() -> (tempfile::TempDir, Catalog, impl Fn(usize) -> AtStep) {
    let (dir, _store, catalog) = three().await;
    traffic(&catalog, "live", &[("1", 1)]).await;
    let Rollout { from_revision, .. } = begin(&catalog, "live", "2").await;
    traffic(&catalog, "canary", &[("3", 1)]).await;
    let at = move |step| AtStep { alias: AliasName::live(), from_revision, step };
    assert!(catalog.step_rollout(&"f".parse().unwrap(), at(0)).await.unwrap().changed);
    (dir, catalog, at)
}

#[tokio::test]
async fn a_rollback_ends_a_rollout_and_leaves_what_others_changed_meanwhile() {
    let (_dir, catalog, _) = moving().await;
    assert_eq!(goes_back(&catalog).await, (6, texts(&["canary 3=1", "live 1=1"])));
    assert_eq!(goes_back(&catalog).await, (4, texts(&["live 1=1"])), "one change further is the other alias");
    assert_eq!(goes_back(&catalog).await, (3, texts(&["live 3=100"])));
}

#[tokio::test]
async fn a_rollout_that_is_over_is_one_change_among_those_made_meanwhile() {
    let (_dir, catalog, at) = moving().await;
    let done = catalog.step_rollout(&"f".parse().unwrap(), at(1)).await.unwrap();
    assert_eq!(live(&done), "2=100");
    assert_eq!(goes_back(&catalog).await, (6, texts(&["canary 3=1", "live 1=1"])));
    assert_eq!(goes_back(&catalog).await, (4, texts(&["live 1=1"])));
    assert_eq!(goes_back(&catalog).await, (3, texts(&["live 3=100"])));

    // One that went back by itself is none.
    let (_dir, catalog, at) = moving().await;
    let back = catalog.take_rollout_back(&"f".parse().unwrap(), at(1), "it errs".into()).await.unwrap();
    assert_eq!(live(&back), "1=1");
    assert_eq!(goes_back(&catalog).await, (4, texts(&["live 1=1"])));
    assert!(catalog.function("f").unwrap().revision.rollouts.contains_key("live"), "that it went back is still seen");
    assert_eq!(goes_back(&catalog).await, (3, texts(&["live 3=100"])));
}

#[tokio::test]
async fn a_rollback_ends_all_rollouts_that_go_on() {
    let (_dir, _store, catalog) = three().await;
    traffic(&catalog, "canary", &[("3", 1)]).await;
    begin(&catalog, "live", "1").await;
    begin(&catalog, "canary", "2").await;
    assert_eq!(goes_back(&catalog).await, (4, texts(&["canary 3=1", "live 3=100"])));
    assert_eq!(goes_back(&catalog).await, (3, texts(&["live 3=100"])));
}

#[tokio::test]
async fn no_step_of_a_rollout_is_gone_back_to() {
    let (_dir, catalog, _) = moving().await;
    traffic(&catalog, "live", &[("1", 1), ("2", 1)]).await;
    assert_eq!(goes_back(&catalog).await, (6, texts(&["canary 3=1", "live 1=1"])), "somebody ended it where it was");
}
