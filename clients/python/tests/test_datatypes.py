"""Every datatype there and back, through a host."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from conftest import TYPES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import nocti
from nocti.tensors import decode, encode

DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "u2",
    "UINT32": "u4",
    "UINT64": "u8",
    "INT8": "i1",
    "INT16": "i2",
    "INT32": "i4",
    "INT64": "i8",
    "FP16": "f2",
    "FP32": "f4",
    "FP64": "f8",
}
NUMBERS = st.sampled_from([np.dtype(order + code) for code in DTYPES.values() for order in "<>"])
# What a model of ONNX Runtime takes.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
TABLES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5)
# The same cases every time; a host takes as long as it takes.
through_a_host = settings(
    max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
pure = settings(derandomize=True, database=None)


def same(got: NDArray[Any], sent: NDArray[Any]) -> bool:
    """Of the same elements, bit for bit, whatever their order of bytes was."""
    native = sent.astype(sent.dtype.newbyteorder("="))
    return got.dtype == native.dtype and got.shape == native.shape and got.tobytes() == native.tobytes()


def datatype(dtype: np.dtype[Any]) -> str:
    return next(name for name, code in DTYPES.items() if dtype.newbyteorder("=") == np.dtype(code))


@pytest.mark.parametrize("name", DTYPES)
@through_a_host
@given(data=st.data())
def test_numbers(client: nocti.Client, name: str, data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from("<>")) + DTYPES[name])
    sent = data.draw(arrays.arrays(dtype, TABLES))
    outputs = client.predict(f"identity-{TYPES[name]}", {"input": sent})
    assert same(outputs["output"], sent)
    assert outputs.datatypes == {"output": name}


@through_a_host
@given(sent=arrays.arrays(object, TABLES, elements=TEXTS))
def test_texts(client: nocti.Client, sent: NDArray[Any]) -> None:
    got = client.predict("identity-string", {"input": sent})["output"]
    assert got.shape == sent.shape
    assert [element.decode() for element in got.flat] == list(sent.flat)


@through_a_host
@given(sent=arrays.arrays(object, arrays.array_shapes(min_dims=0, max_dims=3), elements=st.binary()))
def test_bytes_that_are_no_text(client: nocti.Client, sent: NDArray[Any]) -> None:
    got = client.predict("free", {"x": sent}, parameters={"mode": "echo"})["x"]
    assert got.shape == sent.shape and list(got.flat) == list(sent.flat)


@through_a_host
@given(sent=arrays.arrays(np.uint16, TABLES))
def test_bf16(client: nocti.Client, sent: NDArray[Any]) -> None:
    # Its own dtype needs no word of explanation.
    for value in (nocti.Tensor(sent, "BF16"), sent.view(ml_dtypes.bfloat16)):
        outputs = client.predict("identity-bfloat16", {"input": value})
        assert same(outputs["output"], sent)
        assert outputs.datatypes == {"output": "BF16"}
    numbers = (outputs["output"].astype("u4") << 16).view("f4")
    np.testing.assert_array_equal(numbers, sent.view(ml_dtypes.bfloat16).astype(np.float32))


@pure
@given(sent=NUMBERS.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0))))
def test_what_is_encoded_is_decoded(sent: NDArray[Any]) -> None:
    name, shape, data = encode("x", sent)
    assert name == datatype(sent.dtype) and shape == sent.shape
    assert same(decode(name, shape, memoryview(data)), sent)


@pytest.mark.parametrize("data", [b"\1", b"\5\0\0\0abcd", b"\1\0\0\0a\0"])
def test_bytes_that_are_cut_off(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        decode("BYTES", [1], memoryview(data))


def test_arrays_may_lie_in_memory_as_they_please(client: nocti.Client) -> None:
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    for sent in (square.T, square[::-1, ::2], np.asfortranarray(square), np.broadcast_to(square[:1], (5, 4))):
        assert same(client.predict("identity-float", {"input": sent})["output"], sent)


def test_an_array_that_lies_as_it_is_sent_is_not_copied() -> None:
    sent = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = encode("x", sent)[2]
    assert np.shares_memory(np.frombuffer(data, np.float32), sent)
    assert np.shares_memory(decode("FP32", (2, 3), memoryview(data)), sent)


def test_texts_in_any_form(client: nocti.Client) -> None:
    forms: list[Any] = [["a\0", "é"], [b"a\0", "é".encode()], np.array(["a\0", "é"], object), (b"a\0", "é")]
    if np.__version__ >= "2":
        forms.append(np.array(["a\0", "é"], "T"))
    for form in forms:
        got = client.predict("free", {"x": form}, parameters={"mode": "echo"})["x"]
        assert got.tolist() == [b"a\0", "é".encode()], form
    # Those that are no ASCII, beside texts, in any order.
    mixed: Any = [["a", "é".encode()], [b"\xff", "é"]]
    got = client.predict("free", {"x": mixed}, parameters={"mode": "echo"})["x"]
    assert got.tolist() == [[b"a", "é".encode()], [b"\xff", "é".encode()]]
    # One of them makes a tensor without dimensions; fixed widths are NumPy's own, which pads with zeros.
    assert client.predict("free", {"x": "one"}, parameters={"mode": "echo"})["x"].item() == b"one"
    assert client.predict("free", {"x": np.array(["ab", "c"])}, parameters={"mode": "echo"})["x"].tolist() == [b"ab", b"c"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros(2, complex), "input 'x': there is no datatype for arrays of complex128"),
        (np.array(["2026-01-01"], "M8[D]"), "there is no datatype for arrays of datetime64"),
        (np.array([1, b"a"], object), "an element is of type int; BYTES takes bytes and str"),
        (nocti.Tensor(np.zeros(2), "FP32"), "FP32 takes an array of float32, but this one is of float64"),
        (nocti.Tensor(np.zeros(2), "BYTES"), "BYTES is no datatype of arrays of float64"),
        (nocti.Tensor(np.zeros(2, np.int16), "BF16"), "BF16 takes an array of uint16, but this one is of int16"),
        (nocti.Tensor(np.zeros(2, ml_dtypes.bfloat16), "UINT16"), "for arrays of bfloat16"),
        (nocti.Tensor(np.zeros(2, ml_dtypes.bfloat16), "FP16"), "for arrays of bfloat16"),
    ],
)
def test_what_is_no_tensor_is_not_sent(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        encode("x", value)
