use std::fs;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::Catalog;
use super::super::tests::{deployed, deployment, empty};
use super::*;
use crate::registry::note::Note;

/// What a catalog shows, in full.
fn shown(catalog: &Catalog) -> String {
    format!("{:#?}\n{:#?}", catalog.functions(), catalog.damaged())
}

/// Waits until what was written by now has settled.
async fn settle(store: &Store) {
    let latest = store.write_blob(Bytes::from(format!("{:?}", std::time::SystemTime::now()))).await.unwrap();
    while store.folder().unwrap().blob_stamp(&latest.sha256).is_none() {
        tokio::task::yield_now().await;
    }
}

/// Loads with and without what was saved, compares, and saves.
async fn restarted(store: &Store, cache: &Path) -> Catalog {
    settle(store).await;
    let catalog = Catalog::load_saved(store.clone(), cache).await.unwrap();
    assert_eq!(shown(&catalog), shown(&Catalog::load(store.clone()).await.unwrap()));
    catalog.save().await;
    catalog
}

async fn looks(store: &Store, cache: &Path) -> Looks {
    settle(store).await;
    let folder = store.folder().unwrap();
    Looks::take(folder, store.list_functions().await.unwrap(), File::new(cache).read(folder))
}

fn unknown(looks: &Looks) -> Vec<&str> {
    looks.unknown.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn only_what_has_changed_is_read() {
    let (dir, store) = empty().await;
    let cache = dir.path().join("cache");
    let catalog = restarted(&store, &cache).await;
    assert!(!cache.exists(), "there is nothing to save");
    for (function, version) in [("a", "1"), ("a", "2"), ("b", "1"), ("gone", "1"), ("lost", "1")] {
        deployed(&catalog, function, version).await;
    }
    catalog.delete_function("gone", Note::default()).await.unwrap();
    settle(&store).await;
    catalog.save().await;
    let all = looks(&store, &cache).await;
    assert_eq!((all.known.len(), unknown(&all), all.gone), (4, vec![], false), "saved at the stop");

    deployed(&catalog, "b", "2").await;
    deployed(&catalog, "new", "1").await;
    fs::remove_dir_all(dir.path().join("functions/lost")).unwrap();
    let some = looks(&store, &cache).await;
    assert_eq!((some.known.len(), unknown(&some), some.gone), (2, vec!["b", "new"], true));
    let catalog = restarted(&store, &cache).await;
    assert_eq!(catalog.functions().len(), 3);
    assert!(unknown(&looks(&store, &cache).await).is_empty(), "saved after the start");
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_of_something_else_is_not_used() {
    let (dir, store) = empty().await;
    let catalog = restarted(&store, dir.path()).await;
    deployed(&catalog, "f", "1").await;
    settle(&store).await;
    catalog.save().await;
    let file = dir.path().join(FILE_NAME);
    let whole = fs::read(&file).unwrap();
    let root = store.folder().unwrap().root();
    assert!(parse(&whole, root).is_some_and(|known| known.len() == 1));
    assert!(parse(&whole, Path::new("/another")).is_none());
    for at in 0..whole.len() {
        assert!(parse(&whole[..at], root).is_none(), "cut at {at}");
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(parse(&flipped, root).is_none(), "flipped at {at}");
    }
    let line = String::from_utf8(whole[..whole.len() - 18].to_vec()).unwrap().replace(FORMAT, "0, nocti 0.0.1");
    let hash = XxHash3_64::oneshot(line.as_bytes());
    assert!(parse(format!("{line}\n{hash:016x}\n").as_bytes(), root).is_none(), "of another release");
    fs::write(&file, "damaged").unwrap();
    restarted(&store, dir.path()).await;
    assert_eq!(fs::read(&file).unwrap(), whole, "it is made anew");
}

#[derive(Debug, Clone)]
enum Step {
    Deploy(usize, u8),
    DeleteVersion(usize, u8),
    DeleteFunction(usize),
    /// Of a file in the store or of the saved one, by its place among them: emptied, changed in place, removed.
    Damage(prop::sample::Index, u8),
    Restart,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..NAMES.len(), 0..4u8).prop_map(|(name, version)| Step::Deploy(name, version)),
        1 => (0..NAMES.len(), 0..4u8).prop_map(|(name, version)| Step::DeleteVersion(name, version)),
        1 => (0..NAMES.len()).prop_map(Step::DeleteFunction),
        2 => (any::<prop::sample::Index>(), 0..3u8).prop_map(|(index, how)| Step::Damage(index, how)),
        2 => Just(Step::Restart),
    ]
}

fn files(root: &Path) -> Vec<PathBuf> {
    let folders = NAMES.map(|name| root.join("functions").join(name));
    let folders = [root.join("blobs/sha256"), root.join("cache")].into_iter().chain(folders);
    let mut files: Vec<_> = folders
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()))
        .collect();
    files.sort();
    files
}

fn damage(file: &Path, how: u8) {
    let mut content = fs::read(file).unwrap();
    match (how, content.last_mut()) {
        (0, _) => fs::write(file, "").unwrap(),
        (1, Some(last)) => {
            *last ^= 1;
            fs::write(file, content).unwrap();
        }
        _ => fs::remove_file(file).unwrap(),
    }
}

async fn lived(steps: Vec<Step>) {
    let (dir, store) = empty().await;
    let cache = dir.path().join("cache");
    let mut catalog = restarted(&store, &cache).await;
    for step in steps {
        // What is damaged or not there cannot be changed, which is as good a history.
        match step {
            Step::Deploy(name, version) => {
                let version = version.to_string();
                let _ = catalog.deploy(deployment(NAMES[name], &version, &version), Note::default()).await;
            }
            Step::DeleteVersion(name, version) => {
                let _ = catalog.delete_version(NAMES[name], &version.to_string(), Note::default()).await;
            }
            Step::DeleteFunction(name) => {
                let _ = catalog.delete_function(NAMES[name], Note::default()).await;
            }
            Step::Damage(index, how) => {
                let files = files(dir.path());
                if !files.is_empty() {
                    damage(&files[index.index(files.len())], how);
                }
            }
            Step::Restart => {
                catalog.save().await;
                catalog = restarted(&store, &cache).await;
            }
        }
    }
    restarted(&store, &cache).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_was_saved_changes_nothing_but_the_time(steps in prop::collection::vec(step(), 1..20)) {
        tokio::runtime::Runtime::new().unwrap().block_on(lived(steps));
    }
}
