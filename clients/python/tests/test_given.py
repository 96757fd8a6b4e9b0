"""What callers give that cannot be sent: it is named, and nothing is sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nocti

X = {"x": np.zeros(1)}


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda c: c.predict("f", [1]), "inputs is a dict, .*list"),
        (lambda c: c.predict("f", None), "inputs is a dict, .*NoneType"),
        (lambda c: c.predict("f", {1: [1]}), "the name of an input is text"),
        (lambda c: c.predict("f", X, outputs="label"), r"outputs is a list of names, such as \['label'\]"),
        (lambda c: c.predict("f", X, outputs=[1]), "the name of an output is text"),
        (lambda c: c.predict("f", X, request_id=7), "request_id is text: 7 is of type int"),
        (lambda c: c.predict("f", X, version=1), "version is text: 1 is of type int"),
        (lambda c: c.predict("f", X, parameters={"a": [1]}), r"parameter 'a' is a number, a bool or text: \[1\]"),
        (lambda c: c.predict("f", X, timeout="5"), "timeout is a number of seconds: '5'"),
        (lambda c: c.predict(None, X), "function is text"),
        (lambda c: c.show(7), "function is text: 7"),
        (lambda c: c.call("f", None), "path is text"),
        (lambda c: c.call("f", content="text"), "content is bytes, not str: `.encode"),
        (lambda c: c.deploy(b"", alias=7), "alias is text"),
        (lambda c: c.traffic("f", ["1"]), r"weights is a dict, such as {'1\.0\.0': 1}: .*list"),
        (lambda c: c.label("f@1", ["a"]), "labels is a dict"),
        (lambda c: c.predict("f", X, parameters=[1]), "parameters is a dict"),
        (lambda c: c.traffic("f", {"1": None}), "the weight of '1' is a number"),
        (lambda c: c.traffic("f", {1: 1}), "a version is text"),
        (lambda c: c.traffic("f", "1", steps=[100], every=5), "every is text, such as '5m': 5 is of type int"),
        (lambda c: c.rollback("f", revision=[1]), "revision is a number"),
    ],
)
def test_what_is_of_another_type(ask: Callable[[Any], Any], words: str) -> None:
    with nocti.Client("http://127.0.0.1:9") as nowhere, pytest.raises(TypeError, match=words):
        ask(nowhere)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda c: c.predict("f", X, parameters={"a": 1, "b": float("nan")}), "parameter 'b' is nan"),
        (lambda c: c.predict("f", X, parameters={"a": np.float32("inf")}), "parameter 'a' is inf"),
        (lambda c: c.predict("f", {"x": [[1], [1, 2]]}), "input 'x': .*inhomogeneous"),
        (lambda c: c.predict("f", {"x": ["\ud800"]}), "input 'x': an element is no text"),
        (
            lambda c: c.predict("f", {"x": np.ma.masked_array([1, 2], [False, True])}),
            r"input 'x': .* masked, .*`\.filled\(value\)`",
        ),
        (lambda c: c.traffic("f", {"1": float("nan")}), "the weight of '1' is nan"),
        (lambda c: c.traffic("f", "1", steps=[100], every="5m", max_p99=float("inf")), "max_p99 is inf"),
    ],
)
def test_what_is_of_no_use(ask: Callable[[Any], Any], words: str) -> None:
    with nocti.Client("http://127.0.0.1:9") as nowhere, pytest.raises(ValueError, match=words):
        ask(nowhere)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e12, 2.2e6, np.float64(0)])
def test_how_long_nothing_may_take(timeout: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"timeout is .*: more than 0 s"):
        nocti.Client(timeout=timeout)
    with pytest.raises(ValueError, match="timeout is"):
        nocti.AsyncClient(timeout=timeout)
    with nocti.Client("http://127.0.0.1:9") as nowhere:
        for ask in (
            lambda: nowhere.predict("f", X, timeout=timeout),
            lambda: nowhere.call("f", timeout=timeout),
            lambda: nowhere.deploy(b"", timeout=timeout),
            lambda: nowhere.download("f@1", tmp_path / "f.wasm", timeout=timeout),
        ):
            with pytest.raises(ValueError, match="timeout is"):
                ask()


@pytest.mark.parametrize("timeout", [None, 2.1e6, np.float32(30)])
def test_how_long_all_may_take(client: nocti.Client, timeout: float | None) -> None:
    with nocti.Client(client.server, timeout=timeout) as patient:
        assert patient.ready() and patient.call("hello-http", timeout=timeout).is_success


def test_numbers_of_numpy_are_numbers(client: nocti.Client, two: Callable[[str], None]) -> None:
    parameters: Any = {"mode": "describe", "a": np.int64(-3), "b": np.float32(0.5), "c": np.bool_(True), "d": np.str_("e")}
    told = client.predict("free", {}, parameters=parameters)["text"].item().decode().splitlines()
    for line in ("a Parameter::Int64(-3)", "b Parameter::Double(0.5)", "c Parameter::Boolean(true)"):
        assert f"parameter {line}" in told
    two("numbered")
    weights: Any = {"1": np.int64(3), "2": np.uint8(1)}
    traffic = client.traffic("numbered", weights, revision=int(np.int32(2)))
    assert traffic["aliases"]["live"] == {"1": 3, "2": 1}
    steps: Any = np.array([50, 100])
    rollout = client.traffic("numbered", "1", steps=steps, every="5m", max_error_rate=np.float64(0.5))["rollouts"]["live"]
    assert (rollout["steps"], rollout["max_error_rate"]) == ([50, 100], 0.5)
    assert client.rollback("numbered", to=np.int64(1), revision=np.int64(4))["revision"] == 5
    client.delete("numbered")


def test_a_folder_is_no_bundle(tmp_path: Path) -> None:
    with nocti.Client("http://127.0.0.1:9") as nowhere, pytest.raises(IsADirectoryError, match="`nocti build` makes a bundle"):
        nowhere.deploy(tmp_path)
