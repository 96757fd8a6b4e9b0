//! Finding functions, their list page by page, labels, and what a newer release has written.

use nocti::registry::digest::Digest;
use nocti::registry::section::{DIGEST, MANIFEST, PREAMBLE};
use nocti_tests::{Answer, TestHost, bundle_with, fixture_guest, fixture_model, model_bundle};
use reqwest::{Method, Url};
use serde_json::{Value, json};

const LABELS: &str = "/api/functions/simple/versions/1/labels";

/// `simple` with versions 1 and 2, and the functions `free` and `other`, which say more of themselves.
async fn host() -> TestHost {
    let host = TestHost::start().await;
    for version in ["1", "2"] {
        host.deployed(model_bundle("simple", version, &fixture_model("addsub.onnx"))).await;
    }
    for (name, accuracy) in [("free", 0.978), ("other", 0.5)] {
        let bundle = bundle_with(&fixture_guest("free"), |project| {
            let manifest = &mut project.manifest;
            manifest.name = name.parse().expect("a name");
            manifest.description = "Simple & Ångström".into();
            manifest.authors = vec!["Ada Lovelace".into()];
            manifest.tags = vec!["Vision".into()];
            manifest.license = Some("Apache-2.0".into());
            manifest.metrics.insert("accuracy".into(), accuracy);
            project.models.retain(|model| model.name.as_str() == "scalar");
        });
        host.post("/api/functions", bundle).await.expect(201);
    }
    host
}

async fn patch(host: &TestHost, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    host.send(host.request(Method::PATCH, path).body(body)).await
}

async fn search(host: &TestHost, query: &[(&str, &str)]) -> Answer {
    let url = Url::parse_with_params(&format!("{}/api/search", host.url), query).expect("a URL");
    host.get(&format!("{}?{}", url.path(), url.query().unwrap_or_default())).await
}

/// What a query finds, and what the next page is.
async fn found(host: &TestHost, query: &[(&str, &str)]) -> (Vec<String>, Value) {
    let answer = search(host, query).await.expect(200);
    let results = answer["results"].as_array().expect("a list").iter();
    let label = |hit: &Value| format!("{}@{}", hit["function"], hit["version"]).replace('"', "");
    (results.map(label).collect(), answer["next"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_found_by_what_is_known_of_them() {
    let host = host().await;
    for (query, expected) in [
        ("", &["free@1.0.0", "other@1.0.0", "simple@2"][..]),
        ("simple", &["simple@2", "free@1.0.0", "other@1.0.0"]),
        ("SIMPLE ångström accuracy>0.9", &["free@1.0.0"]),
        ("tag:vision -accuracy>0.9", &["other@1.0.0"]),
        ("author:\"ada love\" license:apache kind:typed model:scalar", &["free@1.0.0", "other@1.0.0"]),
        ("input:INPUT0 output:int32 device:auto", &["simple@2"]),
        ("label:team", &[]),
    ] {
        assert_eq!(
            found(&host, &[("q", query)]).await,
            (expected.iter().map(ToString::to_string).collect(), json!(null)),
            "{query}"
        );
    }
    let all = [("q", "kind:model-only"), ("all_versions", "true"), ("limit", "1")];
    assert_eq!(found(&host, &all).await, (vec!["simple@1".into()], json!("simple@1")));
    let next = [&all[..], &[("after", "simple@1")]].concat();
    assert_eq!(found(&host, &next).await, (vec!["simple@2".into()], json!(null)));
    assert_eq!(found(&host, &[("limit", "1"), ("after", "free")]).await, (vec!["other@1.0.0".into()], json!("other")));
    assert_eq!(found(&host, &[("alias", "none")]).await.0, [""; 0]);

    let hit = search(&host, &[("q", "name:free")]).await.expect(200)["results"][0].clone();
    let mut expected = json!({
        "function": "free", "version": "1.0.0", "kind": "typed", "description": "Simple & Ångström", "authors": ["Ada Lovelace"],
        "tags": ["Vision"], "license": "Apache-2.0", "metrics": {"accuracy": 0.978}, "labels": {},
    });
    expected["created_at"] = hit["created_at"].clone();
    assert_eq!(hit, expected);
    for (name, value, part) in [
        ("q", "tags:vision", "parameter q: at character 1: there is no field 'tags'; there are name, tag, "),
        ("q", "accuracy > 1", "a comparison has no spaces in it"),
        ("limit", "0", "1 to 200"),
        ("limit", "-1", "must be a number"),
        ("after", "a b", "parameter after: 'a b' is not a valid function name"),
        ("alias", "A", "parameter alias: 'A' is not a valid alias"),
        ("query", "x", "there are q, alias, all_versions, limit, after"),
    ] {
        search(&host, &[(name, value)]).await.expect_error(400, "invalid_request", &[part]);
    }
    let both = [("alias", "live"), ("all_versions", "true")];
    search(&host, &both).await.expect_error(400, "invalid_request", &["not both"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_comes_in_pages() {
    let host = host().await;
    let names = |answer: &Value| -> Vec<String> {
        let functions = answer["functions"].as_array().expect("a list").iter();
        functions.map(|function| function["name"].as_str().expect("a name").to_owned()).collect()
    };
    let page = host.get("/api/functions?limit=2").await.expect(200);
    assert_eq!((names(&page), &page["next"]), (vec!["free".into(), "other".into()], &json!("other")));
    let page = host.get("/api/functions?limit=2&after=other").await.expect(200);
    assert_eq!((names(&page), page.get("next")), (vec!["simple".into()], None));
    assert_eq!(names(&host.get("/api/functions?after=g").await.expect(200)), ["other", "simple"]);
    for (query, part) in
        [("limit=0", "1 to 1000"), ("limit=1001", "1 to 1000"), ("limit=x", "a number"), ("x", "limit, after")]
    {
        host.get(&format!("/api/functions?{query}")).await.expect_error(400, "invalid_request", &[part]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_and_go_and_outlive_the_host() {
    let host = host().await;
    let digest = host.get("/api/functions/simple").await.expect(200)["versions"][0]["digest"].clone();
    let answer =
        patch(&host, &format!("{LABELS}?by=ada&message=ours"), r#"{"team": "Vision", "stage": "test", "old": null}"#)
            .await;
    let expected = json!({"function": "simple", "version": "1", "revision": 3, "labels": {"stage": "test", "team": "Vision"}, "changed": true});
    assert_eq!(answer.expect(200), expected);
    let answer = patch(&host, LABELS, r#"{"stage": null}"#).await.expect(200);
    assert_eq!((&answer["labels"], &answer["revision"]), (&json!({"team": "Vision"}), &json!(4)));
    let answer = patch(&host, LABELS, "{}").await.expect(200);
    assert_eq!((&answer["changed"], &answer["revision"]), (&json!(false), &json!(4)));

    let (_, store) = host.stop().await;
    let host = TestHost::start_over(store, |_| {}).await;
    let shown = host.get("/api/functions/simple").await.expect(200);
    assert_eq!(
        (&shown["versions"][0]["labels"], &shown["versions"][0]["digest"]),
        (&json!({"team": "Vision"}), &digest)
    );
    assert_eq!(shown["versions"][1]["labels"], json!({}));
    assert_eq!(found(&host, &[("q", "label:team=vision"), ("all_versions", "1")]).await.0, ["simple@1"]);
    host.post("/api/functions", model_bundle("simple", "1", &fixture_model("addsub.onnx"))).await.expect(201);
    host.post("/api/functions/simple/rollback", "").await.expect(200);
    let shown = host.get("/api/functions/simple").await.expect(200);
    assert_eq!(shown["versions"][0]["labels"], json!({"team": "Vision"}), "neither touches them");
    let history = host.get("/api/functions/simple/revisions?before=5&limit=2").await.expect(200);
    let told = |at: usize| {
        json!([history["revisions"][at]["action"], history["revisions"][at]["version"], history["revisions"][at]["by"]])
    };
    assert_eq!((told(0), told(1)), (json!(["labels", "1", null]), json!(["labels", "1", "ada"])));
    let diff = host.get("/api/functions/simple/diff?from=revision:2&to=revision:3").await.expect(200);
    let expected = json!([
        {"path": ["versions", "1", "labels", "stage"], "to": "test"},
        {"path": ["versions", "1", "labels", "team"], "to": "Vision"},
    ]);
    assert_eq!(diff["differences"], expected);
    let diff = host.get("/api/functions/simple/diff?from=1&to=2").await.expect(200);
    assert_eq!(diff["differences"], json!([{"path": ["labels", "team"], "from": "Vision"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_cannot_be_are_refused() {
    let host = host().await;
    let many = (0..65).map(|n| format!("\"l{n}\": \"\"")).collect::<Vec<_>>().join(",");
    let (wrong, other) = ("invalid_request", "/api/functions/simple/versions/live/labels");
    for (path, body, status, code, part) in [
        (LABELS, "", 400, wrong, "say which labels"),
        (LABELS, "null", 400, wrong, "say which labels"),
        (LABELS, "[]", 400, wrong, "object"),
        (LABELS, r#"{"a b": "c"}"#, 400, wrong, "'a b' is not a valid label: use 1 to 63 of"),
        (LABELS, r#"{"a": "b\nc"}"#, 400, wrong, "is not a valid label's value: use one line of at most 256"),
        (LABELS, r#"{"a": 5}"#, 400, wrong, "string"),
        (LABELS, r#"{"a": "b", "a": null}"#, 400, wrong, r#""a" is there twice"#),
        (LABELS, &format!("{{{many}}}"), 400, "too_many_labels", "would have 65 labels, and may have 64"),
        (&format!("{LABELS}?revision=1"), r#"{"a": "b"}"#, 409, "revision_moved", "at revision 2, no more at 1"),
        (&format!("{LABELS}?revision=-1"), r#"{"a": "b"}"#, 400, wrong, "must be a number"),
        (other, r#"{"a": "b"}"#, 404, "not_found", "function 'simple' has versions 1, 2"),
        ("/api/functions/nothing/versions/1/labels", r#"{"a": "b"}"#, 404, "not_found", "'nothing'"),
    ] {
        patch(&host, path, body.to_owned()).await.expect_error(status, code, &[part]);
    }
    host.post(LABELS, "{}").await.expect_error(405, "method_not_allowed", &["PATCH"]);
    assert_eq!(host.get("/api/functions/simple").await.expect(200)["revision"], 2);
}

/// Revision 3 of `simple` and a bundle, as a later release might make them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_release_has_written_is_told_and_left_alone() {
    let host = host().await;
    let (_, store) = host.stop().await;
    let folder = store.path().join("functions/simple");
    let newest = std::fs::read_to_string(folder.join("00000000000000000002.json")).expect("it is there");
    let third =
        newest.replace("\"revision\": 2", "\"revision\": 3").replacen('{', "{\"format\": 2, \"melted\": [1],", 1);
    std::fs::write(folder.join("00000000000000000003.json"), &third).expect("it is written");
    let free = store.path().join("functions/free");
    let first = std::fs::read_to_string(free.join("00000000000000000001.json")).expect("it is there");
    let melt =
        first.replace("\"revision\": 1", "\"revision\": 2").replace("\"kind\": \"deploy\"", "\"kind\": \"melt\"");
    assert!(melt != first && melt.contains("melt"), "{first}");
    std::fs::write(free.join("00000000000000000002.json"), melt).expect("it is written");

    let host = TestHost::start_over(store, |_| {}).await;
    let newer = ["written by a newer nocti (format 2), and this one reads up to format 1: upgrade it"];
    host.get("/api/functions/simple").await.expect_error(500, "damaged", &newer);
    patch(&host, LABELS, r#"{"a": "b"}"#).await.expect_error(500, "damaged", &newer);
    host.delete("/api/functions/simple").await.expect_error(500, "damaged", &newer);
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 3, "nothing was written over it");
    let history = host.get("/api/functions/simple/revisions").await.expect(200);
    assert!(history["revisions"][0]["damaged"].as_str().is_some_and(|why| why.contains(newer[0])), "{history}");
    assert_eq!(history["revisions"][1]["action"], "deploy");

    assert_eq!(found(&host, &[("q", "")]).await.0, ["free@1.0.0", "other@1.0.0"], "the others are whole");
    let history = host.get("/api/functions/free/revisions").await.expect(200);
    assert_eq!((&history["revisions"][0]["action"], &history["revisions"][0]["revision"]), (&json!("melt"), &json!(2)));
    patch(&host, "/api/functions/free/versions/1.0.0/labels", r#"{"a": "b"}"#).await.expect(200);
}

/// A section of a bundle.
fn section(name: &str, content: &[u8]) -> Vec<u8> {
    let content = [&[u8::try_from(name.len()).expect("it is short")], name.as_bytes(), content].concat();
    let (mut bytes, mut length) = (vec![0], content.len());
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return [bytes, content].concat();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_a_newer_release_has_built_is_refused_so() {
    let host = TestHost::start().await;
    for (head, part) in [
        (
            r#""format":7,"melted":1"#,
            "it was built by a newer nocti (format 7), and this one reads up to format 1: upgrade it",
        ),
        (r#""melted":1"#, "unknown field `melted`"),
    ] {
        let manifest = format!(r#"{{{head},"name":"f","version":"1"}}"#);
        let digest = Digest::of(manifest.as_bytes()).to_string();
        let parts = [&PREAMBLE[..], &section(MANIFEST, manifest.as_bytes()), &section(DIGEST, digest.as_bytes())];
        host.post("/api/functions", parts.concat()).await.expect_error(400, "invalid_bundle", &[part, "upgrade"]);
    }
    assert_eq!(host.get("/api/functions").await.expect(200), json!({"functions": []}));
}
