//! The Python client: its package, its types, and its own tests against a host.

use nocti_tests::{HostProcess, nocti, repository};
use tempfile::TempDir;
use tokio::process::Command;

use super::{run, text};

#[tokio::test]
async fn the_python_client_is_a_package_whose_types_and_tests_are_right() {
    let python = nocti::config::tool_folder().expect("a folder of tools").join("clients/bin/python");
    assert!(python.exists(), "there is no {}: `scripts/setup clients` makes it", python.display());
    let (store, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = HostProcess::start(store.path(), &[]).await;
    let package = made.path().join("package");
    let module = |words: &[&str]| {
        let mut command = Command::new(&python);
        command.current_dir(repository().join("clients/python")).arg("-m").args(words);
        command.env("HYPOTHESIS_STORAGE_DIRECTORY", made.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };

    // What is tested is what users install.
    let install = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target"];
    run(module(&[&install[..], &[text(&package), "."]].concat())).await.expect(0);
    assert!(package.join("nocti/py.typed").exists(), "its types are there for its users");

    run(module(&["mypy", "--cache-dir", text(&made.path().join("types"))])).await.expect(0);

    let mut tests =
        module(&["pytest", "--quiet", "-p", "no:cacheprovider", "--basetemp", text(&made.path().join("tests"))]);
    tests.env("PYTHONPATH", &package).env("NOCTI_SERVER", &host.url).env("NOCTI", nocti().as_std().get_program());
    let ran = run(tests).await.expect(0);
    assert!(ran.out.contains(" passed"), "{ran:?}");
}
