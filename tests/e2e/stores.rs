//! Hosts that share a store: a folder, and a real bucket whose requests get lost.

use std::path::Path;

use nocti_tests::{Bucket, Fate, HostProcess, Vendor, eventually, fixture_model, model_bundle, nocti};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ran, client, get, infer, post, run};

/// A version of a function.
fn bundle(function: &str, version: &str) -> Vec<u8> {
    model_bundle(function, version, &fixture_model("scalar.onnx"))
}

fn input() -> Value {
    json!([{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}])
}

/// Hosts of one store, each with a cache of its own.
struct Hosts {
    store: String,
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl Hosts {
    fn of_folder() -> Self {
        let folder = TempDir::new().unwrap();
        Self { store: folder.path().join("store").display().to_string(), environment: Vec::new(), folder }
    }

    fn of_bucket(bucket: &Bucket) -> Self {
        let environment = bucket.environment().into_iter().map(|(name, value)| (name, value.to_owned()));
        Self { store: bucket.url().into(), environment: environment.collect(), folder: TempDir::new().unwrap() }
    }

    async fn start(&self) -> (HostProcess, TempDir) {
        let cache = TempDir::new().unwrap();
        let mut environment: Vec<(&str, &str)> = vec![("NOCTI_CACHE_DIR", cache.path().to_str().unwrap())];
        environment.extend(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        (HostProcess::start(Path::new(&self.store), &environment).await, cache)
    }

    /// `nocti serve`, which is to fail.
    async fn fails_to_start(&self) -> Ran {
        let mut command = nocti();
        command.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--store", &self.store]);
        command
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(self.folder.path());
        run(command).await.expect(1)
    }
}

/// The versions of a function, as a host shows them.
async fn versions(host: &HostProcess, function: &str) -> Vec<String> {
    let shown = get(host, &format!("/api/functions/{function}")).await;
    if shown.status != 200 {
        return Vec::new();
    }
    let shown = shown.json();
    let versions = shown["versions"].as_array().unwrap().iter();
    let mut names: Vec<_> = versions.map(|version| version["version"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Deploys, and again where the store did not answer; what was acknowledged.
async fn deploys(host: &HostProcess, versions: &[&str]) {
    for version in versions {
        eventually("a deploy", async || {
            let answer = post(host, "/api/functions", bundle("f", version)).await;
            assert!(matches!(answer.status, 200 | 201 | 503), "{}", answer.text());
            (answer.status != 503).then_some(())
        })
        .await;
    }
}

/// What two hosts do at once is all there, in order, and each sees what the other has done.
async fn two_hosts_deploy_at_once(hosts: &Hosts) -> [(HostProcess, TempDir); 2] {
    let (one, other) = tokio::join!(hosts.start(), hosts.start());
    tokio::join!(deploys(&one.0, &["a1", "a2", "a3", "a4"]), deploys(&other.0, &["b1", "b2", "b3", "b4"]));
    let all = ["a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"];
    for (host, _) in [&one, &other] {
        eventually("all that was deployed", async || (versions(host, "f").await == all).then_some(())).await;
        let history = get(host, "/api/functions/f/revisions").await.expect(200);
        let numbers: Vec<_> =
            history["revisions"].as_array().unwrap().iter().map(|past| past["revision"].clone()).collect();
        assert_eq!(numbers, (1..=8).rev().map(|number| json!(number)).collect::<Vec<Value>>(), "{history}");
        infer(host, "f", input()).await.expect(200);
    }
    // A change of traffic, and a deletion.
    let body = json!({"weights": {"a1": 1}}).to_string();
    let set = client().put(format!("{}/api/functions/f/aliases/live", one.0.url)).body(body).send().await.unwrap();
    assert_eq!(set.status(), 200);
    let live = async || get(&other.0, "/api/functions/f").await.json()["aliases"]["live"].clone();
    eventually("the new traffic", async || (live().await == json!({"a1": 1})).then_some(())).await;
    let deleted = client().delete(format!("{}/api/functions/f", other.0.url)).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    eventually("the deletion", async || (get(&one.0, "/api/functions/f").await.status == 404).then_some(())).await;
    [one, other]
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_one_folder_see_each_others_changes() {
    two_hosts_deploy_at_once(&Hosts::of_folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_one_bucket_see_each_others_changes_though_answers_get_lost() {
    answers_get_lost(Vendor::S3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_one_azure_container_see_each_others_changes_though_answers_get_lost() {
    answers_get_lost(Vendor::Azure).await;
}

async fn answers_get_lost(vendor: Vendor) {
    let bucket = Bucket::start(vendor).await;
    let hosts = Hosts::of_bucket(&bucket);
    let mut puts = 0;
    bucket.plan(move |method, target| {
        puts += usize::from(
            method == hyper::Method::PUT && (target.contains("/functions/") || target.contains("/changes/")),
        );
        match puts % 4 {
            _ if method != hyper::Method::PUT => Fate::Done,
            1 => Fate::AnswerLost,
            2 => Fate::Refused(500),
            _ => Fate::Done,
        }
    });
    let [(one, _), (other, _)] = two_hosts_deploy_at_once(&hosts).await;
    bucket.plan(|_, _| Fate::Done);
    for function in ["g", "h", "i"] {
        post(&one, "/api/functions", bundle(function, "1")).await.expect(201);
    }
    for host in [one, other] {
        host.signal("TERM").await;
        assert_eq!(host.wait().await.0, Some(0));
    }

    // A start reads the snapshot, and no function by itself.
    bucket.seen();
    let (third, _cache) = hosts.start().await;
    let seen = bucket.seen();
    // It looks for changes every second, as often as the start takes seconds.
    let looks = |request: &str| request.contains("prefix=") && request.contains("changes");
    let others = seen.iter().filter(|request| !looks(request)).count();
    assert!(others <= 6 && !seen.iter().any(|request| request.contains("/functions")), "{seen:#?}");
    assert_eq!(versions(&third, "h").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_does_not_answer_stops_no_request() {
    let bucket = Bucket::start(Vendor::S3).await;
    let (host, _cache) = Hosts::of_bucket(&bucket).start().await;
    post(&host, "/api/functions", bundle("f", "1")).await.expect(201);
    infer(&host, "f", input()).await.expect(200);
    bucket.plan(|_, _| Fate::Refused(503));
    let reachable = async |expected: &str| {
        let text = get(&host, "/metrics").await.text();
        text.contains(&format!("nocti_store_reachable {expected}")).then_some(())
    };
    post(&host, "/api/functions", bundle("g", "1")).await.expect_error(503, "store_unreachable", &["try again"]);
    infer(&host, "f", input()).await.expect(200);
    eventually("that it is noticed", async || reachable("0").await).await;
    bucket.plan(|_, _| Fate::Done);
    eventually("that it is over", async || reachable("1").await).await;
    post(&host, "/api/functions", bundle("g", "1")).await.expect(201);
    host.logged("the store answers again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_a_store_is_refused_at_the_start() {
    let bucket = Bucket::start(Vendor::S3).await;
    let mut hosts = Hosts::of_bucket(&bucket);
    bucket.plan(|_, _| Fate::Refused(403));
    hosts.fails_to_start().await.expect_error(1, &["s3://bucket/a/prefix", "AWS_SECRET_ACCESS_KEY"]);
    bucket.plan(|_, _| Fate::Unconditional);
    hosts.fails_to_start().await.expect_error(1, &["If-None-Match", "conditional writes"]);
    bucket.plan(|_, _| Fate::Done);
    hosts.store = "s3://another".into();
    hosts.fails_to_start().await.expect_error(1, &["there is no bucket 'another'"]);
    hosts.store = "s3://key:secret@bucket".into();
    hosts.fails_to_start().await.expect_error(1, &["--store: credentials do not belong into a store's URL"]);
}
