//! Web pages that would change what is deployed.

use nocti_tests::{Answer, TestHost, fixture_model, model_bundle};
use reqwest::Method;
use serde_json::json;

/// A request as a browser sends it for a page of `origin`, which was told to reach this host as `host`.
async fn page(host: &TestHost, method: Method, path: &str, origin: &str, name: &str) -> Answer {
    let request = host.request(method, path).header("origin", origin).header("host", name);
    // What a form can send without a question first.
    let request = request.header("content-type", "text/plain");
    host.send(request.body(model_bundle("evil", "1", &fixture_model("scalar.onnx")))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_change_nothing() {
    let host = TestHost::start_with(|config| config.cors_origins = vec!["https://one.example".into()]).await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let own = host.url.trim_start_matches("http://").to_owned();
    let changes = [
        (Method::POST, "/api/functions"),
        (Method::DELETE, "/api/functions/scalar"),
        (Method::DELETE, "/%61pi/functions/scalar/versions/1.0.0"),
        (Method::PUT, "/api/functions/scalar/aliases/live"),
        (Method::DELETE, "/api/functions/scalar/aliases/test"),
        (Method::POST, "/api/functions/scalar/rollback"),
        (Method::POST, "/api/functions/scalar/revisions/1/restore"),
        (Method::POST, "/v2/repository/models/scalar/load"),
        (Method::POST, "/v2/repository/models/scalar/unload"),
    ];
    for (method, path) in changes {
        for (origin, name) in [
            ("http://evil.example", own.as_str()),
            ("null", own.as_str()),
            // A function's, or one of the host's own.
            (host.url.as_str(), own.as_str()),
            ("http://evil.example:8000", "evil.example:8000"),
        ] {
            let answer = page(&host, method.clone(), path, origin, name).await;
            answer.expect_error(403, "cross_origin", &[origin, "http.cors_origins"]);
        }
        let request = host.request(method, path).header("sec-fetch-site", "cross-site");
        host.send(request).await.expect_error(403, "cross_origin", &[]);
    }
    let listed = host.get("/api/functions").await.expect(200);
    assert_eq!(listed["functions"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(host.get("/v2/models/scalar/ready").await.status, 200);
    // To look, and to ask a function, is no change.
    let request = host.request(Method::POST, "/v2/repository/index").header("origin", "http://evil.example");
    host.send(request).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn named_pages_may() {
    let host = TestHost::start_with(|config| config.cors_origins = vec!["https://one.example".into()]).await;
    let own = host.url.trim_start_matches("http://").to_owned();
    page(&host, Method::POST, "/api/functions", "https://one.example", &own).await.expect(201);
    let deleted = page(&host, Method::DELETE, "/api/functions/evil", "https://one.example", &own).await.expect(200);
    assert_eq!(deleted, json!({"deleted": "evil"}));
}
