//! What the node made ahead may be lost, damaged or of no use: functions answer all the same.

use std::path::{Path, PathBuf};

use nocti::cache::{Cache, Key, Kind};
use nocti_tests::{TestHost, bundle_with, example, fixture_guest};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::tensor;

/// The digits example: a component and a model.
async fn ask(host: &TestHost) -> Value {
    let pixels: Vec<u8> = (0..64).collect();
    let request = json!({"inputs": [tensor("image", "UINT8", &[1, 8, 8], json!(pixels))]});
    host.infer("digits", &request).await.expect(200)["outputs"].clone()
}

/// A store in which the function is deployed and prepared, and what it answers.
async fn deployed() -> (TempDir, Value) {
    let host = TestHost::start().await;
    host.deploy(&example("digits")).await.expect(201);
    let answer = ask(&host).await;
    (host.stop().await.1, answer)
}

/// The files of all entries, seals among them.
fn files(cache: &Path) -> Vec<PathBuf> {
    let entries = ["components", "models"].map(|kind| std::fs::read_dir(cache.join(kind)).expect("it is there"));
    let folders = entries.into_iter().flatten().map(|entry| entry.expect("it can be listed").path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).expect("an entry is a folder"));
    files.map(|file| file.expect("it can be listed").path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_entries_are_made_anew_and_answers_stay_the_same() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("truncated", |file| {
            let content = std::fs::read(file).unwrap();
            std::fs::write(file, &content[..content.len() / 2]).unwrap();
        }),
        ("emptied", |file| std::fs::write(file, "").unwrap()),
        ("flipped", |file| {
            let mut content = std::fs::read(file).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            std::fs::write(file, content).unwrap();
        }),
        ("removed", |file| std::fs::remove_file(file).unwrap()),
        ("a folder", |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }),
    ];
    let (mut store, answer) = deployed().await;
    let cache = store.path().join("cache");
    let names: Vec<PathBuf> = files(&cache).iter().filter_map(|file| file.file_name().map(PathBuf::from)).collect();
    for expected in ["component.cwasm", "model.onnx", "weights", "seal.json"] {
        assert!(names.iter().any(|name| name == Path::new(expected)), "{expected} is not in {names:?}");
    }
    for (how, damage) in damages {
        for name in ["component.cwasm", "model.onnx", "weights", "seal.json"] {
            files(&cache).iter().filter(|file| file.ends_with(name)).for_each(|file| damage(file));
            let host = TestHost::start_over(store, |_| {}).await;
            assert_eq!(ask(&host).await, answer, "{name} {how}");
            store = host.stop().await.1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_entry_that_nobody_can_read_is_made_anew() {
    let (store, answer) = deployed().await;
    let cache = store.path().join("cache");
    // As another version would have written it, were the key not what it is.
    let other = Cache::open(cache.clone(), u64::MAX);
    for kind in [Kind::Components, Kind::Models] {
        let folder = cache.join(if kind == Kind::Components { "components" } else { "models" });
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let seal = std::fs::read_to_string(entry.join("seal.json")).unwrap();
            let seal: Value = serde_json::from_str(seal.lines().next().unwrap()).unwrap();
            let digest = entry.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().0.to_owned();
            let key = Key { kind, digest: &digest, made_for: "another version" };
            let written = other.write(key, |folder| {
                for name in seal["files"].as_object().unwrap().keys() {
                    std::fs::write(folder.join(name), "in another form")?;
                }
                Ok::<_, std::io::Error>(seal["facts"].clone())
            });
            std::fs::remove_dir_all(&entry).unwrap();
            std::fs::rename(written.unwrap().file(""), &entry).unwrap();
        }
    }
    let host = TestHost::start_over(store, |_| {}).await;
    assert_eq!(ask(&host).await, answer);
    assert_eq!(ask(&host).await, answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_removed_while_the_host_runs_is_not_missed() {
    let (store, answer) = deployed().await;
    let cache = store.path().join("cache");
    let host = TestHost::start_over(store, |config| config.idle.model = std::time::Duration::from_millis(100)).await;
    assert_eq!(ask(&host).await, answer);
    std::fs::remove_dir_all(&cache).unwrap();
    assert_eq!(ask(&host).await, answer, "what is mapped stays");
    let unloaded = async || (host.status("digits").await["state"] == "component").then_some(());
    nocti_tests::eventually("it is unloaded", unloaded).await;
    assert_eq!(ask(&host).await, answer, "and is made anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_written_costs_time_alone() {
    let (store, answer) = deployed().await;
    let cache = store.path().join("cache");
    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::create_dir(&cache).unwrap();
    for kind in ["components", "models"] {
        std::fs::write(cache.join(kind), "in the way").unwrap();
    }
    let host = TestHost::start_over(store, |_| {}).await;
    assert_eq!(ask(&host).await, answer);
    let sessions = &host.get("/api/status").await.expect(200)["sessions"];
    assert!(sessions[0]["size_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{sessions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_that_are_lost_or_damaged_are_unpacked_again() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| project.manifest.instances.reuse = 1)).await;
    let read = async || host.get("/functions/misbehave-http/read?path=/assets/folder/nested.txt").await.text();
    let content = std::fs::read_to_string(fixture_guest("free").join("nested.txt")).unwrap();
    assert_eq!(read().await, content);
    let assets = host.store().join("cache/assets");
    let entry = || std::fs::read_dir(&assets).unwrap().next().expect("an entry").unwrap().path();
    let damages: [&dyn Fn() -> PathBuf; 3] = [&|| assets.clone(), &entry, &|| entry().join("assets")];
    for damage in damages {
        let damaged = damage();
        // Not while another instance has its assets unpacked.
        let removed = async || std::fs::remove_dir_all(&damaged).ok();
        nocti_tests::eventually("it can be removed", removed).await;
        // One that is there already has the old folder open.
        for _ in 0..3 {
            read().await;
        }
        assert_eq!(read().await, content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_beyond_the_limit_go() {
    let (store, answer) = deployed().await;
    let cache = store.path().join("cache");
    std::fs::remove_dir_all(&cache).unwrap();
    let host = TestHost::start_over(store, |config| config.cache_limit = 1).await;
    assert_eq!(ask(&host).await, answer);
    let entries = files(&cache).iter().filter_map(|file| file.parent().map(Path::to_path_buf)).collect::<Vec<_>>();
    assert!(
        !entries.is_empty() && entries.iter().all(|entry| *entry == entries[0]),
        "only the latest is kept: {entries:?}"
    );
}
