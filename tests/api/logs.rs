//! `GET /api/functions/NAME/logs`: what functions print, as it is kept and as it comes.

use nocti_tests::grpc::inference::infer_parameter::ParameterChoice;
use nocti_tests::grpc::inference::{InferParameter, ModelInferRequest};
use nocti_tests::{Answer, TestHost, bundle_with, eventually, fixture_guest};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::mode;

/// A function that prints what it is told to.
fn printer(name: &str, version: &str) -> Vec<u8> {
    bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.manifest.name = name.parse().expect("a name");
        project.manifest.version = version.parse().expect("a version");
    })
}

async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deployed(printer("free", "1.0.0")).await;
    host
}

async fn print(host: &TestHost, function: &str, id: &str, message: &str) {
    let request = host.request(Method::POST, &format!("/v2/models/{function}/infer")).header("x-request-id", id);
    let body = mode("print", json!({"message": message}), &[]).to_string();
    host.send(request.body(body)).await.expect(200);
}

fn parsed(bytes: &[u8]) -> Vec<Value> {
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter().collect::<Result<_, _>>();
    lines.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

async fn read(host: &TestHost, function: &str, query: &str) -> Vec<Value> {
    let answer = host.get(&format!("/api/functions/{function}/logs{query}")).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/x-ndjson".parse().expect("text")));
    parsed(&answer.body)
}

/// The log, when it has so many lines.
async fn lines(host: &TestHost, function: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines of {function}"), async || {
        Some(read(host, function, "").await).filter(|lines| lines.len() >= count)
    })
    .await
}

/// Stream, id and text of each line.
fn told(lines: &[Value]) -> Vec<(&str, &str, &str)> {
    fn word<'l>(line: &'l Value, name: &str) -> &'l str {
        line[name].as_str().unwrap_or("-")
    }
    lines.iter().map(|line| (word(line, "stream"), word(line, "request"), word(line, "text"))).collect()
}

/// A log that is followed, and what came of it.
struct Followed {
    response: Response,
    seen: Vec<u8>,
}

impl Followed {
    async fn begin(host: &TestHost, function: &str) -> Self {
        let request = host.request(Method::GET, &format!("/api/functions/{function}/logs?follow=true"));
        let response = request.send().await.expect("the host answers");
        assert_eq!(response.status(), 200);
        Self { response, seen: Vec::new() }
    }

    /// Reads until this has come on both streams.
    async fn until(&mut self, text: &str) {
        while String::from_utf8_lossy(&self.seen).matches(text).count() < 2 {
            let more = self.response.chunk().await.expect("it goes on");
            self.seen.extend_from_slice(&more.unwrap_or_else(|| panic!("it ended before '{text}'")));
        }
    }

    /// Reads to the end.
    async fn end(mut self) -> Vec<Value> {
        while let Some(more) = self.response.chunk().await.expect("it ends well") {
            self.seen.extend_from_slice(&more);
        }
        parsed(&self.seen)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_prints_is_kept_with_the_id_of_its_request() {
    let host = host().await;
    print(&host, "free", "first", "one\ntwo").await;
    print(&host, "free", "second", "\u{1b}[1m \"three\"").await;
    let lines = lines(&host, "free", 6).await;
    assert_eq!(
        told(&lines),
        [
            ("stdout", "first", "one"),
            ("stdout", "first", "two"),
            ("stderr", "first", "one"),
            ("stderr", "first", "two"),
            ("stdout", "second", "\u{1b}[1m \"three\""),
            ("stderr", "second", "\u{1b}[1m \"three\""),
        ]
    );
    for line in &lines {
        assert_eq!(line["version"], "1.0.0");
        let time = line["time"].as_str().expect("a time");
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_known_over_grpc_and_where_a_guest_waits() {
    let host = host().await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    // Its task is another one by then. The answer breaks off, with its head or before.
    let request =
        host.request(Method::GET, "/functions/misbehave-http/trap-after-headers").header("x-request-id", "raw");
    let _ = request.send().await;
    let trap = eventually("the trap", async || {
        let lines = read(&host, "misbehave-http", "").await;
        lines.into_iter().find(|line| line["text"].as_str().is_some_and(|text| text.contains("after the head")))
    });
    let trap = trap.await;
    assert_eq!((&trap["stream"], &trap["request"]), (&"stderr".into(), &"raw".into()));

    let parameter = |text: &str| InferParameter { parameter_choice: Some(ParameterChoice::StringParam(text.into())) };
    let message = |text: &str| ModelInferRequest {
        model_name: "free".into(),
        parameters: [("mode".into(), parameter("print")), ("message".into(), parameter(text))].into(),
        ..ModelInferRequest::default()
    };
    let mut client = host.grpc().await;
    let mut call = tonic::Request::new(message("alone"));
    call.metadata_mut().insert("x-request-id", "call".parse().expect("a value"));
    client.model_infer(call).await.expect("it is answered");
    let mut call = tonic::Request::new(futures::stream::iter([message("of many")]));
    call.metadata_mut().insert("x-request-id", "stream".parse().expect("a value"));
    let mut answers = client.model_stream_infer(call).await.expect("it is served").into_inner();
    while answers.message().await.expect("it goes on").is_some() {}
    let lines = lines(&host, "free", 4).await;
    assert_eq!((told(&lines)[0], told(&lines)[2]), (("stdout", "call", "alone"), ("stdout", "stream", "of many")));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_are_cut_and_say_so() {
    let host = host().await;
    print(&host, "free", "long", &"é".repeat(5000)).await;
    let lines = lines(&host, "free", 6).await;
    let of_stdout = lines.iter().filter(|line| line["stream"] == "stdout");
    let (cuts, texts): (Vec<_>, Vec<_>) =
        of_stdout.map(|line| (line["cut"] == true, line["text"].as_str().expect("a text"))).unzip();
    assert_eq!((cuts, texts.concat()), (vec![true, true, false], "é".repeat(5000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_chosen_by_version_time_and_number() {
    let host = host().await;
    print(&host, "free", "1", "old").await;
    lines(&host, "free", 2).await;
    host.deployed(printer("free", "2.0.0")).await;
    print(&host, "free", "2", "new").await;
    let all = lines(&host, "free", 4).await;
    let texts = async |query: &str| -> Vec<String> {
        read(&host, "free", query).await.iter().map(|line| line["text"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(texts("?version=1.0.0").await, ["old", "old"]);
    assert_eq!(texts("?version=2.0.0&limit=1").await, ["new"]);
    assert_eq!(texts("?limit=3").await, ["old", "new", "new"]);
    let time = all[2]["time"].as_str().expect("a time").replace(':', "%3A");
    assert_eq!(texts(&format!("?since={time}")).await, ["new", "new"]);
    assert_eq!((texts("?since=1h").await.len(), texts("?since=0s&follow=false").await.len()), (4, 0));
    for (query, parts) in [
        ("?since=yesterday", ["since", "5m"]),
        ("?limit=-1", ["limit", "number"]),
        ("?version=%2F", ["version", "'/'"]),
        ("?until=5m", ["until", "since, version, limit, follow"]),
    ] {
        let answer = host.get(&format!("/api/functions/free/logs{query}")).await;
        answer.expect_error(400, "invalid_request", &parts);
    }
    host.get("/api/functions/nobody/logs").await.expect_error(404, "not_found", &["'nobody'"]);
    let none = host.get("/api/functions/free/logs?version=3.0.0").await;
    none.expect_error(404, "not_found", &["version '3.0.0' is not found", "1.0.0, 2.0.0"]);
    let head = host.send(host.request(Method::HEAD, "/api/functions/free/logs?follow=true")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(host.post("/api/functions/free/logs", "").await.status == 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_its_version_and_lines_outlive_theirs() {
    let host = host().await;
    print(&host, "free", "1", "old").await;
    lines(&host, "free", 2).await;
    host.deployed(printer("free", "2.0.0")).await;
    print(&host, "free", "2", "new").await;
    lines(&host, "free", 4).await;
    let texts = async |query: &str| -> Vec<String> {
        read(&host, "free", query).await.iter().map(|line| line["text"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(texts("?version=live").await, ["new", "new"]);
    let live = async |weights: Value| {
        let body = json!({"weights": weights}).to_string();
        host.send(host.request(Method::PUT, "/api/functions/free/aliases/live").body(body)).await.expect(200);
    };
    live(json!({"1.0.0": 1, "2.0.0": 1})).await;
    let both = host.get("/api/functions/free/logs?version=live").await;
    both.expect_error(400, "invalid_request", &["'live' is an alias of function 'free'", "1.0.0, 2.0.0"]);
    live(json!({"2.0.0": 1})).await;
    host.delete("/api/functions/free/versions/1.0.0").await.expect(200);
    assert_eq!(texts("?version=1.0.0").await, ["old", "old"]);
    assert_eq!(texts("?version=1.0.0&limit=1").await, ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_gets_lines_as_they_come_until_the_function_goes() {
    let host = host().await;
    print(&host, "free", "1", "before").await;
    let mut followed = Followed::begin(&host, "free").await;
    followed.until("before").await;
    for turn in 0..3 {
        print(&host, "free", "2", &format!("turn {turn}")).await;
        followed.until(&format!("turn {turn}")).await;
    }
    host.delete("/api/functions/free").await.expect(200);
    assert_eq!(followed.end().await.len(), 8, "each line once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_ends_what_is_followed_and_keeps_what_was_printed() {
    let host = host().await;
    print(&host, "free", "1", "before").await;
    let mut followed = Followed::begin(&host, "free").await;
    followed.until("before").await;
    print(&host, "free", "2", "last words").await;
    let (drained, store) = host.stop().await;
    assert!(drained, "a reader holds up nothing");
    followed.end().await;
    let host = TestHost::start_over(store, |_| {}).await;
    let kept = read(&host, "free", "").await;
    assert_eq!(kept.len(), 4, "{kept:?}");
    assert_eq!(told(&kept)[3], ("stderr", "2", "last words"));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_few_who_follow_and_who_goes_leaves_it() {
    let host = TestHost::start_with(|config| config.held_requests = 4).await;
    host.deployed(printer("free", "1.0.0")).await;
    let followed = Followed::begin(&host, "free").await;
    let another = async || {
        let request = host.request(Method::GET, "/api/functions/free/logs?follow=true");
        request.send().await.expect("the host answers")
    };
    let refused = another().await;
    assert_eq!(refused.status(), 503);
    let refusal = refused.text().await.expect("a refusal has an end");
    assert!(refusal.contains("overloaded") && refusal.contains("a sixteenth of limits.held_requests"), "{refusal}");
    // Who reads to the end has other places, and so has a deploy.
    assert_eq!(read(&host, "free", "").await.len(), 0);
    host.deployed(printer("free", "2.0.0")).await;
    drop(followed);
    eventually("room for another", async || (another().await.status() == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_deleted_takes_its_log_along() {
    let host = host().await;
    print(&host, "free", "1", "secret").await;
    lines(&host, "free", 2).await;
    let folder = host.store().join("cache/logs/free");
    assert!(folder.exists(), "{}", folder.display());
    // The last version takes the function along.
    host.deployed(printer("free", "2.0.0")).await;
    host.delete("/api/functions/free/versions/1.0.0").await.expect(200);
    assert_eq!(read(&host, "free", "").await.len(), 2, "another version is there");
    host.delete("/api/functions/free").await.expect(200);
    eventually("an empty place", async || (!folder.exists()).then_some(())).await;
    host.deployed(printer("free", "3.0.0")).await;
    print(&host, "free", "2", "new").await;
    let lines = lines(&host, "free", 2).await;
    assert_eq!(told(&lines), [("stdout", "2", "new"), ("stderr", "2", "new")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_function_is_bounded_and_costs_others_nothing() {
    let host = host().await;
    host.deployed(printer("quiet", "1.0.0")).await;
    let flood = format!("{}\n", "x".repeat(1000)).repeat(1000);
    for turn in 0..20 {
        print(&host, "free", "loud", &flood).await;
        print(&host, "quiet", &turn.to_string(), "a word").await;
        assert_eq!(host.get("/healthz").await.status, 200);
    }
    let quiet = lines(&host, "quiet", 40).await;
    assert!(quiet.iter().all(|line| line["text"] == "a word"), "{quiet:?}");
    let (kept, left_out) = eventually("every line, or that it is missing", async || {
        let lines = read(&host, "free", "").await;
        let (told, kept): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["stream"] == "host");
        let count = |line: &&Value| line["text"].as_str()?.split(' ').next()?.parse::<usize>().ok();
        let left_out: usize = told.iter().filter_map(count).sum();
        // 1,000 lines on each of two streams, 20 times.
        (kept.len() + left_out == 40_000).then_some((kept.len(), left_out))
    })
    .await;
    assert!(left_out > kept, "{kept} lines were kept, {left_out} left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_an_end() {
    let host = TestHost::start_with(|config| config.logs.max_bytes = 20_000).await;
    host.deployed(printer("free", "1.0.0")).await;
    for turn in 0..40 {
        print(&host, "free", &turn.to_string(), &"y".repeat(1000)).await;
    }
    eventually("the last line", async || {
        read(&host, "free", "").await.last().is_some_and(|line| line["request"] == "39").then_some(())
    })
    .await;
    // Once more: who reads while files come and go may have got more than there is at any time.
    let lines = read(&host, "free", "").await;
    assert!(lines.len() < 40, "{} of 80", lines.len());
    let files = std::fs::read_dir(host.store().join("cache/logs/free")).expect("a folder");
    let bytes: u64 = files.map(|file| file.expect("a file").metadata().expect("it is there").len()).sum();
    assert!(bytes <= 20_000, "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shadow_prints_bears_the_id_of_the_request_it_got_a_copy_of() {
    let host = TestHost::start().await;
    for version in ["2", "1"] {
        host.deployed(printer("free", version)).await;
    }
    let body = json!({"weights": {"1": 1}, "shadow": {"version": "2"}}).to_string();
    host.send(host.request(Method::PUT, "/api/functions/free/aliases/live").body(body)).await.expect(200);
    print(&host, "free", "mine", "hello").await;
    let lines = lines(&host, "free", 4).await;
    for version in ["1", "2"] {
        let of_version: Vec<_> = lines.iter().filter(|line| line["version"] == version).cloned().collect();
        assert_eq!(told(&of_version), [("stdout", "mine", "hello"), ("stderr", "mine", "hello")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_lines_where_the_host_says_so() {
    let host = TestHost::start_with(|config| config.logs.requests = true).await;
    host.deployed(printer("free", "1.0.0")).await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    host.deploy_model("same", "identity_int64.onnx").await.expect(201);
    print(&host, "free", "typed", "a word").await;
    let send = async |path: &str, id: &str, body: &str| -> Answer {
        host.send(host.request(Method::POST, path).header("x-request-id", id).body(body.to_owned())).await
    };
    send("/functions/misbehave-http/status?code=503", "raw", "").await;
    send("/v2/models/same/infer", "model", r#"{"inputs": []}"#).await;
    for (function, count, id, begin, end) in [
        ("free", 3, "typed", "predict ok ", ""),
        ("misbehave-http", 1, "raw", "http failed ", ", POST /status 503"),
        ("same", 1, "model", "predict invalid ", ": "),
    ] {
        let lines = lines(&host, function, count).await;
        let (stream, request, text) = told(&lines)[count - 1];
        assert_eq!((stream, request), ("request", id));
        let told = text.strip_prefix(begin).and_then(|rest| rest.split_once(" ms"));
        assert!(told.is_some_and(|(ms, rest)| ms.parse::<f64>().is_ok() && rest.contains(end)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_written_fails_no_request() {
    let place = tempfile::NamedTempFile::new().expect("a file");
    let host = TestHost::start_with(|config| config.logs.dir = place.path().join("below a file")).await;
    host.deployed(printer("free", "1.0.0")).await;
    for turn in 0..3 {
        print(&host, "free", &turn.to_string(), "a word").await;
        assert!(read(&host, "free", "").await.is_empty());
    }
    let (drained, _) = host.stop().await;
    assert!(drained);
}
