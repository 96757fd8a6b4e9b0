//! `/functions/NAME/...`: raw HTTP to functions that speak it.

use std::time::Duration;

use nocti_tests::{Answer, TestHost, bundle_with, example, fixture_guest};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FUNCTION: &str = "/functions/misbehave-http";

async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    host
}

async fn call(host: &TestHost, path: &str) -> Answer {
    host.get(&format!("{FUNCTION}{path}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_sees_method_and_path_after_its_name() {
    let host = host().await;
    let cases = [("/target", "/target"), ("/target?", "/target?"), ("/target?a=b%20c&d=/e", "/target?a=b%20c&d=/e")];
    for (path, seen) in cases {
        let text = call(&host, path).await.text();
        assert!(text.contains(&format!("path Some(\"{seen}\")")), "{text}");
        assert!(text.contains("method Method::Get") && text.contains("Scheme::Http"), "{text}");
        let authority = host.url.trim_start_matches("http://");
        assert!(text.contains(&format!("authority Some(\"{authority}\")")), "{text}");
    }
    for (method, seen) in [
        (Method::POST, "Method::Post"),
        (Method::PUT, "Method::Put"),
        (Method::DELETE, "Method::Delete"),
        (Method::PATCH, "Method::Patch"),
        (Method::OPTIONS, "Method::Options"),
        (Method::from_bytes(b"BREW").expect("a token"), "Method::Other(\"BREW\")"),
    ] {
        let answer = host.send(host.request(method, &format!("{FUNCTION}/target"))).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(&format!("method {seen}")), "{}", answer.text());
    }
    let head = host.send(host.request(Method::HEAD, &format!("{FUNCTION}/target"))).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_or_alias_can_be_asked_for_behind_an_at_sign() {
    let host = host().await;
    for version in ["1.0.0", "live"] {
        assert_eq!(host.get(&format!("{FUNCTION}@{version}/status?code=201")).await.status, 201);
    }
    host.get(&format!("{FUNCTION}@2/count")).await.expect_error(404, "not_found", &["'2'", "has versions 1.0.0"]);
    host.get("/functions/nothing/x").await.expect_error(404, "not_found", &["'nothing'"]);
    let answer = host.get(FUNCTION).await;
    assert_eq!((answer.status, answer.text().trim()), (404, "no such behaviour"), "without a path it is /");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_statuses_pass_both_ways() {
    let host = host().await;
    let request =
        host.request(Method::GET, &format!("{FUNCTION}/headers")).header("x-mine", "a, b").header("cookie", "c=d");
    let answer = host.send(request).await;
    assert!(answer.text().contains("x-mine: a, b\n") && answer.text().contains("cookie: c=d\n"), "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert!(answer.headers.contains_key("x-request-id"));
    for status in [200, 201, 204, 302, 404, 418, 500, 503] {
        assert_eq!(call(&host, &format!("/status?code={status}")).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_manifests_alone() {
    let host = host().await;
    assert_eq!(call(&host, "/env").await.text(), "GREETING=from the manifest\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_reach_the_function_whole_and_may_be_ignored() {
    let host = host().await;
    for size in [0, 1, 100_000, 5 << 20] {
        let answer = host.post(&format!("{FUNCTION}/read-body"), vec![b'x'; size]).await;
        assert_eq!(answer.text(), size.to_string());
    }
    for size in [0, 1, 100_000] {
        let answer = host.post(&format!("{FUNCTION}/ignore-body"), vec![b'x'; size]).await;
        assert_eq!(answer.text(), "not read\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_does_not_reach_the_function() {
    let host = TestHost::start_with(|config| config.body_bytes = 10_000).await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    let path = format!("{FUNCTION}/read-body");
    assert_eq!(host.post(&path, vec![b'x'; 10_000]).await.text(), "10000");
    host.post(&path, vec![b'x'; 10_001]).await.expect_error(413, "too_large", &["limits.body"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_while_the_function_goes_on() {
    let host = host().await;
    let request = host.request(Method::GET, &format!("{FUNCTION}/slow-body?count=600000&ms=50"));
    let mut response = request.send().await.expect("the head comes first");
    let mut text = String::new();
    while !text.contains("line 3\n") {
        let chunk = response.chunk().await.expect("it goes on").expect("it is not over");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert_eq!(host.status("misbehave-http").await["instances"]["busy"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_many_megabytes_comes_whole() {
    let host = host().await;
    let answer = call(&host, "/big?mib=64").await;
    assert_eq!((answer.status, answer.body.len()), (200, 64 << 20));
    assert!(answer.body.iter().all(|&byte| byte == b'.'));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_the_head_are_answers_of_the_host() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.limits.timeout = Duration::from_secs(3);
    }))
    .await;
    let cases: [(&str, u16, &str, &[&str]); 5] = [
        ("/trap", 502, "function_failed", &["function 'misbehave-http'", "unreachable"]),
        ("/exit", 502, "function_failed", &["function 'misbehave-http'", "exit"]),
        ("/no-response", 502, "bad_answer", &["without setting a response"]),
        ("/error", 502, "bad_answer", &["function 'misbehave-http'", "error"]),
        ("/loop", 504, "deadline_exceeded", &["deadline"]),
    ];
    for (path, status, code, parts) in cases {
        call(&host, path).await.expect_error(status, code, parts);
        assert_eq!(call(&host, "/count").await.status, 200, "after {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_trapped_is_not_used_again() {
    let host = host().await;
    for path in ["/trap", "/exit"] {
        assert_eq!(call(&host, "/count").await.text(), "1");
        assert_eq!(call(&host, "/count").await.text(), "2");
        assert_eq!(call(&host, path).await.status, 502);
    }
    assert_eq!(call(&host, "/count").await.text(), "1");
}

/// HTTP allows these no body, so nobody reads what the function writes.
#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_do_not_cost_the_instance() {
    let host = host().await;
    let path = |path: &str| format!("{FUNCTION}{path}");
    for (method, path) in [
        (Method::HEAD, path("/count")),
        (Method::GET, path("/status?code=204")),
        (Method::GET, path("/status?code=304")),
    ] {
        let answer = host.send(host.request(method, &path)).await;
        assert!(answer.status < 400 && answer.body.is_empty(), "{}", answer.text());
        host.busy("misbehave-http", 0).await;
    }
    assert_eq!(call(&host, "/count").await.text(), "4");
    // Nor do those whose function notices a little later.
    let late = host.send(host.request(Method::HEAD, &path("/slow-body?count=1&ms=100"))).await;
    assert_eq!(late.status, 200);
    host.busy("misbehave-http", 0).await;
    assert_eq!(call(&host, "/count").await.text(), "6");
}

/// The head is out: all that is left is to cut the connection, so that nobody takes the piece for the whole.
#[tokio::test(flavor = "multi_thread")]
async fn failures_after_the_head_cut_the_answer_off() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.limits.timeout = Duration::from_secs(2);
    }))
    .await;
    for path in ["/trap-after-headers", "/loop-after-headers", "/never-finish", "/wrong-length"] {
        let request = host.request(Method::GET, &format!("{FUNCTION}{path}"));
        let broken = match request.send().await {
            // The head can be cut off with the rest.
            Err(_) => true,
            Ok(response) => {
                assert_eq!(response.status(), 200, "{path}");
                response.bytes().await.is_err()
            }
        };
        assert!(broken, "{path}: half an answer looked like a whole one");
        assert_eq!(call(&host, "/count").await.status, 200, "after {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_kind_of_function_answers() {
    let host = host().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let answer = host.infer("misbehave-http", &json!({"inputs": []})).await;
    answer.expect_error(400, "wrong_kind", &["is an http function", "/functions/misbehave-http/"]);
    for name in ["misbehave", "scalar"] {
        let answer = host.get(&format!("/functions/{name}/")).await;
        answer.expect_error(400, "wrong_kind", &["does not speak HTTP", &format!("/v2/models/{name}/infer")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_written_without_the_sdk_answers() {
    let host = TestHost::start().await;
    host.deploy(&example("hello-http")).await.expect(201);
    let answer = host.get("/functions/hello-http/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().to_lowercase().contains("hello"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_runs_its_models_by_the_published_interfaces_alone() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("http-nn")).await.expect(201);
    let cases = [
        ("/scalar?x=1,2.5,-8", 200, "sum TensorType::Fp32 [] [-4.5]\n"),
        ("/optional_input?x=1,2.5", 200, "y TensorType::Fp32 [2] [2.0, 5.0]\n"),
        ("/optional_input?scale=10&x=1,2.5", 200, "y TensorType::Fp32 [2] [10.0, 25.0]\n"),
        (
            "/nothing",
            400,
            "ErrorCode::NotFound: there is no model 'nothing' in the bundle; it has 'optional_input', 'scalar'\n",
        ),
        ("/scalar", 400, "ErrorCode::InvalidArgument: missing required input 'x' for model 'scalar'\n"),
    ];
    for (path, status, text) in cases {
        let answer = host.get(&format!("/functions/http-nn{path}")).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}");
    }
}

/// The host keeps the name with the request, so it has a bound.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_outgoing_requests_method_has_64_bytes_at_most() {
    let host = host().await;
    let accepted = |bytes: usize| format!("accepted, now Method::Other(\"{}\")", "M".repeat(bytes));
    for bytes in [1, 64] {
        assert_eq!(call(&host, &format!("/set-method?bytes={bytes}")).await.text(), accepted(bytes));
    }
    for bytes in [65, 1 << 20] {
        let answer = call(&host, &format!("/set-method?bytes={bytes}")).await;
        assert_eq!(answer.text(), "refused, now Method::Get");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_that_does_not_come_wakes_nothing() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.limits.timeout = Duration::from_secs(1);
    }))
    .await;
    let address = host.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let request =
        format!("POST {FUNCTION}/read-body HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\n123");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("deadline_exceeded"), "{answer}");
    let status = host.get("/api/status").await.expect(200);
    assert_eq!(status["sessions"], json!([]), "{status}");
    let version = status["versions"].as_array().and_then(|versions| versions.first());
    assert!(version.is_none_or(|version| version["state"] == "stored" && version["cold_starts"] == 0), "{status}");
}

/// `expect: 100-continue`, as curl sends it with larger bodies.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_before_it_sends_its_body_is_told_to_go_on() {
    let host = host().await;
    let address = host.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "POST {FUNCTION}/read-body HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("it answers");
    assert_eq!(&first, b"HTTP/1.1 100");
    stream.write_all(b"12345").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.contains("HTTP/1.1 200") && answer.ends_with("5\r\n0\r\n\r\n"), "{answer}");
}
