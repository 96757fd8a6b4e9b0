//! Registries that have something else, that lie and that die.

use nocti_tests::{Reply, Upstream};

use super::*;

/// A digest as registries write it.
fn sha256(content: &[u8]) -> String {
    format!("sha256:{}", Digest::of(content))
}

/// Puts something there that `nocti push` would not.
async fn put(registry: &OciRegistry, name: &str, blobs: &[&[u8]], manifest: &Value) {
    let base = format!("http://{}/v2/{name}", registry.host);
    for content in blobs {
        let begun = client().post(format!("{base}/blobs/uploads/")).send().await.unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let upload = client().put(format!("{location}&digest={}", sha256(content))).body(content.to_vec());
        assert_eq!(upload.send().await.unwrap().status(), 201);
    }
    let upload = client().put(format!("{base}/manifests/1")).body(manifest.to_string());
    let upload = upload.header("content-type", manifest["mediaType"].as_str().unwrap());
    let answer = upload.send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

fn described(kind: &str, content: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": sha256(content), "size": content.len()})
}

#[tokio::test]
async fn what_is_no_function_is_said_to_be_what_it_is() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    let image = |config: &str, content: &[u8]| {
        json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(config, content), "layers": [described("application/wasm", b"layer")],
        })
    };
    let container = image("application/vnd.oci.image.config.v1+json", b"{}");
    put(&registry, "image", &[b"{}", b"layer"], &container).await;
    put(&registry, "chart", &[b"{}", b"layer"], &image("application/vnd.cncf.helm.config.v1+json", b"{}")).await;
    put(&registry, "component", &[b"{}", b"layer"], &image("application/vnd.wasm.config.v0+json", b"{}")).await;
    let list = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described("application/vnd.oci.image.manifest.v1+json", container.to_string().as_bytes())],
    });
    put(&registry, "image", &[], &list).await;
    put(&registry, "container", &[b"{}", b"layer"], &container).await;
    for (name, what) in [
        ("image", "a list of images for several platforms"),
        ("container", "an image of a container"),
        ("chart", "an artifact of type 'application/vnd.cncf.helm.config.v1+json'"),
        ("component", "a component (other tools"),
    ] {
        let place = format!("{}/{name}:1", registry.host);
        desk.nocti(&["pull", &place]).await.expect_error(1, &[&format!("cannot get {place}"), what, "nocti push"]);
    }
    assert_eq!(names(desk.path()), [""; 0]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    let (host, built) = (&registry.host, desk.bundle("1.0.0"));
    desk.pushed("1.0.0", &format!("{host}/hello")).await;
    for place in ["hello:9", "nothing:1"] {
        let place = format!("{host}/{place}");
        desk.nocti(&["pull", &place]).await.expect_error(1, &[&format!("cannot get {place}"), "does not have it"]);
    }
    for (words, part) in [
        (&["pull", "hello:1"][..], "names no registry"),
        (&["pull", &format!("{host}/UPPER:1")], "in lower case"),
        (&["pull", &format!("{host}/hello")], "say which version"),
        (&["push", &built, &format!("{host}/hello@{}", sha256(b""))], "a digest follows"),
        (&["deploy", &format!("oci://{host}/hello")], "say which version"),
        (&["deploy", &built, "--plain-http"], "for registries alone"),
        (&["deploy", &built, "--tls"], "for registries alone"),
        (&["pull", &format!("{host}/hello:1.0.0"), "-o", "-"], "standard output"),
    ] {
        desk.nocti(words).await.expect_error(2, &[part]);
    }
    desk.nocti(&["push", "gone.wasm", &format!("{host}/hello")]).await.expect_error(1, &["gone.wasm is not there"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("127.0.0.1:{port}/hello:1");
    for words in [&["pull", &nobody][..], &["push", &built, &nobody], &["deploy", &format!("oci://{nobody}")]] {
        desk.nocti(words).await.expect_error(1, &[&format!("no registry answers at 127.0.0.1:{port}")]);
    }
    assert_eq!(names(desk.path()), [built]);
}

#[tokio::test]
async fn a_manifest_without_an_end_is_not_read_to_one() {
    let (endless, (host, _store)) = (Upstream::start(unending).await, host().await);
    let desk = Desk::with(&host);
    let place = format!("{}/hello:1", endless.address);
    for words in [["pull", &place], ["deploy", &format!("oci://{place}")]] {
        desk.nocti(&words).await.expect_error(1, &[&endless.address, "more than 4 MiB"]);
    }
    assert_eq!(names(desk.path()), [""; 0]);
}

/// A registry that never says how long a manifest is, and that it is over.
fn unending(request: &str) -> Reply {
    match request.contains("/manifests/") {
        true => Reply::Unfinished(format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(5 << 20))),
        false => Reply::text("{}"),
    }
}

#[tokio::test]
async fn damaged_layers_are_noticed() {
    let (registry, (first, _first_store)) = (OciRegistry::start().await, host().await);
    let (desk, folder) = (Desk::with(&first), project("1.0.0"));
    let place = format!("{}/hello:1.0.0", registry.host);
    desk.pushed("1.0.0", &place).await;
    for part in ["c.wasm", "large"] {
        // One that has had no part of it yet.
        let (host, _store) = host().await;
        let desk = Desk::with(&host);
        let good = std::fs::read(folder.path().join(part)).unwrap();
        let file = registry.blob(&Digest::of(&good).to_string());
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        desk.nocti(&["pull", &place]).await.expect_error(1, &["damaged", "download it again"]);
        desk.nocti(&["deploy", &format!("oci://{place}")]).await.expect_error(1, &["cannot get layer", "damaged"]);
        std::fs::write(&file, &good[..good.len() - 10]).unwrap();
        desk.nocti(&["pull", &place]).await.expect_error(1, &["cannot get"]);
        let _ = std::fs::remove_file(desk.file("hello-1.0.0.wasm.part"));
        std::fs::write(&file, good).unwrap();
        assert_eq!((names(desk.path()), get(&host, "/api/functions/hello").await.status), (vec![], 404));
    }
    desk.nocti(&["deploy", &format!("oci://{place}")]).await.expect(0);
}

#[tokio::test]
async fn a_registry_that_dies_leaves_nothing_half() {
    const MUCH: u64 = 1_500_000;
    const ALL: u64 = u64::MAX;
    let (registry, (host, _store)) = (OciRegistry::start().await, host().await);
    let desk = Desk::with(&host);
    let built = desk.bundle("1.0.0");

    let dying = Dying::start(&registry.host, MUCH, ALL).await;
    let place = format!("{}/hello:1.0.0", dying.host);
    let ran = desk.nocti(&["push", &built, &place]).await.expect(1);
    assert!(ran.err.contains(&format!("cannot push to {place}")), "{ran:?}");
    assert!(dying.is_dead());
    let alive = format!("{}/hello:1.0.0", registry.host);
    desk.nocti(&["pull", &alive]).await.expect_error(1, &["does not have it"]);
    desk.nocti(&["push", &built, &alive]).await.expect(0);

    let dying = Dying::start(&registry.host, ALL, MUCH).await;
    let place = format!("{}/hello:1.0.0", dying.host);
    desk.nocti(&["pull", &place]).await.expect_error(1, &[&dying.host, "broke off"]);
    assert!(dying.is_dead() && !desk.file("hello-1.0.0.wasm").exists());
    let part = desk.read("hello-1.0.0.wasm.part");
    assert!(part.len() > 1_000_000 && desk.read(&built).starts_with(&part), "what came is of use");
    // The rest of it is all that comes now: no connection would carry more.
    let rest = Dying::start(&registry.host, ALL, LARGE_BYTES as u64).await;
    desk.nocti(&["pull", &format!("{}/hello:1.0.0", rest.host)]).await.expect(0);
    assert!(desk.read("hello-1.0.0.wasm") == desk.read(&built));
    assert_eq!(names(desk.path()).len(), 2);

    let dying = Dying::start(&registry.host, ALL, MUCH).await;
    let place = format!("oci://{}/hello:1.0.0", dying.host);
    desk.nocti(&["deploy", &place]).await.expect_error(1, &[&dying.host, "broke off"]);
    assert_eq!(get(&host, "/api/functions/hello").await.status, 404);
    let rest = Dying::start(&registry.host, ALL, LARGE_BYTES as u64).await;
    let deployed = desk.nocti(&["deploy", &format!("oci://{}/hello:1.0.0", rest.host), "--json"]).await;
    assert!(bytes(&deployed.expect(0).json(), "sent_bytes") < LARGE_BYTES as u64);
    assert_eq!(get(&host, "/functions/hello/").await.status, 200);
}
