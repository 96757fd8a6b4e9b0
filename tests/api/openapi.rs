//! What the host says of its own paths: `/api/openapi.json`, `/api/docs`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nocti_tests::TestHost;
use reqwest::Method;
use sha2::{Digest, Sha256};

#[tokio::test]
async fn the_document_describes_what_answers() {
    let host = TestHost::start().await;
    let answer = host.get("/api/openapi.json").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    // What needs no function answers as it is described, at once.
    for (path, item) in document["paths"].as_object().expect("an object") {
        if path.contains('{') || item.get("get").is_none() {
            continue;
        }
        let answer = host.get(path).await;
        let described = &item["get"]["responses"]["200"]["content"];
        let media_type =
            answer.headers["content-type"].to_str().expect("text").split(';').next().expect("a type").to_owned();
        let types: Vec<&str> = described
            .as_object()
            .expect("an object")
            .keys()
            .map(|key| key.split(';').next().unwrap_or_default())
            .collect();
        assert_eq!((answer.status, types), (200, vec![media_type.as_str()]), "{path}");
    }
    host.post("/api/openapi.json", "").await.expect_error(405, "method_not_allowed", &["GET"]);
}

#[tokio::test]
async fn the_page_may_run_its_own_script_and_nothing_else() {
    let host = TestHost::start().await;
    let answer = host.get("/api/docs").await;
    assert_eq!(
        (answer.status, answer.headers["content-type"].to_str().expect("text")),
        (200, "text/html; charset=utf-8")
    );
    let policy = answer.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let page = answer.text();
    for element in ["script", "style"] {
        let (before, rest) = page.split_once(&format!("<{element}>")).expect("it is there");
        let (inside, after) = rest.split_once(&format!("</{element}>")).expect("it ends");
        assert!(
            !before.contains(&format!("<{element}")) && !after.contains(&format!("<{element}")),
            "one {element} alone"
        );
        let hash = STANDARD.encode(Sha256::digest(inside));
        assert!(policy.contains(&format!("{element}-src 'sha256-{hash}';")), "{element}: {hash} is not in {policy}");
    }
    assert!(!page.contains("://"), "it needs nothing from elsewhere");
    assert!(!page.contains("innerHTML"), "text is text");
    assert_eq!(host.send(host.request(Method::HEAD, "/api/docs")).await.status, 200);
}
