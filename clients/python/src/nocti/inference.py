"""A question to a function and its answer: the Open Inference Protocol v2 with its binary tensor extension.

A body is JSON, and behind it the elements of the tensors in the order in which the JSON names them; a header says where the JSON
ends.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from numpy.typing import ArrayLike, NDArray

from . import given
from .errors import not_nocti, parsed
from .tensors import Tensor, decode, encode

Inputs = Mapping[str, ArrayLike | Tensor]
Parameters = Mapping[str, bool | int | float | str]

_JSON_LENGTH = "inference-header-content-length"


class Outputs(dict[str, NDArray[Any]]):
    """What a function answers: an array for each output, by its name.

    The arrays are views of the answer, and so read-only: `.copy()` gives one to write to. The elements of BYTES are `bytes`
    objects; BF16 is uint16, of which `(y.astype("u4") << 16).view("f4")` makes numbers.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], answer: Mapping[str, Any]) -> None:
        """The arrays, and what else an answer says."""
        super().__init__(arrays)
        self.function: str = answer["model_name"]
        self.version: str = answer["model_version"]
        """The version that answered."""
        self.request_id: str | None = answer.get("id")
        """As the request gave it."""
        self.datatypes: dict[str, str] = {output["name"]: output["datatype"] for output in answer["outputs"]}
        """By the outputs' names, as the protocol calls them."""


def question(
    inputs: Inputs, outputs: Iterable[str] | None, parameters: Parameters | None, request_id: str | None
) -> tuple[dict[str, str], bytes]:
    """The headers and the body that ask."""
    named, tail = [], []
    for name, value in given.named("inputs", inputs, "{'x': array}").items():
        datatype, shape, data = encode(given.text("the name of an input", name), value)
        size = {"binary_data_size": len(data)}
        named.append({"name": name, "datatype": datatype, "shape": shape, "parameters": size})
        tail.append(data)
    said = given.named("parameters", parameters or {}, "{'a': 1}")
    plain = {given.text("the name of a parameter", name): given.plain(f"parameter '{name}'", said[name]) for name in said}
    asked: dict[str, Any] = {"inputs": named, "parameters": {**plain, "binary_data_output": True}}
    if isinstance(outputs, str):
        raise TypeError(f"outputs is a list of names, such as ['{outputs}'], not text")
    if outputs is not None:
        asked["outputs"] = [{"name": given.text("the name of an output", name)} for name in outputs]
    # Compression costs more time than it saves, and an answer's elements would have to be copied.
    headers = {"content-type": "application/octet-stream", "accept-encoding": "identity"}
    if request_id is not None:
        asked["id"] = request_id
        if given.text("request_id", request_id).isascii() and request_id.isprintable() and " " not in request_id:
            headers["x-request-id"] = request_id
    head = json.dumps(asked, allow_nan=False, separators=(",", ":")).encode()
    headers[_JSON_LENGTH] = str(len(head))
    return headers, b"".join((head, *tail))


def answer(response: httpx.Response) -> Outputs:
    """The outputs in a response that is a success."""
    body = memoryview(response.content)
    try:
        at = int(response.headers.get(_JSON_LENGTH, len(body)))
        said = parsed(bytes(body[:at]))
        arrays = {}
        for output in said["outputs"]:
            size = output["parameters"]["binary_data_size"]
            if size < 0:
                raise ValueError("one of them has less than nothing")
            start, at = at, at + size
            arrays[output["name"]] = decode(output["datatype"], output["shape"], body[start:at])
        if at != len(body):
            raise ValueError(f"their elements end at byte {at} of {len(body)}")
        return Outputs(arrays, said)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise not_nocti(response, f"no tensors came back: {error!r}") from error
