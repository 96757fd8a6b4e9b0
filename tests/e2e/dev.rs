//! `nocti dev`: what is edited answers a moment later, and what is broken is told while the last version goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nocti_tests::{Answer, HostProcess, eventually, example, fixture_model, nocti};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{client, nocti_in, run, text};

/// A function's folder that is worked on; ends with the test.
struct Dev {
    child: Child,
    said: Arc<Mutex<String>>,
    place: TempDir,
}

/// Ports that nobody has.
const OWN: [&str; 4] = ["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"];

/// A folder for a function, and one for what is temporary.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    fs::create_dir(place.path().join("function")).unwrap();
    fs::create_dir(place.path().join("temporary")).unwrap();
    place
}

impl Dev {
    fn start(place: TempDir, words: &[&str]) -> Self {
        let folder = place.path().join("function");
        Self::start_in(place, Path::new("."), &folder, words)
    }

    /// One whose folder is called so from another.
    fn start_in(place: TempDir, current: &Path, folder: &Path, words: &[&str]) -> Self {
        let mut command = nocti();
        command.current_dir(current).arg("dev").arg(folder).args(words);
        command.env("TMPDIR", place.path().join("temporary")).env("NOCTI_CACHE_DIR", place.path().join("cache"));
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let reading = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                *reading.lock().unwrap() += &format!("{line}\n");
            }
        });
        Self { child, said, place }
    }

    /// One with a host of its own.
    fn serve(place: TempDir, words: &[&str]) -> Self {
        Self::start(place, &[&OWN, words].concat())
    }

    fn function(&self) -> PathBuf {
        self.place.path().join("function")
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.function().join(name), content).unwrap();
    }

    /// As editors save: another file, under the name of the old one.
    fn replace(&self, name: &str, by: &Path) {
        let aside = self.place.path().join("aside");
        fs::copy(by, &aside).unwrap();
        fs::rename(aside, self.function().join(name)).unwrap();
    }

    /// Waits until it has said all of this, in this order; what it has said.
    async fn says(&self, words: &[&str]) -> String {
        eventually(&format!("{words:?}"), async || {
            let said = self.said.lock().unwrap().clone();
            let mut rest = said.as_str();
            let has_all = words.iter().all(|word| rest.split_once(word).inspect(|(_, after)| rest = after).is_some());
            has_all.then_some(said)
        })
        .await
    }

    async fn url(&self) -> String {
        let said = self.says(&["serving on ", ", gRPC on "]).await;
        let (_, url) = said.split_once("serving on ").unwrap();
        url.split_once(',').unwrap().0.to_owned()
    }

    async fn send(&self, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.url().await);
        Answer::read(client().post(url).body(body.to_string()).send().await.unwrap()).await
    }

    /// Ctrl-C: it ends by itself and leaves nothing behind.
    async fn interrupt(mut self) -> String {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &id]).status().await.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
        let left = fs::read_dir(self.place.path().join("temporary")).unwrap().count();
        assert_eq!(left, 0, "something temporary is left");
        self.said.lock().unwrap().clone()
    }
}

fn model_only(version: &str) -> String {
    format!("name = \"same\"\nversion = \"{version}\"\n[[model]]\nname = \"m\"\npath = \"m.onnx\"\n")
}

#[tokio::test]
async fn every_edit_is_a_version_that_answers_and_mistakes_change_nothing() {
    let place = place();
    let function = place.path().join("function");
    fs::write(function.join("nocti.toml"), model_only("1.0.0")).unwrap();
    fs::copy(fixture_model("identity_int64.onnx"), function.join("m.onnx")).unwrap();
    fs::write(place.path().join("data.json"), r#"{"input": [[3, 4]]}"#).unwrap();
    let data = format!("@{}", place.path().join("data.json").display());
    let dev = Dev::serve(place, &["-d", &data]);
    dev.says(&["built in ", ", deployed in ", ": same 1.0.0-dev.1\n", "answered in ", "INT64", "[1,2]", "3 4"]).await;
    // What was asked is a request like others.
    dev.says(&["request", "predict ok ", " ms"]).await;

    dev.replace("m.onnx", &fixture_model("identity_int32.onnx"));
    dev.says(&["changed: m.onnx\n", ": same 1.0.0-dev.2\n", "answered in ", "INT32", "3 4"]).await;
    fs::write(dev.place.path().join("data.json"), r#"{"input": [[5, 6]]}"#).unwrap();
    dev.says(&["data.json\n", ": same 1.0.0-dev.3\n", "5 6"]).await;

    dev.write("nocti.toml", "name = \"same\"\nverison = \"1.0.0\"\n");
    let unknown = "nocti.toml:2: verison: unknown key; did you mean 'version'?";
    dev.says(&["not deployed: ", unknown, "1.0.0-dev.3 goes on answering\n"]).await;
    let inputs = json!({"inputs": [{"name": "input", "datatype": "INT32", "shape": [1, 1], "data": [7]}]});
    let answer = dev.send("/v2/models/same/infer", &inputs).await.expect(200);
    assert_eq!(answer["model_version"], "1.0.0-dev.3");

    for (version, number) in [("1.1.0", 4), ("1.2.0", 5)] {
        dev.write("nocti.toml", &model_only(version));
        dev.says(&[&format!(": same {version}-dev.{number}\n"), "answered in "]).await;
    }
    let url = dev.url().await;
    eventually("old versions are gone", async || {
        let shown = client().get(format!("{url}/api/functions/same")).send().await.unwrap();
        let versions = Answer::read(shown).await.expect(200)["versions"].clone();
        let names = versions.as_array().unwrap().iter().map(|version| version["version"].as_str().unwrap());
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        (names == ["1.0.0-dev.3", "1.1.0-dev.4", "1.2.0-dev.5"]).then_some(())
    })
    .await;
    let said = dev.interrupt().await;
    assert!(said.ends_with("stopping\n") && said.matches("not deployed").count() == 1, "{said}");
}

/// A typed function whose build command is a script in its folder.
fn built_by_a_script(place: &Path, script: &str) {
    let manifest =
        "name = \"misbehave\"\nversion = \"1\"\n[component]\npath = \"made.wasm\"\nbuild = \"sh build.sh\"\n";
    fs::write(place.join("function/nocti.toml"), manifest).unwrap();
    fs::write(place.join("function/build.sh"), script).unwrap();
}

#[tokio::test]
async fn a_build_that_fails_is_shown_and_a_trap_says_where_it_was() {
    let place = place();
    let component = example("target/wasm32-wasip2/release/misbehave.wasm");
    built_by_a_script(place.path(), &format!("cp {} made.wasm", text(&component)));
    let trap = json!({"inputs": [], "parameters": {"mode": "trap", "message": "all is lost"}});
    let dev = Dev::serve(place, &["-d", &trap.to_string()]);
    dev.says(&[
        "building: sh build.sh\n",
        ": misbehave 1-dev.1\n",
        "no answer: function 'misbehave': the function failed",
    ])
    .await;
    let told =
        dev.says(&["stderr", "all is lost\n", "host ", "trapped: ", " 0: ", "misbehave::", "request", "failed"]).await;
    // The caller is told what it was, not where.
    let answer = dev.send("/v2/models/misbehave/infer", &trap).await;
    answer.expect_error(502, "function_failed", &["unreachable"]);
    assert!(!answer.text().contains("misbehave::") && !told.contains("changed:"), "{told}");

    dev.write("build.sh", "echo a mistake in line 7; exit 3");
    dev.says(&["changed: build.sh\n", "not deployed: ", "exit status: 3", "\na mistake in line 7\n1-dev.1 goes on"])
        .await;
    dev.send("/v2/models/misbehave/infer", &trap).await.expect_error(502, "function_failed", &[]);
    dev.interrupt().await;
}

#[tokio::test]
async fn a_script_gets_objects_and_another_host_what_is_built() {
    let (store, place) = (TempDir::new().unwrap(), place());
    let host = HostProcess::start(store.path(), &[]).await;
    fs::write(place.path().join("function/nocti.toml"), model_only("1.0.0")).unwrap();
    fs::copy(fixture_model("identity_int64.onnx"), place.path().join("function/m.onnx")).unwrap();
    let dev = Dev::start(place, &["--json", "--server", &host.url, "-d", r#"{"input": [[1, 2]]}"#]);
    dev.says(&["\"answered\""]).await;
    let said = dev.interrupt().await;
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = |name: &str| events.iter().find(|event| event["event"] == name).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(event("serving")["url"], host.url.as_str());
    assert_eq!(event("deployed")["version"], "1.0.0-dev.1");
    assert_eq!(event("answered")["answer"]["outputs"][0]["data"], json!([1, 2]));
    event("stopping");
    let shown = run(host.command(&["show", "same", "--json"])).await.expect(0).json();
    assert_eq!(shown["versions"][0]["version"], "1.0.0-dev.1", "{shown}");
}

#[tokio::test]
async fn what_is_linked_or_moved_away_and_back_is_seen() {
    let place = place();
    let [function, weights, away] = ["function", "weights", "away"].map(|name| place.path().join(name));
    fs::create_dir(&weights).unwrap();
    fs::copy(fixture_model("identity_int64.onnx"), weights.join("current.onnx")).unwrap();
    fs::write(function.join("nocti.toml"), model_only("1.0.0")).unwrap();
    std::os::unix::fs::symlink("../weights/current.onnx", function.join("m.onnx")).unwrap();
    fs::write(function.join("data.json"), r#"{"input": [[3, 4]]}"#).unwrap();
    let words = [&OWN[..], &["-d", "@data.json"]].concat();
    let dev = Dev::start_in(place, &function, Path::new("."), &words);
    dev.says(&[": same 1.0.0-dev.1\n", "answered in ", "INT64", "3 4"]).await;
    let aside = weights.join("aside");
    fs::copy(fixture_model("identity_int32.onnx"), &aside).unwrap();
    fs::rename(aside, weights.join("current.onnx")).unwrap();
    dev.says(&["changed: m.onnx\n", ": same 1.0.0-dev.2\n", "answered in ", "INT32", "3 4"]).await;
    // It is named twice, and told once.
    dev.write("data.json", r#"{"input": [[5, 6]]}"#);
    dev.says(&["changed: data.json\n", ": same 1.0.0-dev.3\n", "5 6"]).await;
    fs::rename(&function, &away).unwrap();
    dev.says(&["not deployed: there is no nocti.toml in ", "1.0.0-dev.3 goes on answering\n"]).await;
    fs::rename(&away, &function).unwrap();
    dev.says(&[": same 1.0.0-dev.4\n", "5 6"]).await;
    dev.write("data.json", r#"{"input": [[7, 8]]}"#);
    dev.says(&[": same 1.0.0-dev.5\n", "7 8"]).await;
    dev.interrupt().await;
}

#[tokio::test]
async fn a_build_that_goes_on_ends_with_it() {
    let place = place();
    let (begun, pipe) = (place.path().join("begun"), place.path().join("pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    built_by_a_script(place.path(), &format!("exec 3>{}; touch {}; sleep 1000 & wait", text(&pipe), text(&begun)));
    // The pipe ends when none of the build's processes is there any more.
    let reading = tokio::task::spawn_blocking({
        let pipe = pipe.clone();
        move || fs::read(pipe)
    });
    let dev = Dev::serve(place, &[]);
    eventually("the build", async || begun.exists().then_some(())).await;
    dev.interrupt().await;
    assert!(reading.await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn it_ends_when_nobody_reads_what_it_says() {
    let place = place();
    fs::write(place.path().join("function/nocti.toml"), model_only("1.0.0")).unwrap();
    let mut command = nocti();
    command.arg("dev").arg(place.path().join("function")).args(OWN).stdout(Stdio::piped()).kill_on_drop(true);
    command.env("TMPDIR", place.path().join("temporary")).env("NOCTI_CACHE_DIR", place.path().join("cache"));
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_cannot_be_worked_on_is_told() {
    let place = place();
    let dev = async |words: &[&str]| nocti_in(place.path(), &[&["dev"], words].concat()).await;
    dev(&["nowhere"]).await.expect_error(1, &["there is no nocti.toml in nowhere", "nocti new"]);
    dev(&["function", "-d", "-"]).await.expect_error(2, &["-d @FILE"]);
    dev(&["function", "-d", "{bad"]).await.expect_error(2, &["-d is not a JSON object"]);
    dev(&["function", "--http", "../.."]).await.expect_error(2, &["--http '../..'"]);
    let elsewhere = ["function", "--server", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"];
    dev(&elsewhere).await.expect_error(2, &["--listen", "--server"]);
    fs::write(place.path().join("function/nocti.toml"), model_only("1.0.0")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    dev(&["function", "--listen", &address]).await.expect_error(1, &[&address]);
}
