"""Arrays and tensors: which datatype goes with which dtype, and the bytes of the elements.

On the wire elements lie little-endian and row-major; those of BYTES each have their length before them.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES"
]

_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    # NumPy has no such type: its upper half of an FP32 is kept as a number of 16 bits.
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_DATATYPES = {(dtype.kind, dtype.itemsize): name for name, dtype in _DTYPES.items() if name != "BF16"}
_TEXT_KINDS = "OSTU"


class Tensor(NamedTuple):
    """An array with its datatype, where the dtype does not tell: `Tensor(halves, "BF16")`, with `halves` of uint16."""

    data: ArrayLike
    datatype: Datatype


def encode(name: str, value: ArrayLike | Tensor) -> tuple[Datatype, tuple[int, ...], bytes | memoryview]:
    """The datatype, shape and bytes of an input. Of an array that lies as it is sent nothing is copied."""
    data, wanted = value if isinstance(value, Tensor) else (value, None)
    array = _array(name, data)
    if array.dtype.name == "bfloat16" and wanted in (None, "BF16"):
        array, wanted = array.view(np.uint16), "BF16"
    datatype = _datatype(name, array, wanted)
    if datatype == "BYTES":
        return datatype, array.shape, _pack(name, array)
    flat = np.ascontiguousarray(array, _DTYPES[datatype]).reshape(-1)
    return datatype, array.shape, flat.view(np.uint8).data


def decode(datatype: str, shape: Sequence[int], data: memoryview) -> NDArray[Any]:
    """The array of an output, which shares the memory of `data` unless it is BYTES."""
    # NumPy would make something up for it.
    if any(length < 0 for length in shape):
        raise ValueError(f"there is no shape {shape}")
    flat = _unpack(data) if datatype == "BYTES" else np.frombuffer(data, _DTYPES[datatype])
    return flat.reshape(shape)


def _array(name: str, data: ArrayLike) -> NDArray[Any]:
    if np.ma.is_masked(data):
        raise ValueError(f"input '{name}': some of its elements are masked, and a tensor has all of them: `.filled(value)`")
    try:
        return _made_of(data)
    except ValueError as error:
        raise ValueError(f"input '{name}': {error}") from error


def _made_of(data: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(data)
    except UnicodeDecodeError:
        # Beside a str, NumPy takes bytes for ASCII.
        return np.asarray(data, object)
    if array.dtype.kind in "SU" and not isinstance(data, np.ndarray):
        # NumPy takes zeros at the end of a text for padding.
        return np.asarray(data, object)
    return array


def _datatype(name: str, array: NDArray[Any], wanted: Datatype | None) -> Datatype:
    dtype = array.dtype
    found = "BYTES" if dtype.kind in _TEXT_KINDS else _DATATYPES.get((dtype.kind, dtype.itemsize))
    if found is None:
        raise TypeError(f"input '{name}': there is no datatype for arrays of {dtype}")
    if wanted is None or wanted == found:
        return cast(Datatype, found)
    needed = _DTYPES.get(wanted)
    if needed is None:
        raise TypeError(f"input '{name}': {wanted} is no datatype of arrays of {dtype}")
    if (needed.kind, needed.itemsize) != (dtype.kind, dtype.itemsize):
        raise TypeError(f"input '{name}': {wanted} takes an array of {needed}, but this one is of {dtype}")
    return wanted


def _pack(name: str, array: NDArray[Any]) -> bytes:
    parts: list[bytes] = []
    try:
        for element in array.reshape(-1).tolist():
            text = element.encode() if isinstance(element, str) else element
            if not isinstance(text, bytes):
                raise TypeError(f"input '{name}': an element is of type {type(text).__name__}; BYTES takes bytes and str")
            parts += (len(text).to_bytes(4, "little"), text)
    except UnicodeEncodeError as error:
        raise ValueError(f"input '{name}': an element is no text: {error}") from error
    return b"".join(parts)


def _unpack(data: memoryview) -> NDArray[Any]:
    elements: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        elements.append(bytes(data[start:at]))
    if at > len(data):
        raise ValueError("the last of its elements is cut off")
    array = np.empty(len(elements), object)
    array[:] = elements
    return array
