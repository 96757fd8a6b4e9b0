//! Every command that is a client, as a user types it: what it prints for people and for scripts, and how it ends.

use nocti_tests::{HostProcess, example, fixture_guest, fixture_model, nocti};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ran, ask, run, run_with, text};

/// A host over a new store.
async fn host() -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    (HostProcess::start(store.path(), &[]).await, store)
}

async fn deploy_model(host: &HostProcess, file: &str, more: &[&str]) -> Ran {
    ask(host, &[&["deploy", text(&fixture_model(file))], more].concat()).await
}

/// The function that an alias of `name` points at.
async fn aliases(host: &HostProcess, name: &str) -> Value {
    ask(host, &["show", name, "--json"]).await.expect(0).json()["aliases"].clone()
}

#[tokio::test]
async fn a_function_goes_from_deploy_to_delete() {
    let (host, _store) = host().await;
    let nothing = ask(&host, &["list"]).await.expect(0);
    assert!(nothing.out.is_empty() && nothing.err.contains("nothing is deployed yet"), "{nothing:?}");
    assert!(ask(&host, &["status"]).await.expect(0).out.contains("nothing is deployed"));

    let ran = deploy_model(&host, "addsub.onnx", &[]).await.expect(0);
    assert!(ran.out.starts_with("deployed addsub 1.0.0 (model-only, "), "{ran:?}");
    assert!(
        ran.out.contains("alias live)\n  digest  ") && ran.out.ends_with("  call    nocti invoke addsub\n"),
        "{ran:?}"
    );
    let ran = deploy_model(&host, "addsub.onnx", &[]).await.expect(0);
    assert!(ran.out.starts_with("already there: addsub 1.0.0"), "{ran:?}");

    let ran = ask(&host, &["list"]).await.expect(0);
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["FUNCTION", "KIND", "LIVE", "VERSIONS", "DESCRIPTION"]);
    assert_eq!(lines[1], ["addsub", "model-only", "1.0.0", "1", "-"]);
    let ran = ask(&host, &["show", "addsub"]).await.expect(0);
    for line in ["addsub (revision 1)\n  live  1.0.0\n", "version 1.0.0 (model-only)\n", " INPUT0 INT32 [-1,16]\n"] {
        assert!(ran.out.contains(line), "'{line}' is not in {}", ran.out);
    }

    let numbers = |add: i32| (0..16).map(|number| number + add).collect::<Vec<i32>>();
    let data = json!({"INPUT0": numbers(0), "INPUT1": numbers(1)}).to_string();
    let ran = ask(&host, &["invoke", "addsub", "-d", &data]).await.expect(0);
    assert!(ran.out.starts_with("addsub 1.0.0\nOUTPUT   DATATYPE  SHAPE   VALUES\n"), "{}", ran.out);
    assert!(ran.out.contains("OUTPUT0  INT32     [1,16]  1 3 5 7 9 11 13 15 17 19 21 23 ... 4 more\n"), "{}", ran.out);
    let ran = ask(&host, &["status"]).await.expect(0);
    let row: Vec<&str> = ran.out.lines().find(|line| line.starts_with("addsub ")).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["addsub", "1.0.0", "model-only", "loaded", "cpu", "-"], "it has no code");
    assert_eq!(row[7..11], ["MiB", "0", "0", "1"], "{row:?}");
    assert!(ran.out.contains("SESSION"), "{}", ran.out);

    let ran = ask(&host, &["delete", "addsub", "-y"]).await.expect(0);
    assert_eq!(ran.out, "deleted function 'addsub' with all its versions\n");
    for words in [&["show", "addsub"][..], &["delete", "addsub", "-y"], &["invoke", "addsub", "-d", "{}"]] {
        ask(&host, words).await.expect_error(1, &["'addsub' is not found"]);
    }
    assert!(ask(&host, &["list"]).await.expect(0).out.is_empty());
}

/// Which the protocol does not have as JSON.
#[tokio::test]
async fn halves_are_numbers_on_the_command_line() {
    let (host, _store) = host().await;
    deploy_model(&host, "identity_float16.onnx", &["--name", "half"]).await.expect(0);
    let whole = r#"{"inputs": [{"name": "input", "datatype": "FP16", "shape": [1, 1], "data": [1.5]}]}"#;
    for (target, data) in [("half", whole), ("half@1.0.0", r#"{"input": [[1.5]]}"#)] {
        let answer = ask(&host, &["invoke", target, "--json", "-d", data]).await.expect(0).json();
        assert_eq!(answer["outputs"][0]["data"], json!([1.5]), "{data}");
    }
}

#[tokio::test]
async fn scripts_get_json_and_nothing_else() {
    let (host, _store) = host().await;
    let deployed = deploy_model(&host, "identity_int64.onnx", &["--name", "same", "--json"]).await.expect(0).json();
    assert_eq!((&deployed["function"], &deployed["version"]), (&json!("same"), &json!("1.0.0")));
    assert_eq!((&deployed["kind"], &deployed["aliases"]), (&json!("model-only"), &json!({"live": {"1.0.0": 100}})));
    let list = ask(&host, &["list", "--json"]).await.expect(0).json();
    assert_eq!(list["functions"][0]["name"], "same");
    let shown = ask(&host, &["--json", "show", "same"]).await.expect(0).json();
    assert_eq!(shown["versions"][0]["digest"], deployed["digest"]);
    let answer = ask(&host, &["invoke", "same", "--json", "-d", r#"{"input": [[1, 2], [3, 9007199254740993]]}"#]).await;
    assert_eq!(answer.expect(0).json()["outputs"][0]["data"], json!([1, 2, 3, 9_007_199_254_740_993_i64]));
    let status = ask(&host, &["status", "--json"]).await.expect(0).json();
    assert_eq!((&status["functions"][0]["state"], &status["functions"][0]["requests"]), (&json!("loaded"), &json!(1)));
    let deleted = ask(&host, &["delete", "same", "--json", "-y"]).await.expect(0).json();
    assert_eq!(deleted, json!({"deleted": "same"}));
    ask(&host, &["show", "same", "--json"]).await.expect_error(1, &["not found"]);
}

#[tokio::test]
async fn without_a_host_every_command_says_how_to_get_one() {
    // A port that nobody listens on, because its listener is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("http://127.0.0.1:{port}");
    let model = fixture_model("addsub.onnx");
    for words in [
        &["list"][..],
        &["status"],
        &["show", "f"],
        &["delete", "f", "-y"],
        &["invoke", "f", "-d", "{}"],
        &["invoke", "f", "--http", "/"],
        &["deploy", text(&model)],
        &["traffic", "f", "1=1"],
        &["rollback", "f"],
        &["history", "f"],
        &["diff", "f", "1", "2"],
        &["search", "f"],
        &["label", "f@1", "a=b"],
        &["push", "f@1", "127.0.0.1:1/f"],
    ] {
        let mut command = nocti();
        command.args(["--server", &server]).args(words);
        let ran = run(command).await.expect_error(1, &[&server, "nocti serve", "--server"]);
        assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
    }
    for wrong in ["ftp://127.0.0.1:1", "nonsense", "https://127.0.0.1:1", ""] {
        let mut command = nocti();
        command.args(["list", "--server", wrong]);
        run(command).await.expect_error(2, &["http://HOST:PORT"]);
    }
}

#[tokio::test]
async fn versions_never_change_and_aliases_decide_what_is_called() {
    let (host, _store) = host().await;
    let named = |version| ["--name", "f", "--version", version];
    deploy_model(&host, "identity_int64.onnx", &named("1")).await.expect(0);
    let ran = deploy_model(&host, "tokens_i64.onnx", &named("1")).await;
    ran.expect_error(1, &["version '1' of function 'f' is already deployed with other content", "--version"]);

    let ran = deploy_model(&host, "tokens_i64.onnx", &[&named("2")[..], &["--no-traffic"]].concat()).await.expect(0);
    assert!(ran.out.contains("no alias points to it") && ran.out.contains("nocti invoke f@2\n"), "{ran:?}");
    assert_eq!(aliases(&host, "f").await, json!({"live": {"1": 100}}));
    let ran = deploy_model(&host, "nan.onnx", &[&named("3")[..], &["--alias", "test"]].concat()).await.expect(0);
    assert!(ran.out.contains("alias test)") && ran.out.contains("nocti invoke f@3\n"), "{ran:?}");
    assert_eq!(aliases(&host, "f").await, json!({"live": {"1": 100}, "test": {"3": 100}}));
    ask(&host, &["invoke", "f", "-d", r#"{"input": [[1]]}"#]).await.expect(0);
    let ran = ask(&host, &["invoke", "f@2", "--json", "-d", r#"{"tokens": [[1]]}"#]).await.expect(0).json();
    assert_eq!((&ran["model_version"], &ran["outputs"][0]["data"]), (&json!("2"), &json!([2])));

    ask(&host, &["delete", "f@3", "-y"])
        .await
        .expect_error(1, &["version '3' of function 'f' gets requests through alias 'test'"]);
    ask(&host, &["delete", "f@9", "-y"]).await.expect_error(1, &["version '9'", "versions 1, 2, 3"]);
    ask(&host, &["delete", "f@3", "--alias", "test", "-y"]).await.expect_error(2, &["nocti delete f --alias test"]);
    ask(&host, &["delete", "f", "--alias", "live", "-y"]).await.expect_error(1, &["no alias 'live' any more"]);
    let ran = ask(&host, &["delete", "f", "--alias", "test", "-y"]).await.expect(0);
    assert_eq!(
        (ran.out.as_str(), aliases(&host, "f").await),
        ("deleted alias 'test' of function 'f'\n", json!({"live": {"1": 100}}))
    );
    ask(&host, &["traffic", "f", "3=100", "--alias", "test"]).await.expect(0);
    // Nobody is there to be asked.
    ask(&host, &["delete", "f@2"]).await.expect_error(2, &["--yes", "version 2 of function 'f'"]);
    let ran = ask(&host, &["delete", "f@2", "-y"]).await.expect(0);
    assert_eq!(ran.out, "deleted version 2 of function 'f'\n");
    // Deploying it again makes it what is called.
    deploy_model(&host, "tokens_i64.onnx", &named("2")).await.expect(0);
    assert_eq!(aliases(&host, "f").await, json!({"live": {"2": 100}, "test": {"3": 100}}));
    // An alias is what it points at.
    let ran = ask(&host, &["diff", "f", "live", "test"]).await.expect(0);
    assert!(ran.out.lines().next().unwrap().split_whitespace().eq(["WHAT", "2", "3"]), "{ran:?}");
    ask(&host, &["diff", "f", "canary", "3"]).await.expect_error(1, &["version 'canary' is not found"]);
    ask(&host, &["traffic", "f", "1=1", "2=1"]).await.expect(0);
    ask(&host, &["diff", "f", "live", "3"]).await.expect_error(1, &["'live' is an alias of function 'f'", "1, 2"]);
    deploy_model(&host, "addsub.onnx", &["--alias", "x", "--no-traffic"]).await.expect_error(2, &["--no-traffic"]);
    deploy_model(&host, "addsub.onnx", &["--alias", "Upper"]).await.expect_error(2, &["'Upper'"]);
}

#[tokio::test]
async fn a_component_by_somebody_else_is_deployed_as_it_is() {
    let (host, _store) = host().await;
    let folder = TempDir::new().unwrap();
    let component = folder.path().join("Hello_World.wasm");
    std::fs::copy(example("target/wasm32-wasip2/release/hello_http.wasm"), &component).unwrap();
    let ran = ask(&host, &["deploy", text(&component)]).await.expect(0);
    assert!(ran.err.contains("has no manifest: deploying the http component as hello-world 1.0.0"), "{ran:?}");
    assert!(ran.out.ends_with("  call    nocti invoke hello-world --http /\n"), "{ran:?}");

    let ran = ask(&host, &["invoke", "hello-world", "--http", "/?a=1"]).await.expect(0);
    assert_eq!(ran.out, "Hello from WebAssembly! You sent GET /?a=1\n");
    let ran = ask(&host, &["invoke", "hello-world@1.0.0", "--http", "echo", "-d", "no line break"]).await.expect(0);
    assert_eq!(ran.out, "no line break");
    let ran = ask(&host, &["invoke", "hello-world", "--http", "/nope"]).await.expect(1);
    assert!(ran.out.starts_with("No GET /nope here") && ran.message().contains("HTTP 404"), "{ran:?}");
    // What is asked of a function is not asked of the host.
    for path in ["../../api/status", "/../../api/status", "/%2e%2E/.%2e/api/status", "/a/../env"] {
        let ran = ask(&host, &["invoke", "hello-world", "--http", path]).await;
        ran.expect_error(2, &[path.trim_start_matches('/'), "percent-encoded or not"]);
    }
    ask(&host, &["invoke", "hello-world", "-d", r#"{"inputs": []}"#])
        .await
        .expect_error(1, &["/functions/hello-world/"]);
    ask(&host, &["invoke", "gone", "--http", "/"]).await.expect_error(1, &["'gone' is not found"]);
}

#[tokio::test]
async fn requests_come_from_the_command_line_a_file_or_standard_input() {
    let (host, _store) = host().await;
    let model = example("iris/iris.onnx");
    ask(&host, &["deploy", text(&model)]).await.expect(0);
    let folder = TempDir::new().unwrap();
    let short = r#"{"features": [5.1, 3.5, 1.4, 0.2]}"#;
    let whole = r#"{"id": "7", "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4],
                    "data": [5.1, 3.5, 1.4, 0.2]}]}"#;
    for data in [short, whole] {
        let file = folder.path().join("request.json");
        std::fs::write(&file, data).unwrap();
        let from_file = format!("@{}", text(&file));
        for (words, input) in [(data, ""), (&from_file, ""), ("-", data)] {
            let ran = run_with(host.command(&["invoke", "iris", "--json", "-d", words]), input).await.expect(0).json();
            assert_eq!(ran["outputs"][0]["data"], json!([0]), "{ran}");
            assert_eq!(ran.get("id"), (data == whole).then(|| json!("7")).as_ref());
        }
    }
    let text_form = ask(&host, &["invoke", "iris", "-d", short]).await.expect(0).out;
    assert!(text_form.contains("label          INT64     [1]    0\n"), "{text_form}");
    ask(&host, &["invoke", "iris"]).await.expect_error(2, &["-d", "features FP32 [-1,4]"]);
    ask(&host, &["invoke", "iris", "-d", "{"]).await.expect_error(2, &["-d is not a JSON object"]);
    ask(&host, &["invoke", "iris", "-d", r#"{"petals": [1]}"#]).await.expect_error(2, &["'petals'", "features"]);
    ask(&host, &["invoke", "iris", "-d", r#"{"features": [1, 2]}"#]).await.expect_error(1, &["'features'", "[-1,4]"]);
    ask(&host, &["invoke", "iris", "-d", "@/nowhere.json"]).await.expect_error(1, &["/nowhere.json"]);
    let wrong = whole.replace("FP32", "INT64").replace("5.1, 3.5, 1.4, 0.2", "5, 3, 1, 0");
    ask(&host, &["invoke", "iris", "-d", &wrong]).await.expect_error(1, &["features", "FP32", "INT64"]);
    ask(&host, &["invoke", "iris", "--explain", "-d", short]).await.expect_error(1, &["does not explain"]);
    ask(&host, &["invoke", "iris", "--http", "/"]).await.expect_error(1, &["does not speak HTTP"]);
}

#[tokio::test]
async fn functions_are_asked_for_explanations_and_their_failures_are_told() {
    let (host, _store) = host().await;
    let guest = fixture_guest("misbehave");
    ask(&host, &["deploy", text(&guest)]).await.expect(0);
    let request = |mode: &str| {
        json!({"parameters": {"mode": mode}, "inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [7]}]})
            .to_string()
    };
    let ran = ask(&host, &["invoke", "misbehave", "--explain", "-d", &request("any")]).await.expect(0);
    assert!(ran.out.contains("why     BYTES     [1]    \"mode any\"\n"), "{ran:?}");
    let answer =
        ask(&host, &["invoke", "misbehave", "--explain", "--json", "-d", &request("x")]).await.expect(0).json();
    assert_eq!(answer["outputs"][0]["data"], json!(["mode x"]));
    for (mode, parts) in [
        ("trap", vec!["function 'misbehave'", "trap"]),
        ("error-invalid", vec!["mode error-invalid"]),
        ("wrong-type", vec!["x"]),
    ] {
        let ran = ask(&host, &["invoke", "misbehave", "-d", &request(mode)]).await.expect_error(1, &parts);
        assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
    }
    // What fails is replaced.
    let ran = ask(&host, &["invoke", "misbehave", "--json", "-d", &request("echo")]).await.expect(0).json();
    assert_eq!(ran["outputs"][0]["data"], json!([7]));
    let words = ["invoke", "misbehave", "--explain", "--http", "/"];
    ask(&host, &words).await.expect_error(2, &["--explain", "--http"]);
}

#[tokio::test]
async fn files_are_sent_as_bytes() {
    let (host, _store) = host().await;
    ask(&host, &["deploy", text(&example("digits"))]).await.expect(0);
    let picture = example("digits/model/samples/3-0.png");
    let file = format!("png={}", text(&picture));
    let ran = ask(&host, &["invoke", "digits", "--json", "--file", &file]).await.expect(0).json();
    assert_eq!(ran["outputs"][0]["data"], json!([3]));
    ask(&host, &["invoke", "digits", "--file", "png=/nowhere.png"]).await.expect_error(1, &["/nowhere.png"]);
    let wrong = format!("image={}", text(&picture));
    ask(&host, &["invoke", "digits", "--file", &wrong]).await.expect_error(2, &["'image' is UINT8"]);
    ask(&host, &["invoke", "digits", "--file", "png"]).await.expect_error(2, &["INPUT=PATH"]);
}

/// The options that a command's help has, each of which must have something said about it: on the line itself or on the
/// next one.
#[track_caller]
fn options(help: &str) -> Vec<&str> {
    let (_, list) = help.split_once("\nOptions:\n").unwrap_or_else(|| panic!("no options: {help}"));
    let lines: Vec<&str> = list.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        // An option's values are listed with a dash, too.
        if !line.starts_with('-') || line.starts_with("- ") {
            continue;
        }
        let (names, said) = line.split_once("  ").unwrap_or((line, lines.get(number + 1).unwrap_or(&"")));
        let said = said.trim();
        assert!(said.len() > 5 && !said.starts_with(['-', '[']), "nothing is said about {names} in {help}");
        found.push(names.split([' ', ',']).find(|name| name.starts_with("--")).expect("every option has a long name"));
    }
    found
}

#[tokio::test]
async fn help_names_every_command_and_option() {
    let mut command = nocti();
    command.arg("--help");
    let help = run(command).await.expect(0).out;
    let registry = ["--username", "--password-stdin", "--plain-http", "--tls", "--docker-config"];
    let named = ["--name", "--version"];
    let deploy = [&["--alias", "--no-traffic", "--message", "--by"], &named[..], &registry].concat();
    let push = [&["--mount-from"], &named[..], &registry].concat();
    let pull = [&["--output", "--force"], &registry[..]].concat();
    let traffic = [
        &["--alias", "--shadow", "--shadow-percent", "--message", "--by"][..],
        &["--steps", "--every", "--max-error-rate", "--max-p99", "--min-requests"],
    ]
    .concat();
    let commands: [(&str, &[&str]); 20] = [
        ("serve", &["--listen", "--grpc-listen", "--store", "--config", "--print-config"]),
        ("new", &["--template"]),
        ("build", &["--output"]),
        ("inspect", &[]),
        ("deploy", &deploy),
        ("push", &push),
        ("pull", &pull),
        ("invoke", &["--data", "--file", "--explain", "--http"]),
        ("list", &[]),
        ("show", &[]),
        ("search", &["--all-versions", "--alias", "--limit", "--after"]),
        ("label", &["--message", "--by"]),
        ("delete", &["--alias", "--yes", "--message", "--by"]),
        ("traffic", &traffic),
        ("rollback", &["--to", "--message", "--by"]),
        ("history", &["--limit", "--before"]),
        ("diff", &[]),
        ("status", &[]),
        ("logs", &["--follow", "--since", "--version", "--limit"]),
        ("download", &["--output", "--force"]),
    ];
    for (name, own) in commands {
        let line = help.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {help}"));
        assert!(line.split_whitespace().count() > 2, "nothing is said about {name}: {line}");
        let mut command = nocti();
        command.args([name, "--help"]);
        let ran = run(command).await.expect(0);
        assert!(ran.out.contains(&format!("Usage: nocti {name}")) && ran.err.is_empty(), "{ran:?}");
        let mut found = options(&ran.out);
        found.sort_unstable();
        let mut expected = [own, &["--server", "--json", "--help"]].concat();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
    let ran = run(nocti()).await.expect(2);
    assert!(ran.out.is_empty() && ran.err.contains("Usage: nocti"), "{ran:?}");
    let mut command = nocti();
    command.arg("--version");
    assert_eq!(run(command).await.expect(0).out, format!("nocti {}\n", env!("CARGO_PKG_VERSION")));
    let mut command = nocti();
    command.arg("deplyo");
    run(command).await.expect_error(2, &["deplyo", "deploy"]);
}
