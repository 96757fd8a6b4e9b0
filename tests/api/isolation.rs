//! What a function can reach: what its manifest gives it, and nothing else of the machine.

use nocti_tests::{TestHost, bundle_with, fixture_guest};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::mode;

async fn with_assets() -> TestHost {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| project.models.clear())).await;
    host
}

/// What the guest tells of its attempt.
async fn attempt(host: &TestHost, behaviour: &str, parameters: Value) -> String {
    let answer = host.infer("free", &mode(behaviour, parameters, &[])).await.expect(200);
    answer["outputs"][0]["data"][0].as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_manifests_alone() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.manifest.env.insert("LABELS".into(), "en = é".into());
        project.manifest.env.insert("EMPTY".into(), String::new());
    }))
    .await;
    assert_eq!(attempt(&host, "read-env", json!({})).await, "EMPTY=\nLABELS=en = é\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_can_be_read() {
    let host = with_assets().await;
    assert_eq!(attempt(&host, "list-files", json!({"path": "/assets"})).await, "README.md\nfolder");
    let nested = std::fs::read_to_string(fixture_guest("free").join("nested.txt")).expect("it is there");
    assert_eq!(attempt(&host, "read-file", json!({"path": "/assets/folder/nested.txt"})).await, nested);
    let up_and_down = json!({"path": "/assets/folder/../folder/nested.txt"});
    assert_eq!(attempt(&host, "read-file", up_and_down).await, nested);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_outside_the_assets_can_be_read() {
    let host = with_assets().await;
    let store = host.store().display().to_string();
    let paths = [
        "/etc/passwd",
        "/assets/../etc/passwd",
        "/assets/../../../../../../etc/passwd",
        "/assets/folder/../../../../../../../../etc/passwd",
        "/assets//etc/passwd",
        "/assets/./../../../../../../../etc/passwd",
        "../etc/passwd",
        "/proc/self/environ",
        &store,
    ];
    for path in paths {
        let told = attempt(&host, "read-file", json!({"path": path})).await;
        assert!(told.starts_with("error: "), "{path}: {told}");
        let told = attempt(&host, "list-files", json!({"path": path})).await;
        assert!(told.starts_with("error: "), "{path}: {told}");
    }
    for path in ["/", "/assets/..", "/assets/../.."] {
        let told = attempt(&host, "list-files", json!({"path": path})).await;
        assert!(told.starts_with("error: ") || told == "assets", "{path}: {told}");
    }
}

/// A link can only come there by somebody of the machine, and even then it leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_out_of_the_assets_leads_nowhere() {
    let host = with_assets().await;
    attempt(&host, "list-files", json!({"path": "/assets"})).await;
    let digest =
        host.get("/api/functions/free").await.expect(200)["versions"][0]["digest"].as_str().expect("text").to_owned();
    let folder = host.store().join("cache/assets").join(digest);
    let secret = host.store().join("secret");
    std::fs::write(&secret, "secret").expect("it can be written");
    for (name, target) in
        [("absolute", secret.as_path()), ("relative", "../../../secret".as_ref()), ("up", "..".as_ref())]
    {
        std::os::unix::fs::symlink(target, folder.join(name)).expect("the assets are unpacked here");
    }
    for path in ["/assets/absolute", "/assets/relative", "/assets/up", "/assets/up/up", "/assets/folder/../relative"] {
        for behaviour in ["read-file", "list-files"] {
            let told = attempt(&host, behaviour, json!({"path": path})).await;
            assert!(told.starts_with("error: "), "{behaviour} {path}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written() {
    let host = with_assets().await;
    let before = attempt(&host, "read-file", json!({"path": "/assets/README.md"})).await;
    for path in ["/assets/new", "/assets/README.md", "/assets/folder/new", "/new", "/tmp/new", "new"] {
        let told = attempt(&host, "write-file", json!({"path": path})).await;
        assert!(told.starts_with("error: "), "{path}: {told}");
    }
    assert_eq!(attempt(&host, "read-file", json!({"path": "/assets/README.md"})).await, before);
    assert_eq!(attempt(&host, "list-files", json!({"path": "/assets"})).await, "README.md\nfolder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_assets_has_no_files_at_all() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.assets.clear();
    }))
    .await;
    for path in ["/", "/assets", ".", "/etc/passwd"] {
        for behaviour in ["list-files", "read-file", "write-file"] {
            let told = attempt(&host, behaviour, json!({"path": path})).await;
            assert!(told.starts_with("error: "), "{behaviour} {path}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_network() {
    let host = with_assets().await;
    // Somebody listens, so that a refusal is the host's.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let own = host.url.trim_start_matches("http://").to_owned();
    for address in [address.as_str(), own.as_str()] {
        let told = attempt(&host, "connect", json!({"address": address})).await;
        assert!(told.starts_with("error: "), "{told}");
        let told = attempt(&host, "http-get", json!({"authority": address})).await;
        assert!(told.starts_with("error: "), "{told}");
    }
    for name in ["localhost:80", "example.com:80"] {
        let told = attempt(&host, "connect", json!({"address": name})).await;
        assert!(told.starts_with("error: "), "{told}");
    }
    let accepted =
        std::future::poll_fn(|context| std::task::Poll::Ready(listener.poll_accept(context).is_ready())).await;
    assert!(!accepted, "nobody came");
}
