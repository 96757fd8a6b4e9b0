"""Asking functions."""

import json

import numpy as np
import pytest
from conftest import MODELS, REPOSITORY, Bundler

import nocti

ZEROS_UP = np.arange(16, dtype=np.int32).reshape(1, 16)
ONES = np.ones((1, 16), np.int32)
PAIR = {"INPUT0": ZEROS_UP, "INPUT1": ONES}


def test_all_outputs_or_those_that_are_asked_for(client: nocti.Client) -> None:
    outputs = client.predict("simple", PAIR)
    assert list(outputs) == ["OUTPUT0", "OUTPUT1"]
    assert (outputs["OUTPUT0"] == ZEROS_UP + 1).all() and (outputs["OUTPUT1"] == ZEROS_UP - 1).all()
    assert (outputs.function, outputs.version, outputs.request_id) == ("simple", "1.0.0", None)
    assert list(client.predict("simple", PAIR, outputs=["OUTPUT1"])) == ["OUTPUT1"]


def test_outputs_are_views_of_the_answer(client: nocti.Client) -> None:
    first, second = client.predict("simple", PAIR).values()
    assert not first.flags.owndata and not first.flags.writeable
    distance = second.__array_interface__["data"][0] - first.__array_interface__["data"][0]
    assert distance == first.nbytes


def test_parameters_and_request_id_reach_the_function(client: nocti.Client) -> None:
    parameters: dict[str, str | int | float] = {"mode": "describe", "yes": True, "count": -3, "share": 0.5}
    outputs = client.predict("free", {"é": [[1, 2]]}, parameters=parameters, request_id="sieben é")
    assert outputs.request_id == "sieben é"
    told = outputs["text"].item().decode().splitlines()
    assert told[:2] == ['id Some("sieben é")', "input é INT64 [1, 2]"]
    assert told[3:] == [
        "parameter yes Parameter::Boolean(true)",
        "parameter count Parameter::Int64(-3)",
        "parameter share Parameter::Double(0.5)",
    ]


def test_versions_and_aliases(client: nocti.Client, bundle: Bundler) -> None:
    client.deploy(bundle("twins", model=MODELS / "scalar.onnx"))
    client.deploy(bundle("twins", version="2.0.0", model=MODELS / "scalar.onnx"), alias="next")
    inputs = {"x": np.ones(3, np.float32)}
    named = {"twins": "1.0.0", "twins@live": "1.0.0", "twins@next": "2.0.0", "twins@2.0.0": "2.0.0", "twins@1.0.0": "1.0.0"}
    for name, version in named.items():
        outputs = client.predict(name, inputs)
        assert outputs.version == version and outputs["sum"].shape == () and outputs["sum"] == 3
    assert client.predict("twins", inputs, version="next").version == "2.0.0"
    with pytest.raises(ValueError, match="'twins@next' names a version already"):
        client.predict("twins@next", inputs, version="1.0.0")
    for name in ("", "..", "@1.0.0", "twins@", "twins@.."):
        with pytest.raises(ValueError, match="is not the name of a function"):
            client.predict(name, inputs)


def test_a_function_explains_itself(client: nocti.Client) -> None:
    assert client.explain("free", {}, parameters={"mode": "of my own"})["why"].item() == b"mode of my own"
    with pytest.raises(nocti.NoctiError, match="does not explain") as failed:
        client.explain("simple", PAIR)
    assert (failed.value.status, failed.value.code) == (501, "not_explainable")


def test_the_digits_example_reads_pixels_and_pictures(client: nocti.Client) -> None:
    folder = REPOSITORY / "examples/wasm-models/digits/model"
    heldout = json.loads((folder / "heldout.json").read_text())
    outputs = client.predict("digits", {"image": np.array(heldout["images"], np.uint8)})
    right = outputs["label"] == heldout["labels"]
    assert right.mean() > 0.99 and outputs["scores"].shape == (len(right), 10)
    pictures = [(folder / f"samples/{digit}-0.png").read_bytes() for digit in range(10)]
    assert client.predict("digits", {"png": pictures})["label"].tolist() == list(range(10))


def test_large_tensors(client: nocti.Client) -> None:
    sent = np.random.default_rng(7).random((1024, 4096), np.float32)
    assert (client.predict("identity-float", {"input": sent})["output"] == sent).all()


def test_metadata_and_readiness(client: nocti.Client) -> None:
    metadata = client.metadata("simple")
    assert metadata["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
    assert client.metadata("simple@live") == client.metadata("simple", version="1.0.0") == metadata
    assert client.ready() and client.ready("simple") and client.ready("simple@1.0.0")
    with pytest.raises(nocti.NoctiError, match="'nothing' is not found"):
        client.ready("nothing")
