use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::super::note::Note;
use super::super::super::revision::LabelChange;
use super::super::tests::{deployed, deployment, empty};
use super::super::{Deployment, Manifest};
use super::*;

/// Deploys a version of this description.
async fn described(catalog: &Catalog, function: &str, version: &str, description: &str, alias: Option<&str>) {
    let whole = deployment(function, version, version);
    let manifest = Manifest { description: description.into(), ..Manifest::clone(&whole.manifest) };
    let alias = alias.map(|alias| alias.parse().unwrap());
    catalog.deploy(Deployment { manifest: Arc::new(manifest), alias, ..whole }, Note::default()).await.unwrap();
}

fn search(query: &str, which: Which) -> Search {
    Search { query: query.parse().unwrap(), which, after: None, limit: 100 }
}

fn found(catalog: &Catalog, query: &str, which: Which) -> Vec<String> {
    catalog.search(&search(query, which)).items.iter().map(|version| version.label()).collect()
}

#[tokio::test]
async fn a_function_is_found_by_the_version_that_stands_for_it() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store).await.unwrap();
    described(&catalog, "zebras", "1", "counts zebras", Some("live")).await;
    described(&catalog, "zebras", "2", "counts horses", Some("test")).await;
    described(&catalog, "animals", "1", "zebras and others", Some("live")).await;
    described(&catalog, "quiet", "1", "", None).await;
    described(&catalog, "quiet", "2", "zebras asleep", None).await;
    assert_eq!(
        found(&catalog, "zebras", Which::Live),
        ["zebras@1", "animals@1", "quiet@2"],
        "what it names comes first"
    );
    assert_eq!(found(&catalog, "horses", Which::Live), [""; 0]);
    assert_eq!(found(&catalog, "horses", Which::All), ["zebras@2"]);
    assert_eq!(found(&catalog, "", Which::Alias("test".parse().unwrap())), ["zebras@2"]);
    let all = ["animals@1", "quiet@1", "quiet@2", "zebras@1", "zebras@2"];
    assert_eq!(found(&catalog, "", Which::All), all);
    let weights = BTreeMap::from([("1".to_owned(), 10), ("2".to_owned(), 90)]);
    catalog.set_traffic("zebras", AliasName::live(), weights, None, Note::default()).await.unwrap();
    assert_eq!(found(&catalog, "horses", Which::Live), ["zebras@2"], "it gets the most");
}

#[tokio::test]
async fn labels_are_found_at_once_and_after_a_restart_and_read_no_manifest_again() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let before = deployed(&catalog, "f", "1").await.function;
    std::fs::remove_file(store.local_file(&before.versions["1"].digest).await.unwrap()).unwrap();
    let change = |value: Option<&str>| -> LabelChange {
        [("stage".parse().unwrap(), value.map(|value| value.parse().unwrap()))].into()
    };
    assert_eq!(found(&catalog, "label:stage", Which::Live), [""; 0]);
    let published = catalog.set_labels("f", "1", change(Some("Prod")), Note::default()).await.unwrap();
    assert!(
        published.changed && Arc::ptr_eq(&published.function.versions["1"].manifest, &before.versions["1"].manifest)
    );
    assert!(!catalog.set_labels("f", "1", change(Some("Prod")), Note::default()).await.unwrap().changed);
    assert_eq!(found(&catalog, "label:stage=prod", Which::Live), ["f@1"]);
    let past = catalog.history("f", None, 1).await.unwrap();
    let action = past.revisions[0].told.as_ref().map(|told| format!("{:?}", told.action)).unwrap();
    assert_eq!((past.revisions[0].revision, action.as_str()), (2, r#"Labels { version: "1" }"#));
    store.write_blob(before.versions["1"].manifest.canonical_json().into()).await.unwrap();
    let again = Catalog::load(store).await.unwrap();
    assert_eq!(found(&again, "label:stage=prod", Which::Live), ["f@1"]);
    assert!(catalog.set_labels("f", "2", change(None), Note::default()).await.is_err(), "there is no such version");
}

#[tokio::test]
async fn pages_follow_each_other_whatever_comes_and_goes() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store).await.unwrap();
    for function in ["a", "b", "c", "d-word", "e"] {
        for version in ["1", "2"] {
            described(&catalog, function, version, "word", Some("live")).await;
        }
    }
    let names = |page: Page<Arc<Function>>| -> (Vec<String>, bool) {
        (page.items.iter().map(|function| function.name().to_string()).collect(), page.more)
    };
    assert_eq!(names(catalog.page(None, Some(2))), (vec!["a".into(), "b".into()], true));
    catalog.delete_function("b", Note::default()).await.unwrap();
    assert_eq!(names(catalog.page(Some("b"), Some(2))), (vec!["c".into(), "d-word".into()], true));
    assert_eq!(names(catalog.page(Some("d-word"), Some(2))), (vec!["e".into()], false));
    assert_eq!(names(catalog.page(Some("e"), None)), (vec![], false));

    let mut search = Search { limit: 2, ..search("word", Which::Live) };
    let mut next = |after: Option<After>| {
        search.after = after;
        let page = catalog.search(&search);
        let last = page.items.last().map(|version| After { function: version.function.clone(), version: None });
        (page.items.iter().map(|version| version.label()).collect::<Vec<_>>(), last.filter(|_| page.more))
    };
    let (first, after) = next(None);
    assert_eq!(first, ["d-word@2", "a@2"]);
    let (second, after) = next(after);
    assert_eq!((second, after), (vec!["c@2".into(), "e@2".into()], None));
}

proptest! {
    /// Pages of any size are the whole, each thing once.
    #[test]
    fn pages_are_the_whole(names in prop::collection::btree_set(0u32..1000, 0..60), limit in 1usize..20) {
        let all: Vec<u32> = names.iter().copied().collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let mut behind: Vec<u32> = all.iter().copied().filter(|name| Some(*name) > after).collect();
            behind.reverse();
            let page = Page::first(behind, Some(limit), Ord::cmp);
            prop_assert!(page.items.len() == limit || !page.more);
            seen.extend(&page.items);
            after = page.items.last().copied();
            if !page.more {
                break;
            }
        }
        prop_assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), names);
        prop_assert_eq!(seen, all);
    }
}
