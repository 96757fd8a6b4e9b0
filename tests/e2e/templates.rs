//! What `nocti new` makes builds, deploys and answers as its README says, command by command.

use std::path::Path;

use nocti_tests::{HostProcess, example};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ran, nocti_in, run, text};

/// Commands typed in one folder, all of them with one host to talk to.
struct Shell<'a> {
    host: &'a HostProcess,
    folder: &'a Path,
}

impl Shell<'_> {
    async fn types(&self, line: &str) -> Ran {
        let mut command = self.host.command(&line.split(' ').collect::<Vec<_>>());
        // What guests are made of has been fetched for the examples.
        command.current_dir(self.folder).env("CARGO_NET_OFFLINE", "true");
        run(command).await
    }

    async fn sends(&self, line: &str, data: &str) -> Ran {
        let mut command = self.host.command(&line.split(' ').chain(["-d", data]).collect::<Vec<_>>());
        command.current_dir(self.folder);
        run(command).await
    }
}

/// `nocti new`, and then what spares the tests a compilation of all that the examples are made of: their target folder
/// and their versions.
async fn new(folder: &Path, name: &str, template: &str) {
    let ran = nocti_in(folder, &["new", name, "--template", template]).await.expect(0);
    assert!(ran.out.contains(&format!("made {name}/")) && ran.out.contains("nocti deploy ."), "{ran:?}");
    if template != "model-only" {
        std::os::unix::fs::symlink(example("target"), folder.join(name).join("target")).unwrap();
        std::fs::copy(example("Cargo.lock"), folder.join(name).join("Cargo.lock")).unwrap();
    }
}

/// The values of an output in an answer as JSON.
fn data<'a>(answer: &'a Value, output: &str) -> &'a Value {
    let outputs = answer["outputs"].as_array().expect("a list");
    &outputs.iter().find(|found| found["name"] == output).unwrap_or_else(|| panic!("no {output}: {answer}"))["data"]
}

// One after the other, because their components have the same name in the one target folder.
#[tokio::test]
async fn every_template_becomes_a_function_that_answers_as_its_readme_says() {
    let (store, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = HostProcess::start(store.path(), &[]).await;
    for (template, kind) in [("classifier", "typed"), ("text", "typed"), ("http", "http"), ("model-only", "model-only")]
    {
        let name = format!("my-{template}");
        new(folder.path(), &name, template).await;
        let project = folder.path().join(&name);
        let shell = Shell { host: &host, folder: &project };
        let readme = std::fs::read_to_string(project.join("README.md")).unwrap();

        assert!(readme.contains("nocti build                          # "), "{readme}");
        let built = shell.types("build").await.expect(0);
        assert!(built.out.contains(&format!("built {name} 0.1.0 ({kind})")), "{built:?}");
        let bundle = format!("{name}-0.1.0.wasm");
        assert!(built.out.contains(&format!("wrote ./{bundle} (")) && project.join(&bundle).is_file(), "{built:?}");
        let inspected = shell.types(&format!("inspect {bundle} --json")).await.expect(0).json();
        assert_eq!(inspected["function_kind"], kind);
        assert_eq!((&inspected["function"], &inspected["version"]), (&json!(name), &json!("0.1.0")));
        assert_eq!(inspected["missing_imports"].as_array().map_or(0, Vec::len), 0, "{inspected}");

        assert!(readme.contains("nocti deploy .\n"), "{readme}");
        let deployed = shell.types("deploy .").await.expect(0);
        assert!(deployed.out.starts_with(&format!("deployed {name} 0.1.0 ({kind}, ")), "{deployed:?}");
        // The same again, from the bundle.
        let again = shell.types(&format!("deploy {bundle} --json")).await.expect(0).json();
        assert_eq!((&again["digest"], &again["revision"]), (&inspected["digest"], &json!(1)));

        let invoke = readme.lines().find(|line| line.starts_with("nocti invoke")).expect("it says how to call it");
        let line = invoke.strip_prefix("nocti ").expect("it begins so");
        match template {
            "classifier" => {
                let ran = shell.types(line).await.expect(0);
                assert!(ran.out.contains("label   INT64     [1]     2\n"), "{ran:?}");
            }
            "http" => {
                let ran = shell.types(line).await.expect(0);
                assert_eq!(ran.out, "Hello, world!\n");
                let ran = shell.types(&format!("invoke {name} --http /teapot")).await.expect(1);
                assert_eq!(
                    (ran.out.as_str(), ran.message()),
                    ("short and stout\n", "the function answered with HTTP 418 I'm a teapot")
                );
            }
            _ => {
                let (words, data_of_it) = line.split_once(" -d ").expect("it says what to send");
                let sent = data_of_it.trim_matches('\'');
                let answer = shell.sends(&format!("{words} --json"), sent).await.expect(0).json();
                match template {
                    "text" => {
                        assert_eq!(data(&answer, "words"), &json!([5]));
                        assert_eq!(data(&answer, "characters"), &json!([26]));
                        assert_eq!(data(&answer, "longest"), &json!(["sparkles"]));
                    }
                    _ => assert_eq!(data(&answer, "label"), &json!([0])),
                }
            }
        }
    }
    let ran = nocti_in(folder.path(), &["new", "my-http"]).await;
    ran.expect_error(1, &["my-http is there already"]);
    nocti_in(folder.path(), &["new", "My_Function"]).await.expect_error(2, &["'My_Function'", "a-z"]);
    nocti_in(folder.path(), &["new", "x", "--template", "novel"]).await.expect_error(2, &["classifier, text, http"]);
    assert!(!folder.path().join("x").exists());

    let manifest = folder.path().join("my-http/nocti.toml");
    let raised = std::fs::read_to_string(&manifest).unwrap().replace("0.1.0", "0.2.0").replace("Hello", "Ahoy");
    std::fs::write(&manifest, raised).unwrap();
    let shell = Shell { host: &host, folder: folder.path() };
    shell.types(&format!("deploy {}", text(&folder.path().join("my-http")))).await.expect(0);
    assert_eq!(shell.types("invoke my-http --http /sailor").await.expect(0).out, "Ahoy, sailor!\n");
    assert_eq!(shell.types("invoke my-http@0.1.0 --http /sailor").await.expect(0).out, "Hello, sailor!\n");
}
