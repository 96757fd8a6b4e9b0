//! SIGKILL at a hundred random moments: two hosts on one store take turns at dying while they deploy, delete, move traffic, take
//! uploads and collect garbage. Whatever was acknowledged is there afterwards, and nothing is half.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nocti::registry::digest::Blob;
use nocti::registry::manifest::Manifest;
use nocti::registry::nocti_toml::Project;
use nocti_tests::{HostProcess, eventually, fixture_model, write};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{client, text};

const KILLS: usize = 100;

/// Versions of a function beyond these are deleted.
const MANY: usize = 6;

/// Collects after three seconds, and looks every quarter of that.
const SETTINGS: [(&str, &str); 2] = [("NOCTI_BLOBS_GRACE", "3s"), ("NOCTI_UPLOADS_MAX_AGE", "1s")];

/// Numbers that the seed decides.
struct Chance(u64);

impl Chance {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let count = 1 + self.below(most);
        (0..count).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

/// What must be there of a version.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    There,
    Gone,
    /// Nobody has said that it is done.
    Either,
}

/// Whoever changes a function, and remembers what was acknowledged.
struct Owner {
    function: &'static str,
    chance: Chance,
    versions: BTreeMap<String, (State, Vec<u8>)>,
    /// Where its alias may point.
    live: Vec<String>,
    /// Where changes whose answers nobody waited for may point it yet.
    late: Vec<String>,
    count: usize,
}

impl Owner {
    fn new(function: &'static str, seed: u64) -> Self {
        Self { function, chance: Chance(seed), versions: BTreeMap::new(), live: Vec::new(), late: Vec::new(), count: 0 }
    }

    /// Changes one thing after another, until it is stopped in the middle of one.
    async fn work(&mut self, host: &str) {
        self.late.extend_from_slice(&self.live);
        loop {
            let old =
                self.versions.iter().find(|(name, (state, _))| *state == State::There && !self.live.contains(name));
            let old = old.map(|(name, _)| name.clone());
            match (self.chance.below(10), old) {
                (_, Some(old)) if self.versions.len() > MANY => self.delete(host, &old).await,
                (0..6, _) | (_, None) => self.deploy(host).await,
                (6, Some(old)) => self.delete(host, &old).await,
                (7 | 8, Some(old)) => self.point(host, &old).await,
                (_, Some(_)) => self.upload_waste(host).await,
            }
        }
    }

    async fn deploy(&mut self, host: &str) {
        self.count += 1;
        let version = format!("v{:06}", self.count);
        let folder = TempDir::new().unwrap();
        let asset = self.chance.bytes(20_000);
        std::fs::write(folder.path().join("asset"), &asset).unwrap();
        let manifest = format!(
            "name = {:?}\nversion = {version:?}\n[[model]]\nname = \"m\"\npath = {:?}\nwarmup = false\n[assets]\na = \"asset\"\n",
            self.function,
            text(&fixture_model("identity_int64.onnx"))
        );
        let bundle = write(&Project::parse(folder.path(), &manifest).unwrap());
        self.versions.insert(version.clone(), (State::Either, bundle.clone()));
        self.live.push(version.clone());
        let url = format!("{host}/api/functions");
        let answer = if self.chance.below(2) == 0 {
            status(client().post(&url).body(bundle)).await
        } else {
            let model = std::fs::read(fixture_model("identity_int64.onnx")).unwrap();
            for part in [model, asset] {
                self.upload(host, &part).await;
            }
            let mut splitter = nocti::registry::split::Splitter::new();
            splitter.push(bundle.into()).unwrap();
            let manifest: Manifest = (*splitter.finish().unwrap()).clone();
            let request = client().post(&url).header("content-type", "application/vnd.nocti.manifest+json");
            status(request.body(manifest.canonical_json())).await
        };
        // Whoever takes longer than the grace may find its parts collected, and is told.
        if answer == 201 {
            self.versions.entry(version.clone()).and_modify(|(state, _)| *state = State::There);
            self.live = vec![version];
        }
    }

    async fn delete(&mut self, host: &str, version: &str) {
        self.versions.entry(version.to_owned()).and_modify(|(state, _)| *state = State::Either);
        let url = format!("{host}/api/functions/{}/versions/{version}", self.function);
        if status(client().delete(url)).await == 200 {
            self.versions.entry(version.to_owned()).and_modify(|(state, _)| *state = State::Gone);
        }
    }

    async fn point(&mut self, host: &str, version: &str) {
        self.live.push(version.to_owned());
        let url = format!("{host}/api/functions/{}/aliases/live", self.function);
        if status(client().put(url).body(json!({"weights": {version: 1}}).to_string())).await == 200 {
            self.live = vec![version.to_owned()];
        }
    }

    /// Sends a blob, in two pieces or one.
    async fn upload(&mut self, host: &str, content: &[u8]) {
        let blob = Blob::of(content);
        let url = |from: usize| format!("{host}/api/blobs/{}?size_bytes={}&offset={from}", blob.sha256, blob.size);
        let middle = usize::try_from(self.chance.below(content.len() as u64)).unwrap();
        // Of one piece the second is empty.
        let middle = if self.chance.below(2) == 0 { middle } else { content.len() };
        for range in [0..middle, middle..content.len()] {
            status(client().put(url(range.start)).body(content[range].to_vec())).await;
        }
    }

    /// A blob that no version will ever have, or a part of one.
    async fn upload_waste(&mut self, host: &str) {
        let content = self.chance.bytes(20_000);
        let blob = Blob::of(&content);
        let kept = usize::try_from(self.chance.below(content.len() as u64 + 1)).unwrap();
        let url = format!("{host}/api/blobs/{}?size_bytes={}", blob.sha256, blob.size);
        status(client().put(url).body(content[..kept].to_vec())).await;
    }

    /// Sees that what was acknowledged is there, and that whatever is there is whole; that is what is known from then on.
    async fn check(&mut self, host: &str, when: &str) {
        let answer = client().get(format!("{host}/api/functions/{}", self.function)).send().await.unwrap();
        let shown: Value = if answer.status() == 404 { json!({}) } else { answer.json().await.unwrap() };
        let listed = shown["versions"].as_array().cloned().unwrap_or_default();
        let listed: Vec<&str> = listed.iter().map(|version| version["version"].as_str().unwrap()).collect();
        for (version, (state, bundle)) in &mut self.versions {
            let is_there = listed.contains(&version.as_str());
            let expected = if is_there { State::There } else { State::Gone };
            assert!([expected, State::Either].contains(state), "{when}: {version} is {state:?}, but {expected:?}");
            *state = expected;
            if is_there {
                let url = format!("{host}/api/functions/{}/versions/{version}/bundle", self.function);
                let answer = client().get(url).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{when}: {version}: {}", answer.text().await.unwrap());
                assert!(answer.bytes().await.unwrap() == *bundle, "{when}: {version} has another content");
            }
        }
        self.versions.retain(|_, (state, _)| *state == State::There);
        assert_eq!(listed.len(), self.versions.len(), "{when}: {shown}");
        if let Some(live) = shown["aliases"]["live"].as_object() {
            let live = live.keys().next().unwrap();
            assert!(
                self.live.contains(live) || self.late.contains(live),
                "{when}: live is {live}, not {:?}",
                self.live
            );
            self.live = vec![live.clone()];
            self.late.clear();
        }
    }
}

/// The answer's status; 0 where none came.
async fn status(request: RequestBuilder) -> u16 {
    match request.send().await {
        Ok(answer) => answer.status().as_u16(),
        Err(_) => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let seed = u64::try_from(seed).unwrap();
    eprintln!("seed {seed}");
    let store = TempDir::new().unwrap();
    let mut chance = Chance(seed);
    let mut owners = [Owner::new("f", seed ^ 1), Owner::new("g", seed ^ 2)];
    let mut hosts = Vec::new();
    for _ in 0..2 {
        hosts.push(HostProcess::start(store.path(), &SETTINGS).await);
    }
    for round in 0..KILLS {
        let dies = round % 2;
        let urls: Vec<String> = hosts.iter().map(|host| host.url.clone()).collect();
        let moment = Duration::from_micros(chance.below(300_000));
        let [one, other] = &mut owners;
        // A change of the host that stays is stopped in the middle as well: its client goes.
        let work = async { tokio::join!(one.work(&urls[0]), other.work(&urls[1])) };
        let _ = tokio::time::timeout(moment, work).await;
        hosts.remove(dies).kill().await;
        hosts.insert(dies, HostProcess::start(store.path(), &SETTINGS).await);
        let when = format!("seed {seed}, kill {round}");
        owners[dies].check(&hosts[dies].url, &when).await;
    }
    for (owner, host) in owners.iter_mut().zip(&hosts) {
        settled(owner, host).await;
        owner.check(&host.url, &format!("seed {seed}, the end")).await;
    }
    // What nothing refers to goes; two of everything at most: a manifest and an asset each, and the model.
    let kept: usize = owners.iter().map(|owner| 2 * owner.versions.len()).sum::<usize>() + 1;
    // What a killed host has staged is swept by one that starts alone, which none of these did.
    let is_staged = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains('#');
    let files = |folder: &str| {
        let entries = std::fs::read_dir(store.path().join(folder)).into_iter().flatten().flatten();
        entries.filter(|entry| !is_staged(entry)).count()
    };
    let clean = || files("blobs/sha256") == kept && files("trash/sha256") == 0 && files("cache/uploads") == 0;
    eventually("all garbage is collected", async || clean().then_some(())).await;
    for (mut owner, host) in owners.into_iter().zip(hosts) {
        owner.check(&host.url, &format!("seed {seed}, after all")).await;
        host.signal("TERM").await;
        let (code, log) = host.wait().await;
        assert!(code == Some(0) && !log.contains("panicked"), "{log}");
    }
}

/// Waits until a change whose client went is over, by making one more.
async fn settled(owner: &mut Owner, host: &HostProcess) {
    let url = format!("{}/api/functions/{}", host.url, owner.function);
    let request = || client().request(Method::GET, &url).send();
    let mut before = Value::Null;
    eventually("nothing changes any more", async || {
        let now = request().await.ok()?.json::<Value>().await.ok()?;
        let same = now == before;
        before = now;
        same.then_some(())
    })
    .await;
}
