use super::*;
use std::fs::File;

const KEY: Key<'_> = Key { kind: Kind::Models, digest: "d1", made_for: "this processor" };

fn cache() -> (TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().to_owned(), 1 << 20);
    (folder, cache)
}

fn write(cache: &Cache, key: Key<'_>, content: &[u8]) -> Entry<u32> {
    let made = cache.write(key, |folder| {
        std::fs::write(folder.join("a"), content)?;
        std::fs::write(folder.join("b"), b"second").map(|()| 7)
    });
    made.unwrap()
}

fn find(cache: &Cache, key: Key<'_>) -> Option<Vec<u8>> {
    let entry: Entry<u32> = cache.find(key)?;
    assert_eq!(entry.facts, 7);
    Some(std::fs::read(entry.file("a")).unwrap())
}

#[test]
fn what_was_written_is_found_under_its_whole_key_alone() {
    let (_folder, cache) = cache();
    write(&cache, KEY, b"content");
    assert_eq!(find(&cache, KEY).unwrap(), b"content");
    for other in
        [Key { digest: "d2", ..KEY }, Key { made_for: "another", ..KEY }, Key { kind: Kind::Components, ..KEY }]
    {
        assert!(find(&cache, other).is_none(), "{other:?}");
    }
    write(&cache, KEY, b"replaced");
    assert_eq!(find(&cache, KEY).unwrap(), b"replaced");
}

#[test]
fn an_entry_that_was_changed_is_noticed_and_made_anew() {
    type Damage = fn(&Entry<u32>);
    let damages: [(&str, Damage); 7] = [
        ("truncated", |entry| std::fs::write(entry.file("a"), b"con").unwrap()),
        ("emptied", |entry| std::fs::write(entry.file("b"), b"").unwrap()),
        ("flipped", |entry| std::fs::write(entry.file("a"), b"conteNt").unwrap()),
        ("a file removed", |entry| std::fs::remove_file(entry.file("b")).unwrap()),
        ("seal removed", |entry| std::fs::remove_file(entry.file("seal.json")).unwrap()),
        ("seal flipped", |entry| {
            let text = std::fs::read_to_string(entry.file("seal.json")).unwrap();
            std::fs::write(entry.file("seal.json"), text.replace(":7}", ":8}")).unwrap();
        }),
        ("a file in its place", |entry| {
            std::fs::remove_dir_all(&entry.folder).unwrap();
            std::fs::write(&entry.folder, b"?").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let (_folder, cache) = cache();
        damage(&write(&cache, KEY, b"content"));
        assert!(find(&cache, KEY).is_none(), "{name}");
        write(&cache, KEY, b"content");
        assert_eq!(find(&cache, KEY).unwrap(), b"content", "{name}");
    }
}

#[test]
fn a_copied_entry_is_hashed_and_believed() {
    let (_folder, cache) = cache();
    let entry = write(&cache, KEY, b"content");
    let copy = entry.file("copy");
    std::fs::copy(entry.file("a"), &copy).unwrap();
    std::fs::rename(&copy, entry.file("a")).unwrap();
    assert_eq!(find(&cache, KEY).unwrap(), b"content");
}

#[test]
fn what_was_not_finished_is_not_found_and_leaves_nothing() {
    let (folder, cache) = cache();
    let failed = cache.write(KEY, |folder| {
        std::fs::write(folder.join("a"), b"half").unwrap();
        Err::<u32, _>("no more")
    });
    assert!(matches!(failed, Err(CacheError::Content("no more"))));
    assert!(find(&cache, KEY).is_none());
    assert_eq!(std::fs::read_dir(folder.path().join("models")).unwrap().count(), 0);
}

#[test]
fn the_least_lately_used_go_first_and_the_latest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().to_owned(), 5000);
    let key = |digest| Key { digest, ..KEY };
    for digest in ["d1", "d2", "d3"] {
        let entry = write(&cache, key(digest), &[0; 1000]);
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        File::options().append(true).open(entry.file("seal.json")).unwrap().set_modified(long_ago).unwrap();
    }
    // Used now, so the others go before it.
    assert!(find(&cache, key("d1")).is_some());
    write(&cache, key("d4"), &[0; 3000]);
    assert!(find(&cache, key("d1")).is_some() && find(&cache, key("d4")).is_some());
    assert!(find(&cache, key("d2")).is_none());
    write(&cache, key("d5"), &[0; 9000]);
    assert!(find(&cache, key("d5")).is_some(), "larger than the limit, but the latest");
    assert!(find(&cache, key("d1")).is_none() && find(&cache, key("d4")).is_none());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_and_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("models"), b"a file").unwrap();
    let cache = Cache::open(folder.path().to_owned(), 1 << 20);
    let refused = cache.write(KEY, |_| Ok::<_, ()>(7));
    assert!(matches!(refused, Err(CacheError::Folder(_))));
    assert!(find(&cache, KEY).is_none());
}

#[test]
fn what_somebody_has_is_not_removed_to_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().to_owned(), 5000);
    let key = |digest| Key { digest, ..KEY };
    let held = write(&cache, key("d1"), &[0; 3000]);
    write(&cache, key("d2"), &[0; 4000]);
    assert!(find(&cache, key("d1")).is_some() && find(&cache, key("d2")).is_some());
    drop(held);
    write(&cache, key("d3"), &[0; 4000]);
    assert!(find(&cache, key("d1")).is_none() && find(&cache, key("d2")).is_none());
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_unusable_or_eternal() {
    let (_folder, cache) = cache();
    let entry = write(&cache, KEY, b"content");
    let tomorrow = SystemTime::now() + Duration::from_secs(86400);
    for file in ["a", "seal.json"] {
        File::options().append(true).open(entry.file(file)).unwrap().set_modified(tomorrow).unwrap();
    }
    assert_eq!(find(&cache, KEY).unwrap(), b"content");
    let used_at = std::fs::metadata(entry.file("seal.json")).unwrap().modified().unwrap();
    assert!(used_at <= SystemTime::now(), "its turn to go comes as that of others");
}

#[test]
fn of_those_that_want_an_entry_at_once_one_makes_it() {
    let (_folder, cache) = cache();
    let made = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let entry = cache.find_or_write(KEY, |folder| {
                    made.fetch_add(1, Ordering::Relaxed);
                    std::fs::write(folder.join("a"), b"content").map(|()| 7_u32)
                });
                assert_eq!(entry.unwrap().facts, 7);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert!(cache.making.is_empty());
}
