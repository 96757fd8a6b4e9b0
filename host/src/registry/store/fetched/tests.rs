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
        let used_at = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().write(true).open(file).unwrap().set_modified(used_at).unwrap();
        blobs.push(blob.sha256);
    }
    store.local_file(&blobs[0]).await.expect("it is used again");
    let third = store.write_blob("2345678901".into()).await.unwrap().sha256;
    store.local_file(&third).await.unwrap();
    let mut left = [blobs[0].to_string(), third.to_string()];
    left.sort();
    assert_eq!(files(&cache), left);
    let fourth = store.write_blob("3456789012".into()).await.unwrap().sha256;
    store.local_file(&fourth).await.unwrap();
    assert_eq!(files(&cache).len(), 3, "what was asked for a moment ago stays");
}
