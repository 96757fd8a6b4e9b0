use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Uploads, the store that they go to, and the folder of both.
async fn spool(max_bytes: u64) -> (Spool, Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_folder(&dir.path().join("store")).await.unwrap();
    let config = Config { max_bytes, max_age: Duration::ZERO };
    (Spool::new(dir.path().join("uploads"), config), store, dir)
}

/// Goes on with a blob. What was dropped a moment ago may hold its file until its last write is over.
async fn begun(spool: &Spool, blob: Blob, offset: u64) -> Upload {
    loop {
        match spool.begin(blob, offset).await {
            Err(SpoolError::Busy) => tokio::task::yield_now().await,
            begun => return begun.expect("there is room"),
        }
    }
}

/// Sends a piece of a blob, and goes away.
async fn piece(spool: &Spool, blob: Blob, offset: u64, bytes: &[u8]) {
    let mut upload = begun(spool, blob, offset).await;
    upload.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    upload.file.flush().await.unwrap();
}

fn files(dir: &TempDir) -> usize {
    fs::read_dir(dir.path().join("uploads")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    let (spool, store, dir) = spool(100).await;
    let blob = Blob::of(b"sea sparkle");
    assert_eq!(spool.offset(blob).await, 0);
    piece(&spool, blob, 0, b"sea ").await;
    assert_eq!(spool.offset(blob).await, 4);
    for wrong in [0, 3, 5, 11, u64::MAX] {
        let error = spool.begin(blob, wrong).await.expect_err("there are 4 bytes");
        assert_eq!(error.offset(), Some(4), "{wrong}: {error}");
    }
    let error = begun(&spool, blob, 4).await.finish(&store).await.expect_err("7 bytes are missing");
    assert!(matches!(error, SpoolError::Incomplete { offset: 4, size: 11 }), "{error}");
    let mut upload = begun(&spool, blob, 4).await;
    upload.write(Bytes::from_static(b"sparkle")).await.unwrap();
    upload.finish(&store).await.unwrap();
    assert_eq!(store.read_blob(&blob.sha256, 100).await.unwrap(), "sea sparkle");
    assert_eq!((files(&dir), spool.offset(blob).await), (0, 0));
}

#[tokio::test]
async fn what_is_not_the_blob_is_thrown_away() {
    let (spool, store, dir) = spool(100).await;
    let blob = Blob::of(b"right");
    piece(&spool, blob, 0, b"wrong").await;
    let error = begun(&spool, blob, 5).await.finish(&store).await.expect_err("another content");
    assert!(matches!(error, SpoolError::WrongContent { .. }) && error.offset() == Some(0), "{error}");
    let mut upload = begun(&spool, blob, 0).await;
    let error = upload.write(Bytes::from_static(b"right and more")).await.expect_err("too much");
    assert!(matches!(error, SpoolError::TooLong { size: 5 }) && error.offset() == Some(0), "{error}");
    drop(upload);
    assert_eq!((files(&dir), store.lacks(vec![blob]).await.unwrap()), (0, vec![blob]));
    // Whoever says another size begins anew.
    piece(&spool, Blob { size: 9, ..blob }, 0, b"too long").await;
    assert_eq!(spool.offset(blob).await, 0);
    piece(&spool, blob, 0, b"right").await;
    begun(&spool, blob, 5).await.finish(&store).await.expect("the right one");
}

#[tokio::test]
async fn one_at_a_time_sends_a_blob_whichever_host_it_comes_to() {
    let (spool, _store, dir) = spool(100).await;
    let blob = Blob::of(b"x");
    let other = Spool::new(dir.path().join("uploads"), Config::default());
    let upload = begun(&spool, blob, 0).await;
    for spool in [&spool, &other] {
        assert!(matches!(spool.begin(blob, 0).await, Err(SpoolError::Busy)));
        spool.sweep().await;
    }
    assert_eq!(files(&dir), 1, "what goes on is not swept");
    drop(upload);
    drop(begun(&other, blob, 0).await);
    spool.sweep().await;
    assert_eq!(files(&dir), 0, "at an age of nothing it is too old");
}

#[tokio::test]
async fn room_is_made_by_those_that_do_not_go_on() {
    let (spool, _store, dir) = spool(10).await;
    let blob = |content: &str| Blob::of(content.as_bytes());
    piece(&spool, blob("123456"), 0, b"12345").await;
    let going_on = begun(&spool, blob("1234567"), 0).await;
    assert_eq!((files(&dir), spool.offset(blob("123456")).await), (1, 0));
    assert!(matches!(spool.begin(blob("1234"), 0).await, Err(SpoolError::NoRoom)));
    drop(begun(&spool, blob("123"), 0).await);
    drop(going_on);
    drop(begun(&spool, blob("1234567890"), 0).await);
    assert!(matches!(spool.begin(blob("12345678901"), 0).await, Err(SpoolError::TooLarge { size: 11, max: 10 })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn in_whatever_pieces_it_comes_it_is_whole(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (spool, store, _dir) = spool(1000).await;
            let content = pieces.concat();
            let blob = Blob::of(&content);
            for bytes in &pieces {
                piece(&spool, blob, spool.offset(blob).await, bytes).await;
            }
            begun(&spool, blob, blob.size).await.finish(&store).await.unwrap();
            assert_eq!(store.read_blob(&blob.sha256, 1000).await.unwrap(), content);
        });
    }
}
