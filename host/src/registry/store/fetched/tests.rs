use bytes::Bytes;

use super::super::Store;
use super::super::faulty::{Fault, Faulty};
use super::*;
use crate::registry::digest::Blob;

fn bucket(limit_bytes: u64) -> (tempfile::TempDir, Arc<Faulty>, Store) {
    let (cache, objects) = (tempfile::tempdir().unwrap(), Faulty::new());
    let store = Store::over(objects.clone(), cache.path(), limit_bytes);
    (cache, objects, store)
}

fn files(cache: &tempfile::TempDir) -> Vec<String> {
    let folder = fs::read_dir(cache.path().join("blobs/sha256")).into_iter().flatten();
    let mut names: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn used(file: &LocalFile, at: SystemTime) {
    fs::File::options().write(true).open(file).unwrap().set_modified(at).unwrap();
}

fn sorted<const N: usize>(blobs: [Digest; N]) -> [String; N] {
    let mut names = blobs.map(|blob| blob.to_string());
    names.sort();
    names
}

#[tokio::test]
async fn a_blob_is_fetched_once_for_all_that_want_it_at_once_and_later() {
    let (cache, objects, store) = bucket(u64::MAX);
    let content = Bytes::from((0..3_000_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    let blob = store.write_blob(content.clone()).await.unwrap();
    objects.requests();
    let wanted: Vec<_> = (0..8).map(|_| store.local_file(&blob.sha256)).collect();
    for file in futures::future::join_all(wanted).await {
        assert_eq!(fs::read(file.unwrap()).unwrap(), content);
    }
    assert_eq!(objects.requests(), 3, "its size, and two parts of 12 MB");
    store.local_file(&blob.sha256).await.unwrap();
    assert_eq!(objects.requests(), 0);
    assert_eq!(files(&cache), [blob.sha256.to_string()]);
    let empty = store.write_blob(Bytes::new()).await.unwrap();
    assert_eq!(fs::read(store.local_file(&empty.sha256).await.unwrap()).unwrap(), b"");
}

#[tokio::test]
async fn missing_and_unreachable_are_told_apart() {
    let (cache, objects, store) = bucket(u64::MAX);
    let error = store.local_file(&Digest::of(b"no")).await.expect_err("there is none");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    let blob = store.write_blob("content".into()).await.unwrap();
    objects.plan(|_, _| Fault::Request);
    let error = store.local_file(&blob.sha256).await.expect_err("nothing arrives");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    objects.plan(|_, _| Fault::Nothing);
    store.local_file(&blob.sha256).await.expect("it is there again");
    assert_eq!(files(&cache).len(), 1);
}

#[tokio::test]
async fn what_is_not_what_its_name_says_is_not_kept() {
    let (cache, objects, store) = bucket(u64::MAX);
    let blob = Blob::of(b"content");
    objects.put(&blob_path(&blob.sha256), "c0ntent".into()).await.unwrap();
    let error = store.local_file(&blob.sha256).await.expect_err("its content is another");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(files(&cache), [""; 0]);
}

#[tokio::test]
async fn the_least_lately_used_goes_when_there_is_no_room() {
    let (cache, _objects, store) = bucket(25);
    let mut blobs = Vec::new();
    for (content, age) in [("0123456789", 300), ("1234567890", 200)] {
        let blob = store.write_blob(content.into()).await.unwrap();
        let file = store.local_file(&blob.sha256).await.unwrap();
        used(&file, SystemTime::now() - Duration::from_secs(age));
        blobs.push(blob.sha256);
    }
    store.local_file(&blobs[0]).await.expect("it is used again");
    let third = store.write_blob("2345678901".into()).await.unwrap().sha256;
    store.local_file(&third).await.unwrap();
    assert_eq!(files(&cache), sorted([blobs[0], third]));
    let fourth = store.write_blob("3456789012".into()).await.unwrap().sha256;
    store.local_file(&fourth).await.unwrap();
    assert_eq!(files(&cache).len(), 3, "what was asked for a moment ago stays");
}

#[tokio::test]
async fn what_somebody_holds_stays_though_there_is_no_room() {
    let (cache, _objects, store) = bucket(15);
    let (mut blobs, mut held) = (Vec::new(), Vec::new());
    for content in ["0123456789", "1234567890", "2345678901"] {
        let blob = store.write_blob(content.into()).await.unwrap();
        let file = store.local_file(&blob.sha256).await.unwrap();
        used(&file, SystemTime::now() - Duration::from_secs(300));
        blobs.push(blob.sha256);
        held.push(file);
    }
    assert_eq!(files(&cache).len(), 3, "all are needed at once");
    held.truncate(1);
    let fourth = store.write_blob("3456789012".into()).await.unwrap().sha256;
    store.local_file(&fourth).await.unwrap();
    assert_eq!(files(&cache), sorted([blobs[0], fourth]));
    assert_eq!(fs::read(held[0].path()).unwrap(), b"0123456789");
}

#[tokio::test]
async fn a_time_of_the_future_does_not_keep_a_file() {
    let (cache, _objects, store) = bucket(25);
    let future = SystemTime::now() + Duration::from_secs(3600);
    let mut blobs = Vec::new();
    for (content, at) in [("0123456789", SystemTime::now() - Duration::from_secs(300)), ("1234567890", future)] {
        let blob = store.write_blob(content.into()).await.unwrap();
        used(&store.local_file(&blob.sha256).await.unwrap(), at);
        blobs.push(blob.sha256);
    }
    let third = store.write_blob("2345678901".into()).await.unwrap().sha256;
    let file = store.local_file(&third).await.unwrap();
    assert_eq!(files(&cache), sorted([blobs[0], third]), "a clock has gone back since the second was used");
    used(&file, future);
    let file = store.local_file(&third).await.unwrap();
    assert!(fs::metadata(file).unwrap().modified().unwrap() < future, "it is used now");
}
