//! Components made by toolchains that know nothing of this host, from sources as their documentation shows them.

use nocti_tests::{Reply, TestHost, Upstream, bundle_with, fixture_guest, repository};

/// Answers, bodies, models and outgoing requests of one of them. `fetch` is the query of its request to the server.
async fn works(folder: &str, greeting: &str, fetch: fn(&str) -> String, denied: &[&str]) {
    let folder = match folder.strip_prefix("others/") {
        Some(language) => repository().join("tests/fixtures/others").join(language),
        None => fixture_guest(folder),
    };
    let upstream = Upstream::start(|_| Reply::text("from elsewhere")).await;
    let other = Upstream::start(|_| Reply::text("secret")).await;
    let host = TestHost::start().await;
    let mut name = String::new();
    let bundle = bundle_with(&folder, |project| {
        project.manifest.network.allow = vec![format!("http://{}", upstream.address).parse().expect("a destination")];
        project.manifest.limits.timeout = std::time::Duration::from_secs(300);
        name = project.manifest.name.to_string();
    });
    host.deployed(bundle).await;
    let at = |path: &str| format!("/functions/{name}{path}");
    // The second one in an instance that has served.
    for _ in 0..2 {
        let answer = host.get(&at("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, greeting));
    }
    assert_eq!(host.get(&at("/nothing")).await.status, 404);
    let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let answer = host.post(&at("/echo"), text.clone()).await;
    assert!(answer.status == 200 && answer.text() == text, "{} bytes of {}", answer.body.len(), text.len());
    let sum = host.get(&at("/sum?1,2.5,-8")).await;
    assert_eq!((sum.status, sum.text().as_str()), (200, "-4.5\n"));
    let answer = host.get(&at(&format!("/fetch?{}", fetch(&upstream.address)))).await.text();
    assert!(answer.starts_with("200") && answer.ends_with("from elsewhere"), "{answer}");
    let answer = host.get(&at(&format!("/fetch?{}", fetch(&other.address)))).await;
    assert!(denied.iter().any(|it| answer.text().contains(it)), "{}: {}", answer.status, answer.text());
    assert_eq!(other.seen(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_written_with_wstd_works() {
    // It sends the body and waits for the answer side by side: it learns of the refusal from either.
    works(
        "wstd-http",
        "hello from wstd\n",
        |address| format!("http://{address}/"),
        &["HttpRequestDenied", "connection reset"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_made_by_componentize_py_works() {
    works("others/python", "hello from Python\n", str::to_owned, &["HttpRequestDenied"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_made_by_componentize_js_works() {
    works("others/javascript", "hello from JavaScript\n", |address| format!("http://{address}/"), &["error"]).await;
}
