use std::fs::File;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt;

use super::super::tests::{deployment, empty};
use super::*;
use crate::registry::bundle::Piece;
use crate::registry::digest::Blob;
use crate::registry::note::Note;
use crate::registry::store::Store;

const GRACE: Duration = Duration::from_secs(60);

fn aged(store: &Store, place: &str, digest: &Digest) {
    let file = File::open(store.folder().unwrap().root().join(place).join("sha256").join(digest.to_string())).unwrap();
    file.set_modified(SystemTime::now() - 2 * GRACE).unwrap();
}

fn is_in(store: &Store, place: &str, digest: &Digest) -> bool {
    store.folder().unwrap().root().join(place).join("sha256").join(digest.to_string()).exists()
}

async fn written(store: &Store, content: &str) -> Blob {
    let blob = store.write_blob(Bytes::copy_from_slice(content.as_bytes())).await.unwrap();
    aged(store, "blobs", &blob.sha256);
    blob
}

async fn deployed(catalog: &Catalog, version: &str) {
    catalog.deploy(deployment("f", version, version), Note::default()).await.expect("deployed");
}

#[tokio::test]
async fn what_nobody_refers_to_goes_in_two_steps() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let (used, waste) = (written(&store, "used").await, written(&store, "waste").await);
    let young = store.write_blob(Bytes::from_static(b"young")).await.unwrap();
    deployed(&catalog, "used").await;
    aged(&store, "blobs", &catalog.resolve("f", None).unwrap().digest);

    let collected = catalog.collect(GRACE).await.unwrap();
    assert_eq!(collected, Collected { discarded: 1, ..Collected::default() });
    assert!(!is_in(&store, "blobs", &waste.sha256) && is_in(&store, "trash", &waste.sha256));
    assert_eq!(catalog.collect(GRACE).await.unwrap(), Collected::default(), "it is young in the trash");
    aged(&store, "trash", &waste.sha256);
    let collected = catalog.collect(GRACE).await.unwrap();
    assert_eq!(collected, Collected { deleted: 1, deleted_bytes: 5, ..Collected::default() });
    assert_eq!(store.lacks(vec![used, waste, young]).await.unwrap(), [waste]);
    assert_eq!(Catalog::load(store).await.unwrap().functions().len(), 1);
}

#[tokio::test]
async fn what_is_deleted_is_waste_and_what_others_have_deployed_is_not() {
    let (_dir, store) = empty().await;
    let (ours, theirs) = (Catalog::load(store.clone()).await.unwrap(), Catalog::load(store.clone()).await.unwrap());
    let (one, two) = (written(&store, "1").await, written(&store, "2").await);
    deployed(&ours, "1").await;
    deployed(&theirs, "2").await;
    theirs.delete_version("f", "1", Note::default()).await.unwrap();
    assert!(ours.resolve("f", Some("1")).is_ok(), "we have not seen it yet");
    assert_eq!(ours.collect(GRACE).await.unwrap().discarded, 1);
    assert_eq!((is_in(&store, "blobs", &one.sha256), is_in(&store, "blobs", &two.sha256)), (false, true));
}

#[tokio::test]
async fn whoever_wants_it_after_all_has_it_back() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let blob = written(&store, "wanted").await;
    let discard = async || {
        aged(&store, "blobs", &blob.sha256);
        assert!(store.discard(blob).await.unwrap());
        assert!(!is_in(&store, "blobs", &blob.sha256));
    };
    discard().await;
    assert_eq!(store.read_blob(&blob.sha256, 10).await.unwrap(), "wanted");
    discard().await;
    assert!(store.local_file(&blob.sha256).await.is_ok());
    discard().await;
    assert_eq!(store.lacks(vec![blob]).await.unwrap(), []);
    discard().await;
    let read: Vec<Bytes> = store.stream(vec![Piece::Of(blob, 1..4)]).try_collect().await.unwrap();
    assert_eq!(read.concat(), b"ant");
    // Nobody looks, but it is referred to.
    deployed(&catalog, "wanted").await;
    discard().await;
    aged(&store, "trash", &blob.sha256);
    assert_eq!(catalog.collect(GRACE).await.unwrap(), Collected { recovered: 1, ..Collected::default() });
    assert!(is_in(&store, "blobs", &blob.sha256));
    // One of another size is damaged, and no use to anybody.
    assert_eq!(store.lacks(vec![Blob { size: 7, ..blob }]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_copy_in_the_trash_takes_the_place_of_none() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let blob = written(&store, "used").await;
    deployed(&catalog, "used").await;
    let copy = store.folder().unwrap().root().join("trash/sha256").join(blob.sha256.to_string());
    std::fs::write(&copy, "us").unwrap();
    aged(&store, "trash", &blob.sha256);
    assert_eq!(catalog.collect(GRACE).await.unwrap(), Collected::default());
    assert_eq!(store.read_blob(&blob.sha256, 10).await.unwrap(), "used");
}

#[tokio::test]
async fn one_that_cannot_be_moved_is_in_no_others_way() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let (stuck, waste) = (written(&store, "stuck").await, written(&store, "waste").await);
    std::fs::create_dir(store.folder().unwrap().root().join("trash/sha256").join(stuck.sha256.to_string())).unwrap();
    let collected = catalog.collect(GRACE).await.unwrap();
    assert_eq!(collected, Collected { discarded: 1, ..Collected::default() });
    assert!(is_in(&store, "blobs", &stuck.sha256) && !is_in(&store, "blobs", &waste.sha256));
}

#[tokio::test]
async fn a_function_that_cannot_be_read_may_refer_to_anything() {
    let (_dir, store) = empty().await;
    written(&store, "1").await;
    let waste = written(&store, "waste").await;
    deployed(&Catalog::load(store.clone()).await.unwrap(), "1").await;
    let revision = store.folder().unwrap().root().join("functions/f/00000000000000000001.json");
    std::fs::write(&revision, "{").unwrap();
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let error = catalog.collect(GRACE).await.expect_err("nothing may be collected");
    assert!(error.to_string().contains("functions/f/"), "{error}");
    assert!(is_in(&store, "blobs", &waste.sha256));
}

#[tokio::test]
async fn a_clock_that_goes_back_costs_time_alone() {
    let (_dir, store) = empty().await;
    let catalog = Catalog::load(store.clone()).await.unwrap();
    let waste = store.write_blob(Bytes::from_static(b"of the future")).await.unwrap();
    let file = File::open(store.local_file(&waste.sha256).await.unwrap()).unwrap();
    file.set_modified(SystemTime::now() + 1000 * GRACE).unwrap();
    assert_eq!(catalog.collect(GRACE).await.unwrap(), Collected::default());
    assert_eq!(catalog.collect(Duration::MAX).await.unwrap(), Collected::default(), "longer than there is a time");
}

/// Collectors see every blob as waste the moment it is written, and find their way between the steps of deploys.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_collector_takes_what_is_being_deployed() {
    let (_dir, store) = empty().await;
    let catalogs = [Catalog::load(store.clone()).await.unwrap(), Catalog::load(store.clone()).await.unwrap()];
    let collectors = catalogs.clone().map(|catalog| {
        tokio::spawn(async move {
            loop {
                catalog.collect(GRACE).await.expect("the store is whole");
            }
        })
    });
    for round in 0..60 {
        let catalog = &catalogs[round % 2];
        let content = format!("v{round}");
        let blob = written(&store, &content).await;
        // Every third time a collector was quicker.
        if round % 3 == 0 {
            let taken = async {
                while is_in(&store, "blobs", &blob.sha256) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), taken).await.expect("a collector takes it");
        }
        // Otherwise it has come so far.
        for _ in 0..100 * (round % 7) {
            tokio::task::yield_now().await;
        }
        // What a deploy does: `crate::deploy`.
        assert_eq!(store.lacks(vec![blob]).await.unwrap(), []);
        deployed(catalog, &content).await;
        let version = catalog.resolve("f", None).unwrap();
        let manifest = Blob::of(&version.manifest.canonical_json());
        assert_eq!(store.lacks(vec![blob, manifest]).await.unwrap(), [], "round {round}");
        assert_eq!(store.read_blob(&blob.sha256, 10).await.unwrap(), content, "round {round}");
        assert!(store.read_blob(&manifest.sha256, 10_000).await.is_ok(), "round {round}");
        catalog.delete_function("f", Note::default()).await.unwrap();
    }
    collectors.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn what_was_staged_and_left_goes_while_others_use_the_store() {
    let (_dir, store) = empty().await;
    let root = store.folder().unwrap().root().to_owned();
    let _other = Store::open_folder(&root).await.unwrap();
    let catalog = Catalog::load(store.clone()).await.unwrap();
    deployed(&catalog, "1").await;
    let number = "00000000000000000009.json";
    let blob = format!("blobs/sha256/{}#1", Digest::of(b"half"));
    let staged = [blob, format!("changes/{number}#1"), format!("functions/f/{number}#12")].map(|name| root.join(name));
    for (age, stays) in [(ABANDONED / 2, true), (2 * ABANDONED, false)] {
        for path in &staged {
            std::fs::write(path, "{").unwrap();
            File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        catalog.collect(GRACE).await.unwrap();
        assert!(staged.iter().all(|path| path.exists() == stays), "{age:?}");
    }
}
