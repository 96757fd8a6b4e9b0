use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::registry::digest::Blob;
use crate::registry::manifest::{Model, ModelOptions};

fn manifest(function: &str, version: &str, content: &str) -> Manifest {
    let mut manifest = Manifest::new(function.parse().unwrap(), version.parse().unwrap());
    let blob = Blob::of(content.as_bytes());
    manifest.models.push(Model { name: "m".parse().unwrap(), blob, options: ModelOptions::default() });
    manifest
}

pub(super) fn deployment(function: &str, version: &str, content: &str) -> Deployment {
    Deployment {
        manifest: Arc::new(manifest(function, version, content)),
        kind: FunctionKind::ModelOnly,
        signature: None,
        models: Vec::new(),
        alias: Some(AliasName::live()),
    }
}

/// An empty store, and the folder it is in.
pub(super) async fn empty() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_folder(dir.path()).await.unwrap();
    (dir, store)
}

pub(super) async fn deployed(catalog: &Catalog, function: &str, version: &str) -> Published {
    catalog.deploy(deployment(function, version, version), Note::default()).await.expect("the version is new")
}

fn resolved(catalog: &Catalog, function: &str, version: Option<&str>) -> Result<String, String> {
    catalog.resolve(function, version).map(|v| v.name.to_string()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_is_deployed_is_resolved_at_once_and_after_a_restart() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    deployed(&catalog, "f", "1").await;
    let second = deployed(&catalog, "f", "2").await;
    assert!(second.changed);
    for catalog in [catalog, Catalog::load(store).await.unwrap()] {
        assert_eq!(resolved(&catalog, "f", None), Ok("2".to_owned()));
        assert_eq!(resolved(&catalog, "f", Some("live")), Ok("2".to_owned()));
        assert_eq!(resolved(&catalog, "f", Some("1")), Ok("1".to_owned()));
        let version = catalog.resolve("f", Some("2")).unwrap();
        assert_eq!(*version.manifest, manifest("f", "2", "2"));
        assert_eq!((version.digest, version.record.size_bytes), (version.manifest.digest(), 1));
        assert_eq!(catalog.function("f").unwrap().revision.revision, 2);
    }
}

#[tokio::test]
async fn what_is_unknown_is_answered_with_what_is_known() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store).await.unwrap();
    assert_eq!(resolved(&catalog, "x", None), Err("Request for unknown model: 'x' is not found".to_owned()));
    assert!(matches!(
        catalog.delete_function("Not A Name", Note::default()).await,
        Err(CatalogError::UnknownFunction(_))
    ));
    deployed(&catalog, "f", "1.0.0").await;
    deployed(&catalog, "f", "1.1.0").await;
    let message = "Request for unknown model: 'f' version '2' is not found; function 'f' has versions 1.0.0, 1.1.0";
    assert_eq!(resolved(&catalog, "f", Some("2")), Err(message.to_owned()));
    catalog.deploy(Deployment { alias: None, ..deployment("quiet", "1", "x") }, Note::default()).await.unwrap();
    assert_eq!(resolved(&catalog, "quiet", Some("1")), Ok("1".to_owned()));
    let message = resolved(&catalog, "quiet", None).expect_err("there is no live alias");
    assert!(message.contains("gets no traffic") && message.contains("has versions 1"), "{message}");
}

#[tokio::test]
async fn deploying_the_same_again_changes_nothing() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store).await.unwrap();
    let first = deployed(&catalog, "f", "1").await;
    let again = deployed(&catalog, "f", "1").await;
    assert!(!again.changed);
    assert_eq!(again.function.revision, first.function.revision);
    let error = catalog.deploy(deployment("f", "1", "other"), Note::default()).await.expect_err("1 has other content");
    assert!(matches!(error, CatalogError::Revision(RevisionError::VersionTaken { .. })), "{error}");
    assert_eq!(resolved(&catalog, "f", None), Ok("1".to_owned()));
}

#[tokio::test]
async fn deleting_is_seen_at_once_and_survives() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    for version in ["1", "2"] {
        deployed(&catalog, "f", version).await;
    }
    deployed(&catalog, "g", "1").await;
    let in_use = catalog.resolve("f", None).unwrap();
    catalog.delete_version("f", "1", Note::default()).await.expect("no alias points there");
    catalog.delete_function("f", Note::default()).await.expect("it is there");
    assert_eq!(in_use.name.as_str(), "2", "whoever has resolved it goes on");
    for catalog in [&catalog, &Catalog::load(store).await.unwrap()] {
        assert!(matches!(catalog.resolve("f", None), Err(CatalogError::UnknownFunction(_))));
        let names: Vec<_> = catalog.functions().iter().map(|function| function.name().to_string()).collect();
        assert_eq!(names, ["g"]);
    }
    let back =
        catalog.deploy(deployment("f", "2", "other"), Note::default()).await.expect("a deleted version may come back");
    assert_eq!(back.function.revision.revision, 5);
}

#[tokio::test]
async fn two_writers_of_one_store_both_succeed() {
    let (_dir, store) = empty().await;
    let one = Catalog::load(store.clone()).await.unwrap();
    let other = Catalog::load(store.clone()).await.unwrap();
    let (a, b) = (0..8).map(|n| (format!("a{n}"), format!("b{n}"))).unzip::<_, _, Vec<_>, Vec<_>>();
    let deploys = |catalog: Catalog, versions: Vec<String>| async move {
        for version in versions {
            deployed(&catalog, "f", &version).await;
        }
    };
    tokio::join!(deploys(one, a), deploys(other, b));
    let catalog = Catalog::load(store).await.unwrap();
    let function = catalog.function("f").unwrap();
    assert_eq!((function.versions.len(), function.revision.revision), (16, 16));
}

#[tokio::test]
async fn a_lost_race_is_run_again_on_the_winners_state() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let winner = Catalog::load(store.clone()).await.unwrap();
    deployed(&winner, "f", "1").await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    // The first time, the change is computed from a state that is no longer the newest when it is written.
    let published = catalog
        .publish("f".parse().unwrap(), Note::default(), move |current| {
            let now = Timestamp::now();
            let mut next = current.without_anything(now)?;
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                next.revision = 1;
            }
            Ok(Some(next))
        })
        .await
        .expect("the second attempt succeeds");
    assert_eq!((calls.load(Ordering::Relaxed), published.function.revision.revision), (2, 2));
    let earlier = |current: &Revision| Ok(Some(Revision { revision: 1, ..current.clone() }));
    let error = catalog.publish("f".parse().unwrap(), Note::default(), earlier).await;
    assert!(matches!(error, Err(CatalogError::Contended(_))));
}

#[tokio::test]
async fn a_damaged_function_leaves_the_others_alone() {
    let (dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    for function in ["broken-blob", "broken-revision", "later-manifest", "later-revision", "whole"] {
        deployed(&catalog, function, "1").await;
    }
    let later = |json: &str| json.replacen('{', "{\"melted\":true,\"format\":2,", 1);
    let file = revision_file(dir.path(), "later-revision");
    fs::write(&file, later(&fs::read_to_string(&file).unwrap())).unwrap();
    let file = revision_file(dir.path(), "later-manifest");
    let digest = catalog.resolve("later-manifest", None).unwrap().digest;
    let manifest = later(&fs::read_to_string(store.local_file(&digest).await.unwrap()).unwrap());
    let manifest = store.write_blob(manifest.into()).await.unwrap().sha256;
    let revision = fs::read_to_string(&file).unwrap();
    fs::write(&file, revision.replace(&digest.to_string(), &manifest.to_string())).unwrap();
    fs::write(revision_file(dir.path(), "broken-revision"), "{").unwrap();
    let digest = catalog.resolve("broken-blob", None).unwrap().digest;
    fs::remove_file(store.local_file(&digest).await.unwrap()).unwrap();

    let catalog = Catalog::load(store).await.expect("the rest can be read");
    assert_eq!(resolved(&catalog, "whole", None), Ok("1".to_owned()));
    let damaged = catalog.damaged();
    let names = ["broken-blob", "broken-revision", "later-manifest", "later-revision"];
    assert_eq!(damaged.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    for (_, why) in &damaged[2..] {
        assert!(why.ends_with("by a newer nocti (format 2), and this one reads up to format 1: upgrade it"), "{why}");
    }
    let deploy = catalog.deploy(deployment("later-revision", "2", "x"), Note::default()).await;
    assert!(matches!(deploy, Err(CatalogError::Store(StoreError::Newer { .. }))), "nothing of it may get lost");
    assert!(damaged[0].1.contains(&digest.to_string()), "{damaged:?}");
    assert!(damaged[1].1.contains("functions/broken-revision/00000000000000000001.json"), "{damaged:?}");
    assert!(matches!(catalog.resolve("broken-revision", None), Err(CatalogError::Damaged { .. })));
    assert!(matches!(
        catalog.deploy(deployment("broken-revision", "2", "x"), Note::default()).await,
        Err(CatalogError::Store(_))
    ));
    catalog.delete_function("broken-blob", Note::default()).await.expect("what is not needed to delete may be missing");
    assert_eq!(catalog.damaged().len(), 3);
}

fn revision_file(root: &Path, function: &str) -> std::path::PathBuf {
    root.join("functions").join(function).join("00000000000000000001.json")
}

#[tokio::test]
async fn traffic_is_split_between_versions() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    deployed(&catalog, "f", "1").await;
    deployed(&catalog, "f", "2").await;
    let halves = ["1", "2"].map(|version| (version.to_owned(), 50)).into();
    catalog.set_traffic("f", AliasName::live(), halves, None, Note::default()).await.unwrap();
    let ones = (0..1000).filter(|_| resolved(&catalog, "f", None).as_deref() == Ok("1")).count();
    assert!((300..700).contains(&ones), "{ones} of 1000, twelve standard deviations are allowed");
    let other = Catalog::load(store).await.unwrap();
    let keyed = |catalog: &Catalog, key: usize| {
        catalog.resolve_for(Some(&key.to_le_bytes()), "f", None).unwrap().version.name.to_string()
    };
    let kept: Vec<String> = (0..1000).map(|key| keyed(&catalog, key)).collect();
    let ones = kept.iter().filter(|version| *version == "1").count();
    assert!((300..700).contains(&ones), "{ones} of 1000");
    assert_eq!(kept, (0..1000).map(|key| keyed(&other, key)).collect::<Vec<_>>(), "every host agrees");
    assert_eq!(
        catalog.resolve_for(Some(b"any"), "f", Some("2")).unwrap().version.name.as_str(),
        "2",
        "a version is a version"
    );
}
