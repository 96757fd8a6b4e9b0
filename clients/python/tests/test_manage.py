"""Deploying and what follows."""

from pathlib import Path

import pytest
from conftest import MODELS, Bundler

import nocti


def test_a_function_comes_is_seen_and_goes(client: nocti.Client, bundle: Bundler) -> None:
    first = bundle("visitor", model=MODELS / "scalar.onnx", more="[metrics]\naccuracy = 0.5\n")
    deployed = client.deploy(first)
    assert (deployed["function"], deployed["version"], deployed["kind"]) == ("visitor", "1.0.0", "model-only")
    assert deployed["aliases"] == {"live": {"1.0.0": 100}}
    # What is there already is no mistake.
    assert client.deploy(str(first))["digest"] == deployed["digest"]
    second = client.deploy(bundle("visitor", version="2.0.0", model=MODELS / "scalar.onnx").read_bytes(), alias=None)
    assert second["aliases"] == {"live": {"1.0.0": 100}}

    (summary,) = (found for found in client.list() if found["name"] == "visitor")
    assert summary["versions"] == ["1.0.0", "2.0.0"] and summary["live"] == {"1.0.0": 100}
    shown = client.show("visitor")
    assert [version["version"] for version in shown["versions"]] == ["1.0.0", "2.0.0"]
    assert shown["versions"][0]["metrics"] == {"accuracy": 0.5}
    assert shown["versions"][0]["signature"] == {key: client.metadata("visitor")[key] for key in ("inputs", "outputs")}
    assert {"function": "visitor", "version": "2.0.0"}.items() <= client.status()["functions"][-1].items()

    with pytest.raises(nocti.NoctiError, match="gets requests through alias 'live'") as failed:
        client.delete("visitor@1.0.0")
    assert (failed.value.status, failed.value.code) == (409, "version_in_use")
    client.delete("visitor", version="2.0.0")
    client.delete("visitor")
    with pytest.raises(nocti.NoctiError, match="'visitor'") as failed:
        client.show("visitor")
    assert (failed.value.status, failed.value.code) == (404, "not_found")


def test_what_was_deployed_comes_back(client: nocti.Client, bundle: Bundler, tmp_path: Path) -> None:
    first = bundle("back", model=MODELS / "scalar.onnx")
    client.deploy(first)
    client.download("back@1.0.0", tmp_path / "back.wasm")
    assert (tmp_path / "back.wasm").read_bytes() == first.read_bytes()
    with pytest.raises(nocti.NoctiError, match=r"has versions 1\.0\.0"):
        client.download("back", tmp_path / "none.wasm", version="2")
    with pytest.raises(ValueError, match="say which version"):
        client.download("back", tmp_path / "none.wasm")
    assert [file.name for file in tmp_path.glob("*.wasm*") if file.name.startswith("none")] == []


def test_other_content_under_a_name_that_is_taken(client: nocti.Client, bundle: Bundler) -> None:
    client.deploy(bundle("taken", model=MODELS / "scalar.onnx"))
    with pytest.raises(nocti.NoctiError, match=r"1\.0\.0") as failed:
        client.deploy(bundle("taken", model=MODELS / "addsub.onnx"))
    assert (failed.value.status, failed.value.code) == (409, "version_taken")


def test_what_is_no_bundle(client: nocti.Client, tmp_path: Path) -> None:
    with pytest.raises(nocti.NoctiError, match="make a bundle with `nocti build`") as failed:
        client.deploy(MODELS / "addsub.onnx")
    assert (failed.value.status, failed.value.code) == (400, "invalid_bundle")
    # The host knows it by the first bytes. The rest is sent in vain, and then its word is heard.
    large = tmp_path / "large.wasm"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    with pytest.raises(nocti.NoctiError, match="not a WebAssembly file"):
        client.deploy(large)
    with pytest.raises(FileNotFoundError):
        client.deploy(tmp_path / "nothing.wasm")
