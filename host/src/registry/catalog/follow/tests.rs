use std::path::Path;

use super::super::super::store::faulty::{Fault, Faulty};
use super::super::super::store::{Notice, Store};
use super::super::CatalogError;
use super::super::tests::{deployed, empty};
use super::*;
use crate::registry::note::Note;
use crate::registry::revision::Revision;

fn bucket() -> (Arc<Faulty>, Store) {
    let objects = Faulty::new();
    let store = Store::over(objects.clone(), Path::new("/nowhere"), 0);
    (objects, store)
}

/// Two hosts of one store.
async fn two(store: &Store) -> (Catalog, Catalog) {
    (Catalog::load(store.clone()).await.unwrap(), Catalog::load(store.clone()).await.unwrap())
}

/// The functions that a look shows.
async fn look(catalog: &Catalog) -> Vec<String> {
    let Look { changes, failure } = catalog.look().await;
    assert!(failure.is_none(), "{failure:?}");
    let mut seen: Vec<_> = changes.iter().map(ToString::to_string).collect();
    seen.sort();
    seen
}

async fn one_sees_what_another_does(store: Store) {
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    assert_eq!(look(&other).await, ["f"]);
    assert_eq!(other.resolve("f", None).unwrap().name.as_str(), "1");
    assert_eq!(look(&one).await, [""; 0], "its own is no news");
    deployed(&other, "f", "2").await;
    deployed(&other, "g", "1").await;
    one.delete_function("f", Note::default()).await.unwrap();
    assert_eq!(look(&other).await, ["f"]);
    assert!(other.resolve("f", None).is_err());
    assert_eq!(look(&one).await, ["g"]);
    for catalog in [&one, &other] {
        assert_eq!(look(catalog).await, [""; 0]);
    }
}

#[tokio::test]
async fn one_host_sees_what_another_does_in_a_folder() {
    one_sees_what_another_does(empty().await.1).await;
}

#[tokio::test]
async fn one_host_sees_what_another_does_in_a_bucket() {
    let (objects, store) = bucket();
    one_sees_what_another_does(store.clone()).await;
    let catalog = Catalog::load(store).await.unwrap();
    objects.requests();
    assert_eq!(look(&catalog).await, [""; 0]);
    assert_eq!(objects.requests(), 1, "a look where there is no news");
}

#[tokio::test(start_paused = true)]
async fn a_revision_may_come_after_its_notice_or_never() {
    let (_objects, store) = bucket();
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    look(&other).await;
    let next = one.function("f").unwrap().revision.without_anything("2026-11-23T14:31:00Z".parse().unwrap()).unwrap();
    let notice = |revision| Notice { function: "f".parse().unwrap(), revision, id: None };
    store.announce(&notice(next.revision)).await.unwrap();
    assert_eq!(look(&other).await, [""; 0]);
    assert_eq!(other.shared.follow.lock().await.covered(), Some(1), "a snapshot does not cover the second notice yet");
    tokio::time::advance(PATIENCE / 2).await;
    assert_eq!(look(&other).await, [""; 0]);
    store.write_revision(&next).await.unwrap();
    assert_eq!(look(&other).await, ["f"]);
    store.announce(&notice(9)).await.unwrap();
    assert_eq!(look(&other).await, [""; 0]);
    tokio::time::advance(PATIENCE).await;
    look(&other).await;
    assert!(other.shared.follow.lock().await.expected.is_empty(), "nothing is waited for for ever");
}

#[tokio::test(start_paused = true)]
async fn who_is_busy_with_a_function_gives_up_nothing_that_others_made_of_it() {
    let (_objects, store) = bucket();
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    let name: FunctionName = "f".parse().unwrap();
    let busy = other.shared.turns.of(&name).lock().await;
    for _ in 0..2 {
        assert_eq!(look(&other).await, [""; 0]);
        assert_eq!(other.shared.follow.lock().await.covered(), Some(0), "a snapshot does not cover what was not read");
        tokio::time::advance(PATIENCE * 2).await;
    }
    drop(busy);
    assert_eq!(look(&other).await, ["f"]);
    assert_eq!(other.shared.follow.lock().await.covered(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_shown_though_a_later_revision_is_waited_for() {
    let (_objects, store) = bucket();
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    look(&other).await;
    // Of a writer that was stopped before it wrote the revision.
    store.announce(&Notice { function: "f".parse().unwrap(), revision: 9, id: None }).await.unwrap();
    deployed(&one, "f", "2").await;
    assert_eq!(look(&other).await, ["f"]);
    assert_eq!(other.resolve("f", None).unwrap().name.as_str(), "2");
    assert_eq!(look(&other).await, [""; 0], "it is shown once");
    deployed(&one, "f", "3").await;
    assert_eq!(look(&other).await, ["f"]);
    assert_eq!(other.shared.follow.lock().await.covered(), Some(1), "the later one may still come");
}

#[tokio::test(start_paused = true)]
async fn what_no_notice_told_is_found_when_everything_is_compared() {
    let (objects, store) = bucket();
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    deployed(&one, "by-hand", "1").await;
    look(&other).await;
    let gone = one.function("f").unwrap().revision.without_anything("2026-11-23T14:31:00Z".parse().unwrap()).unwrap();
    store.write_revision(&gone).await.unwrap();
    let removed = object_store::path::Path::from("functions/by-hand/00000000000000000001.json");
    object_store::ObjectStoreExt::delete(&*objects, &removed).await.unwrap();
    assert_eq!(look(&other).await, [""; 0]);
    tokio::time::advance(ALL_EVERY).await;
    assert_eq!(look(&other).await, ["by-hand", "f"]);
    assert!(other.functions().is_empty());
    assert!(Catalog::load(store).await.unwrap().functions().is_empty(), "the snapshot is none that lacks it");
}

#[tokio::test]
async fn who_was_away_while_notices_were_removed_sees_everything() {
    let (_objects, store) = bucket();
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    for revision in 0..600 {
        store.announce(&Notice { function: "x".parse().unwrap(), revision, id: None }).await.unwrap();
    }
    let (first, last) = store.notices_there_are().await.unwrap();
    assert_eq!((first, last), (1, 601));
    store.remove_notices(601).await.unwrap();
    assert_eq!(store.notices_there_are().await.unwrap(), (102, 601), "the newest stay");
    assert_eq!(look(&other).await, ["f"]);
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_changes_nothing_here() {
    let (objects, store) = bucket();
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    look(&other).await;
    deployed(&one, "f", "2").await;
    deployed(&one, "g", "1").await;
    objects.plan(|_, _| Fault::Request);
    assert!(other.look().await.failure.is_some());
    objects.plan(|_, path| if path.as_ref().starts_with("functions/f") { Fault::Request } else { Fault::Nothing });
    let Look { changes, failure } = other.look().await;
    assert!(failure.is_some());
    assert_eq!(changes.iter().map(|function| function.as_str()).collect::<Vec<_>>(), ["g"]);
    assert_eq!(other.resolve("f", None).unwrap().name.as_str(), "1", "what is known is served on");
    assert!(Catalog::load(store).await.is_err(), "nothing is served that may be half of it");
    objects.plan(|_, _| Fault::Nothing);
    assert_eq!(look(&other).await, ["f"]);
    assert_eq!(other.resolve("f", None).unwrap().name.as_str(), "2");
}

#[tokio::test]
async fn a_start_reads_a_snapshot_and_what_came_after_it() {
    let (objects, store) = bucket();
    let one = Catalog::load(store.clone()).await.unwrap();
    for function in 0..1500 {
        deployed(&one, &format!("f{function}"), "1").await;
    }
    one.delete_function("f7", Note::default()).await.unwrap();
    one.save().await;
    objects.requests();
    let other = Catalog::load(store.clone()).await.unwrap();
    assert_eq!((other.functions().len(), objects.requests()), (1499, 2), "the snapshot, and the notices after it");

    deployed(&one, "f8", "2").await;
    deployed(&one, "new", "1").await;
    objects.requests();
    let other = Catalog::load(store.clone()).await.unwrap();
    let requests = objects.requests();
    assert!(requests <= 10, "{requests}");
    assert_eq!(other.functions().len(), 1500);
    assert_eq!(other.resolve("f8", None).unwrap().name.as_str(), "2");
    // Hosts that write it at once take turns, and none undoes what another knows.
    deployed(&one, "newer", "1").await;
    tokio::join!(one.save(), other.save());
    other.save().await;
    objects.requests();
    assert_eq!(Catalog::load(store).await.unwrap().functions().len(), 1501);
    assert!(objects.requests() <= 3);
}

#[tokio::test]
async fn what_the_writer_of_a_snapshot_could_not_read_is_read_by_every_start() {
    let (objects, store) = bucket();
    let (one, other) = two(&store).await;
    deployed(&one, "f", "1").await;
    deployed(&one, "broken", "1").await;
    let path = object_store::path::Path::from("functions/broken/00000000000000000001.json");
    let whole = serde_json::to_vec(&one.function("broken").unwrap().revision).unwrap();
    object_store::ObjectStoreExt::put(&*objects, &path, "{".into()).await.unwrap();
    look(&other).await;
    other.save().await;
    let started = Catalog::load(store.clone()).await.unwrap();
    assert!(matches!(started.function("broken"), Err(CatalogError::Damaged { .. })), "it is not taken for none");
    assert!(started.function("f").is_ok());
    object_store::ObjectStoreExt::put(&*objects, &path, whole.into()).await.unwrap();
    assert!(Catalog::load(store).await.unwrap().function("broken").is_ok(), "it may be whole by then");
}

#[tokio::test(start_paused = true)]
async fn hosts_that_lose_answers_lose_no_change_and_make_none_twice() {
    let (objects, store) = bucket();
    let (one, other) = two(&store).await;
    // A row without a rhythm, the same each time.
    let mut row = 1u32;
    objects.plan(move |_, _| {
        row = row.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if (row >> 16).is_multiple_of(12) { Fault::Answer } else { Fault::Nothing }
    });
    let deploys = |catalog: Catalog, letter: char| async move {
        let mut done = Vec::new();
        for version in 0..20 {
            let deployment = super::super::tests::deployment("f", &format!("{letter}{version}"), "x");
            // What fails for a lost answer is tried again, as callers do.
            let mut tries = 0;
            while let Err(error) = catalog.deploy(deployment.clone(), Note::default()).await {
                tries += 1;
                assert!(tries < 100, "{error}");
            }
            done.push(format!("{letter}{version}"));
        }
        done
    };
    let (mut done, others) = tokio::join!(deploys(one.clone(), 'a'), deploys(other.clone(), 'b'));
    done.extend(others);
    objects.plan(|_, _| Fault::Nothing);
    let numbers = store.revisions(&"f".parse().unwrap()).await.unwrap();
    assert_eq!(numbers, (1..=40).collect::<Vec<u64>>(), "no revision is missing or made twice");
    let all: Vec<Revision> = {
        let name: FunctionName = "f".parse().unwrap();
        futures::future::try_join_all(numbers.iter().map(|number| store.revision(&name, *number))).await.unwrap()
    };
    for pair in all.windows(2) {
        assert_eq!(pair[1].versions.len(), pair[0].versions.len() + 1, "each is made on top of the one before");
    }
    for catalog in [&one, &other] {
        look(catalog).await;
        let function = catalog.function("f").unwrap();
        assert!(done.iter().all(|version| function.versions.contains_key(version.as_str())));
    }
}
