//! `nocti search` and `label`, as a user types them.

use nocti_tests::{HostProcess, fixture_model};
use serde_json::json;
use tempfile::TempDir;

use super::{ask, text};

#[tokio::test]
async fn labels_are_put_on_shown_found_and_taken_off() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    let model = fixture_model("addsub.onnx");
    for (name, version) in [("sums", "1"), ("sums", "2"), ("other", "1")] {
        let words = ["deploy", text(&model), "--name", name, "--version", version];
        ask(&host, &words).await.expect(0);
    }
    let ran = ask(&host, &["label", "sums@1"]).await.expect(0);
    assert!(ran.out.is_empty() && ran.err.contains("it has no labels"), "{ran:?}");
    let words = ["label", "sums@1", "team=vision & more", "stage=test", "old-", "-m", "ours", "--by", "ada"];
    let ran = ask(&host, &words).await.expect(0);
    assert_eq!(ran.out, "stage  test\nteam   vision & more\n");
    let ran = ask(&host, &["label", "sums@1", "stage-", "--by", ""]).await.expect(0);
    assert_eq!(ran.out, "team  vision & more\n");
    let ran = ask(&host, &["label", "sums@1", "stage-", "--json"]).await.expect(0).json();
    assert_eq!((&ran["changed"], &ran["labels"]), (&json!(false), &json!({"team": "vision & more"})));
    assert_eq!(ask(&host, &["label", "sums@1"]).await.expect(0).out, "team  vision & more\n");
    let ran = ask(&host, &["show", "sums"]).await.expect(0);
    assert!(ran.out.contains("labels     team=vision & more\n"), "{ran:?}");
    let ran = ask(&host, &["history", "sums", "-n", "2"]).await.expect(0);
    let changes: Vec<&str> =
        ran.out.lines().skip(1).filter_map(|line| line.split_once("Z  ")).map(|(_, told)| told).collect();
    assert_eq!(
        changes.iter().map(|told| told.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
        ["- label 1 -", "ada label 1 ours"]
    );

    let ran = ask(&host, &["search", "input:int32", "--all-versions", "sums", "-n", "1"]).await.expect(0);
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["FUNCTION", "VERSION", "KIND", "TAGS", "LABELS", "METRICS", "DESCRIPTION"]);
    assert_eq!(lines[1], ["sums", "1", "model-only", "-", "team=vision", "&", "more", "-", "-"]);
    assert!(lines.len() == 2 && ran.err.contains("there are more: --after sums@1"), "{ran:?}");
    let ran = ask(&host, &["search", "--json", "--", "-label:team", "-name:other"]).await.expect(0).json();
    assert_eq!((&ran["results"][0]["version"], ran["results"].as_array().map(Vec::len)), (&json!("2"), Some(1)));
    let ran = ask(&host, &["search", "label:team"]).await.expect(0);
    assert!(ran.out.is_empty() && ran.err.contains("nothing is found"), "live is at 2: {ran:?}");

    for (words, code, parts) in [
        (&["label", "sums", "a=b"][..], 2, &["say which version of 'sums' is meant, such as sums@1.0.0"][..]),
        (&["label", "sums@1", "a=b", "a-"], 2, &["label a is there twice"]),
        (&["label", "sums@1", "a"], 2, &["KEY=VALUE, such as team=vision"]),
        (&["label", "sums@1", "a b=c"], 2, &["'a b' is not a valid label"]),
        (&["label", "sums@9", "a=b"], 1, &["has versions 1, 2"]),
        (&["label", "sums@9"], 1, &["has no version '9'"]),
        (&["search", "tags:x"], 1, &["at character 1", "there are name, tag, "]),
        (&["search", "a>b"], 1, &["'b' is not a number"]),
        (&["search", "--alias", "x", "--all-versions"], 2, &["cannot be used with"]),
    ] {
        ask(&host, words).await.expect_error(code, parts);
    }
}
