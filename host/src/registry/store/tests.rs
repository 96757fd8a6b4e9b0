use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::registry::name::AliasName;
use crate::registry::note::Note;
use crate::registry::revision::{FunctionKind, Labels, VersionRecord};

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

/// Revision `number` of a function with as many versions.
fn revision(function: &str, number: u64) -> Revision {
    let now = "2026-11-23T14:31:00Z".parse().unwrap();
    let mut revision = Revision::before_first(name(function), now);
    for version in 1..=number {
        let record = VersionRecord {
            digest: Digest::of(&version.to_le_bytes()),
            kind: FunctionKind::Http,
            created_at: now,
            signature: None,
            models: Vec::new(),
            size_bytes: 1,
            labels: Labels::new(),
        };
        let version = version.to_string().parse().unwrap();
        revision = revision.with_deploy(&version, &record, Some(&AliasName::live()), now).unwrap().unwrap();
    }
    revision
}

async fn folder() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_folder(&dir.path().join("deep/data")).await.expect("the folder is made");
    (dir, store)
}

/// Every file of a store but its lock, relative to it.
fn files(dir: &TempDir) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path.to_str().unwrap().to_owned()) }
        }
    }
    let root = dir.path().join("deep/data");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let relative = found.iter().map(|path| path[root.to_str().unwrap().len() + 1..].to_owned());
    relative.filter(|path| path != "lock").collect()
}

fn blob_file(digest: Digest) -> String {
    format!("blobs/sha256/{digest}")
}

#[tokio::test]
async fn a_blob_written_in_pieces_reads_back() {
    let (dir, store) = folder().await;
    let blob = Blob::of(b"sea sparkle");
    let mut writer = store.blob_writer(blob).await.unwrap();
    writer.write(Bytes::from_static(b"sea ")).await.unwrap();
    writer.write(Bytes::from_static(b"sparkle")).await.unwrap();
    assert!(store.local_file(&blob.sha256).await.is_err(), "not there before the commit");
    writer.commit().await.unwrap();
    assert_eq!(store.read_blob(&blob.sha256, 11).await.unwrap(), "sea sparkle");
    assert_eq!(fs::read(store.local_file(&blob.sha256).await.unwrap()).unwrap(), b"sea sparkle");
    assert_eq!(files(&dir), [blob_file(blob.sha256)]);
    let error = store.read_blob(&blob.sha256, 10).await.expect_err("11 bytes are more than 10");
    assert!(matches!(error, StoreError::TooLarge { size: 11, cap: 10, .. }), "{error}");
    let error = store.read_blob(&Digest::of(b"other"), 10).await.expect_err("there is no such blob");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_of_many_parts_is_staged_and_then_whole() {
    let (dir, store) = folder().await;
    let piece = Bytes::from(vec![7; 3 << 20]);
    let content = piece.repeat(7);
    let blob = Blob::of(&content);
    let mut writer = store.blob_writer(blob).await.unwrap();
    for _ in 0..7 {
        writer.write(piece.clone()).await.unwrap();
    }
    assert_eq!(files(&dir), [blob_file(blob.sha256) + "#1"], "parts are on the disk, not in memory");
    assert!(store.local_file(&blob.sha256).await.is_err());
    writer.commit().await.unwrap();
    assert_eq!(files(&dir), [blob_file(blob.sha256)]);
    assert_eq!(store.read_blob(&blob.sha256, u64::MAX).await.unwrap(), content);
}

#[tokio::test]
async fn wrong_content_is_never_stored() {
    let (dir, store) = folder().await;
    let blob = Blob::of(b"right");
    for wrong in ["wrong", "rig", "right and more"] {
        let mut writer = store.blob_writer(blob).await.unwrap();
        let written = writer.write(wrong.into()).await;
        let error = match written {
            Ok(()) => writer.commit().await.expect_err(wrong),
            Err(error) => error,
        };
        assert!(matches!(error, StoreError::WrongContent { .. }), "{error}");
    }
    assert_eq!(files(&dir), [""; 0]);
}

#[tokio::test]
async fn an_existing_blob_is_checked_but_not_rewritten() {
    let (_dir, store) = folder().await;
    let blob = store.write_blob("content".into()).await.unwrap();
    let path = store.local_file(&blob.sha256).await.unwrap();
    // A second write would make a new file: give this one a mark that only the old one has.
    let marked = fs::File::open(&path).unwrap();
    marked.set_modified(std::time::UNIX_EPOCH).unwrap();
    store.write_blob("content".into()).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), std::time::UNIX_EPOCH);
    let mut writer = store.blob_writer(blob).await.unwrap();
    writer.write("CONTENT".into()).await.unwrap();
    assert!(matches!(writer.commit().await, Err(StoreError::WrongContent { .. })));
}

const PART: usize = 8 << 20;

#[test]
fn a_dropped_writer_leaves_nothing() {
    // One thread does all file operations in turn, so one that ends after the removal began comes after it.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (dir, store) = folder().await;
        let mut writer = store.blob_writer(Blob { size: 1 << 30, ..Blob::of(b"") }).await.unwrap();
        writer.write(vec![1; PART].into()).await.unwrap();
        assert_eq!(files(&dir).len(), 1);
        drop(writer);
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert_eq!(files(&dir), [""; 0]);
    });
}

#[tokio::test]
async fn what_a_killed_process_staged_is_swept_by_whoever_is_alone() {
    let (dir, store) = folder().await;
    store.write_revision(&revision("f", 1)).await.unwrap();
    let root = dir.path().join("deep/data");
    let digest = Digest::of(b"half");
    let staged = [root.join(format!("blobs/sha256/{digest}#1")), root.join("functions/f/00000000000000000002.json#12")];
    for path in &staged {
        fs::write(path, "{").unwrap();
    }
    let links = ["blobs", "trash"].map(|place| root.join(place).join("sha256/.link-a1"));
    for folder in &links {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "half").unwrap();
    }
    assert!(store.local_file(&digest).await.is_err());
    assert_eq!(store.latest(&name("f")).await.unwrap(), Some(revision("f", 1)), "what is staged is not there");

    let second = Store::open_folder(&root).await.unwrap();
    assert!(staged.iter().all(|path| path.exists()), "the first might still be writing it");
    drop((store, second));
    let third = Store::open_folder(&root).await.unwrap();
    assert!(!staged.iter().chain(&links).any(|path| path.exists()));
    assert_eq!(third.latest(&name("f")).await.unwrap(), Some(revision("f", 1)));
}

#[tokio::test]
async fn a_folder_that_is_gone_is_not_taken_for_an_empty_one() {
    let (dir, store) = folder().await;
    let (root, away) = (dir.path().join("deep/data"), dir.path().join("away"));
    let notice = Notice { function: name("f"), revision: 1, id: None };
    store.announce(&notice).await.unwrap();
    store.write_revision(&revision("f", 1)).await.unwrap();
    let blob = store.write_blob("content".into()).await.unwrap();
    fs::rename(&root, &away).unwrap();
    for in_its_place in ["nothing", "an empty folder", "another store"] {
        match in_its_place {
            "an empty folder" => fs::create_dir(&root).unwrap(),
            "another store" => drop(Store::open_folder(&root).await.unwrap()),
            _ => {}
        }
        let before = root.exists().then(|| files(&dir));
        let errors = [
            store.newest().await.err(),
            store.notices_after(0).await.err(),
            store.list_functions().await.err(),
            store.latest(&name("f")).await.err(),
            store.revision(&name("f"), 1).await.err(),
            store.trash().await.err(),
            store.lacks(vec![blob]).await.err(),
            store.local_file(&blob.sha256).await.err(),
            store.discard(blob).await.err(),
            store.clock().await.err(),
            store.announce(&notice).await.err(),
            store.write_revision(&revision("f", 2)).await.err(),
            store.write_blob("other".into()).await.err(),
        ];
        for (request, error) in errors.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("request {request} is believed with {in_its_place}"));
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
            let message = error.to_string();
            assert!(message.contains("mount it again, or restart the host"), "{message}");
            assert!(!message.contains(dir.path().to_str().unwrap()), "{message}");
        }
        assert_eq!(root.exists().then(|| files(&dir)), before, "nothing is written there");
    }
    fs::remove_dir_all(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    assert_eq!(store.newest().await.unwrap(), BTreeMap::from([(name("f"), 1)]));
    assert_eq!(store.notices_after(0).await.unwrap().notices, [(1, Some(notice))]);
    store.write_revision(&revision("f", 2)).await.unwrap();
    assert_eq!(store.read_blob(&blob.sha256, 10).await.unwrap(), "content");
}

#[tokio::test]
async fn revisions_are_written_once_and_the_highest_counts() {
    let (_dir, store) = folder().await;
    assert_eq!(store.latest(&name("f")).await.unwrap(), None);
    for number in [1, 2, 10] {
        let mut revision = revision("f", 2);
        revision.revision = number;
        store.write_revision(&revision).await.unwrap();
    }
    assert_eq!(store.latest(&name("f")).await.unwrap().unwrap().revision, 10);
    let again = revision("f", 2).noted(&Note::default());
    let error = store.write_revision(&again).await.expect_err("2 is written");
    assert!(matches!(&error, StoreError::Conflict { revision: 2, .. }), "{error}");
    store.write_revision(&revision("e", 1)).await.unwrap();
    assert_eq!(store.list_functions().await.unwrap(), [name("e"), name("f")]);
}

#[tokio::test]
async fn what_could_not_be_read_again_is_not_written() {
    let (_dir, store) = folder().await;
    store.write_revision(&revision("f", 1)).await.unwrap();
    let large =
        Revision { message: Some("x".repeat(usize::try_from(MAX_REVISION_BYTES).unwrap())), ..revision("f", 2) };
    let error = store.write_revision(&large).await.expect_err("it is too large");
    assert!(error.to_string().contains("may take 16777216; delete some of them first"), "{error}");
    assert_eq!(store.revisions(&name("f")).await.unwrap(), [1]);
}

#[tokio::test]
async fn a_damaged_revision_is_named_and_no_path_is_shown() {
    let (dir, store) = folder().await;
    store.write_revision(&revision("f", 1)).await.unwrap();
    let path = dir.path().join("deep/data/functions/f/00000000000000000001.json");
    let good = fs::read_to_string(&path).unwrap();
    let cases = [
        ("", "EOF"),
        (&good[..good.len() / 2], "EOF"),
        (&good.replace("\"f\"", "\"g\""), "it is revision 1 of function 'g'"),
        (&good.replace("\"1\": 100", "\"2\": 100"), "which is not there"),
        (&good.replace("\"kind\": \"http\"", "\"kind\": \"grpc\""), "unknown variant"),
    ];
    for (content, expected) in cases {
        fs::write(&path, content).unwrap();
        let error = store.latest(&name("f")).await.expect_err(expected);
        assert!(matches!(error, StoreError::Damaged { .. }));
        let message = error.to_string();
        assert!(message.contains("functions/f/00000000000000000001.json") && message.contains(expected), "{message}");
        assert!(!message.contains(dir.path().to_str().unwrap()), "{message}");
    }
    fs::write(&path, good.replacen('{', "{ \"shadow\": \"2\",", 1)).unwrap();
    let message = store.latest(&name("f")).await.expect_err("it is unknown").to_string();
    assert!(message.contains("unknown field `shadow`") && message.contains("if a newer nocti wrote it"), "{message}");
    fs::write(&path, good.replacen('{', "{ \"shadow\": \"2\", \"format\": 3,", 1)).unwrap();
    let error = store.latest(&name("f")).await.expect_err("it is of later");
    assert_eq!(
        error.to_string(),
        "functions/f/00000000000000000001.json in the store was written by a newer nocti (format 3), and this one reads up to \
         format 1: upgrade it"
    );
}

#[tokio::test]
async fn a_damaged_blob_is_not_given_out() {
    let (_dir, store) = folder().await;
    let blob = store.write_blob("content".into()).await.unwrap();
    fs::write(store.local_file(&blob.sha256).await.unwrap(), "c0ntent").unwrap();
    let error = store.read_blob(&blob.sha256, 100).await.expect_err("its content is another");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    store.write_blob("content".into()).await.unwrap();
    assert_eq!(store.read_blob(&blob.sha256, 100).await.unwrap(), "content", "it was written anew");
    fs::remove_file(store.local_file(&blob.sha256).await.unwrap()).unwrap();
    let error = store.read_blob(&blob.sha256, 100).await.expect_err("it is not there any more");
    assert!(error.to_string().ends_with("deploy the same version again, or delete the function"), "{error}");
}

#[test]
fn a_full_disk_is_recognised_behind_other_errors() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot copy")]
    struct Outer(#[source] std::io::Error);
    let outer = |kind: std::io::ErrorKind| object_store::Error::Generic {
        store: "LocalFileSystem",
        source: Box::new(Outer(kind.into())),
    };
    let path = ObjectPath::from("blobs/x");
    let full = failed("write", &path)(outer(std::io::ErrorKind::StorageFull));
    assert_eq!(
        full.to_string(),
        "no space is left in the store to write blobs/x; nothing was changed, free some space and try again"
    );
    let other = failed("write", &path)(outer(std::io::ErrorKind::PermissionDenied));
    assert_eq!(other.to_string(), "the store cannot write blobs/x");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let error = Store::open_folder(&path.join("data")).await.expect_err("a file is in the way");
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[tokio::test]
async fn waste_in_a_bucket_is_put_aside_brought_back_and_deleted() {
    let cache = tempfile::tempdir().unwrap();
    let store = Store::over(faulty::Faulty::new(), cache.path(), 1 << 20);
    let blob = store.write_blob("waste".into()).await.unwrap();
    assert!(store.discard(blob).await.unwrap());
    assert!(!store.exists(blob).await.unwrap());
    assert_eq!(store.read_blob(&blob.sha256, 10).await.unwrap(), "waste");
    assert!(store.exists(blob).await.unwrap());
    let (hour, now) = (chrono::TimeDelta::hours(1), store.clock().await.unwrap());
    assert!(
        !store.purge(&blob.sha256, now + hour).await.unwrap(),
        "another may be about to take it away from its place"
    );
    assert!(store.discard(blob).await.unwrap());
    assert_eq!(fs::read(store.local_file(&blob.sha256).await.unwrap()).unwrap(), b"waste");
    assert!(store.discard(blob).await.unwrap());
    let now = store.clock().await.unwrap();
    assert!(!store.purge(&blob.sha256, now - hour).await.unwrap(), "it is young");
    assert!(store.purge(&blob.sha256, now + hour).await.unwrap());
    assert!(store.trash().await.unwrap().is_empty());
    assert_eq!(store.lacks(vec![blob]).await.unwrap(), [blob]);
}

#[tokio::test]
async fn a_copy_that_a_bucket_has_only_promised_is_not_believed() {
    // What one of them copies does not appear in the other.
    let (objects, copies) = (faulty::Faulty::new(), faulty::Faulty::new());
    let store = Store::in_bucket(objects.clone(), copies.clone(), Path::new("/nowhere"), 0);
    let blob = Blob::of(b"promised");
    let path = ObjectPath::from_iter(["trash", "sha256", &blob.sha256.to_string()]);
    for bucket in [&objects, &copies] {
        bucket.put(&path, "promised".into()).await.unwrap();
    }
    copies.requests();
    assert_eq!(store.lacks(vec![blob]).await.unwrap(), [blob]);
    assert_eq!(copies.requests(), 1, "it was asked for the copy, and for nothing else");
}

#[tokio::test]
async fn a_blob_is_written_though_the_answer_was_lost() {
    let objects = faulty::Faulty::new();
    let store = Store::over(objects.clone(), Path::new("/nowhere"), 0);
    objects.plan(|request, _| if request == "put" { faulty::Fault::Answer } else { faulty::Fault::Nothing });
    let blob = store.write_blob("lost".into()).await.unwrap();
    assert!(store.exists(blob).await.unwrap());
    objects.plan(|request, _| if request == "put" { faulty::Fault::Request } else { faulty::Fault::Nothing });
    let error = store.write_blob("not there".into()).await.expect_err("it did not arrive");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
}
