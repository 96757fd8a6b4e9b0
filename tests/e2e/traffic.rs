//! `nocti traffic`, `rollback`, `history` and `diff`, as a user types them.

use nocti_tests::{HostProcess, fixture_model};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ask, text};

/// Versions 1 and 2 of `f`, which differ.
async fn host() -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    for (version, file) in [("1", "identity_int64.onnx"), ("2", "tokens_i64.onnx")] {
        let words = ["--name", "f", "--version", version, "--by", "ada", "-m", "the first & the second"];
        ask(&host, &[&["deploy", text(&fixture_model(file))], &words[..]].concat()).await.expect(0);
    }
    (host, store)
}

#[tokio::test]
async fn requests_are_shared_out_and_sent_back() {
    let (host, _store) = host().await;
    let ran = ask(&host, &["traffic", "f", "1=90", "2=10", "--by", "bob", "-m", "a tenth"]).await.expect(0);
    assert_eq!(ran.out, "f (revision 3)\n  live  1 90%, 2 10%\n");
    let again = ask(&host, &["traffic", "f", "1=90", "2=10"]).await.expect(0);
    assert!(again.out == ran.out && again.err.contains("nothing is changed"), "{again:?}");
    let ran = ask(&host, &["traffic", "f", "2=1", "--alias", "test", "--json", "--by", ""]).await.expect(0).json();
    assert_eq!((&ran["aliases"]["test"], &ran["changed"]), (&json!({"2": 1}), &json!(true)));
    let ran = ask(&host, &["show", "f"]).await.expect(0);
    assert!(ran.out.starts_with("f (revision 4)\n  live  1 90%, 2 10%\n  test  2\n"), "{ran:?}");
    let ran = ask(&host, &["rollback", "f", "--by", ""]).await.expect(0);
    assert_eq!(ran.out, "f (revision 5)\n  live  1 90%, 2 10%\n");
    let ran = ask(&host, &["rollback", "f", "--by", "", "-m", "2 errs"]).await.expect(0);
    assert_eq!(ran.out, "f (revision 6)\n  live  2\n");
    let ran = ask(&host, &["rollback", "f", "--to", "4", "--by", ""]).await.expect(0);
    assert_eq!(ran.out, "f (revision 7)\n  live  1 90%, 2 10%\n  test  2\n");
    ask(&host, &["delete", "f", "-y", "--by", "bob", "-m", "done"]).await.expect(0);

    let ran = ask(&host, &["history", "f"]).await.expect(0);
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["REVISION", "WHEN", "WHO", "WHAT", "WHY"]);
    let told: Vec<String> = lines[1..].iter().map(|words| [&words[..1], &words[2..]].concat().join(" ")).collect();
    let expected = [
        "8 bob delete the function done",
        "7 - go to 4 -",
        "6 - roll back to 2 2 errs",
        "5 - roll back to 3 -",
        "4 - test to 2 -",
        "3 bob live to 1 90%, 2 10% a tenth",
        "2 ada deploy 2, live to it the first & the second",
        "1 ada deploy 1, live to it the first & the second",
    ];
    assert_eq!(told, expected);
    let ran = ask(&host, &["history", "f", "-n", "3", "--before", "7"]).await.expect(0);
    assert!(ran.out.lines().count() == 4 && ran.err.contains("there are older ones: --before 4"), "{ran:?}");
    let ran = ask(&host, &["history", "f", "--json"]).await.expect(0).json();
    assert_eq!(ran["revisions"].as_array().map(Vec::len), Some(8));
}

#[tokio::test]
async fn requests_are_copied_and_moved_step_by_step() {
    let (host, _store) = host().await;
    let ran =
        ask(&host, &["traffic", "f", "2=1", "--shadow", "1", "--shadow-percent", "50", "--by", ""]).await.expect(0);
    assert_eq!(ran.out, "f (revision 3)\n  live  2\n        copies of 50% to 1\n");
    let plan = [
        "--steps",
        "5,25,100",
        "--every",
        "5m",
        "--max-error-rate",
        "0.5%",
        "--max-p99",
        "1.5x",
        "--min-requests",
        "9",
    ];
    let ran = ask(&host, &[&["traffic", "f", "1", "--by", "ada"], &plan[..]].concat()).await.expect(0);
    let begins = "f (revision 4)\n  live  1 5%, 2 95%\n        rollout of 1: step 1 of 3 (5%) since ";
    assert!(ran.out.starts_with(begins) && ran.out.ends_with(", every 5m\n"), "{ran:?}");
    let shown = ask(&host, &["show", "f", "--json"]).await.expect(0).json()["rollouts"]["live"].clone();
    let limits = ["max_error_rate", "max_p99", "min_requests"].map(|limit| shown[limit].clone());
    assert_eq!(limits, [json!(0.005), json!(1.5), json!(9)]);
    assert!(ask(&host, &["show", "f"]).await.expect(0).out.starts_with(begins));
    let ran = ask(&host, &["rollback", "f", "--by", ""]).await.expect(0);
    assert_eq!(ran.out, "f (revision 5)\n  live  2\n        copies of 50% to 1\n", "what it ended is back");
    let ran = ask(&host, &["history", "f"]).await.expect(0);
    for part in ["roll back to 3", "rollout of 1: live to 1 5%, 2 95%", "live to 2, copies to 1"] {
        assert!(ran.out.contains(part), "{part} is not in {}", ran.out);
    }
}

#[tokio::test]
async fn what_differs_is_shown_side_by_side() {
    let (host, _store) = host().await;
    let ran = ask(&host, &["diff", "f", "1", "2"]).await.expect(0);
    let row = |what: &str| -> Vec<&str> {
        let line = ran.out.lines().find(|line| line.starts_with(what));
        line.unwrap_or_else(|| panic!("{what} is not in {}", ran.out)).split_whitespace().collect()
    };
    assert_eq!(row("WHAT"), ["WHAT", "1", "2"]);
    let digest = row("models");
    assert!(digest.iter().any(|word| word.len() == 12), "{digest:?}");
    assert!(ran.out.contains("signature inputs tokens "), "{ran:?}");
    let ran = ask(&host, &["diff", "f", "revision:1", "revision:2", "--json"]).await.expect(0).json();
    let paths: Vec<&Value> = ran["differences"].as_array().unwrap().iter().map(|found| &found["path"]).collect();
    assert!(paths.contains(&&json!(["aliases", "live", "1"])), "{paths:?}");
    let ran = ask(&host, &["diff", "f", "1", "1"]).await.expect(0);
    assert!(ran.out.is_empty() && ran.err.contains("nothing differs"), "{ran:?}");
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let (host, _store) = host().await;
    for (words, code, parts) in [
        (&["traffic", "f"][..], 2, &["VERSION=WEIGHT"][..]),
        (&["traffic", "f", "1"], 2, &["say VERSION=WEIGHT, such as 1=90"]),
        (&["traffic", "f", "1=1", "--shadow", "3"], 1, &["'3'", "has versions 1, 2"]),
        (&["traffic", "f", "1=1", "--shadow", "2", "--shadow-percent", "0"], 2, &["1..=100"]),
        (&["traffic", "f", "2", "--steps", "5,100"], 2, &["--every"]),
        (&["traffic", "f", "2=1", "--steps", "5,100", "--every", "5m"], 2, &["name it alone"]),
        (&["traffic", "f", "1", "--steps", "100,5", "--every", "5m"], 1, &["percents that rise"]),
        (&["traffic", "f", "1", "--steps", "5,100", "--every", "5"], 2, &["not a duration"]),
        (&["traffic", "f", "1", "--steps", "5,100", "--every", "5m", "--max-p99", "1"], 2, &["such as 1.5x"]),
        (&["traffic", "f", "1", "--steps", "5,100", "--every", "5m", "--max-error-rate", "1"], 2, &["such as 1%"]),
        (&["traffic", "f", "1=90%"], 2, &["'90%' is no weight"]),
        (&["traffic", "f", "1=1", "1=2"], 2, &["version 1 has two weights"]),
        (&["traffic", "f", "3=1"], 1, &["'3'", "has versions 1, 2"]),
        (&["traffic", "f", "1=0"], 1, &["no version has a weight above 0"]),
        (&["traffic", "f", "1=1", "--alias", "2"], 1, &["choose another alias"]),
        (&["rollback", "g"], 1, &["'g' is not found"]),
        (&["rollback", "f", "--to", "9"], 1, &["no revision 9", "nocti history f"]),
        (&["history", "g"], 1, &["'g' is not found"]),
        (&["history", "f", "-n", "0"], 2, &["1..=200"]),
        (&["diff", "f", "1", "revision:1"], 1, &["not one of each"]),
    ] {
        ask(&host, words).await.expect_error(code, parts);
    }
    assert_eq!(ask(&host, &["show", "f", "--json"]).await.expect(0).json()["revision"], 2);
}
