"""What callers give: what cannot be sent is refused by its name, and NumPy's scalars become Python's."""

import math
from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np


def text(what: str, value: object, example: str = "") -> str:
    """A str as it is; a TypeError of anything else."""
    if isinstance(value, str):
        return value
    such = f", such as '{example}'" if example else ""
    raise TypeError(f"{what} is text{such}: {value!r:.80} is of type {type(value).__name__}")


def named(what: str, value: object, example: str) -> Mapping[Any, Any]:
    """A mapping as it is; a TypeError of anything else."""
    if isinstance(value, Mapping):
        return value
    raise TypeError(f"{what} is a dict, such as {example}: {value!r:.80} is of type {type(value).__name__}")


def whole(what: str, value: object) -> int:
    """A whole number; a TypeError of anything else."""
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{what} is a whole number: {value!r:.80} is of type {type(value).__name__}") from error


def plain(what: str, value: object) -> bool | int | float | str:
    """A value that JSON has; a TypeError of anything else, a ValueError of NaN and infinities."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what} is {value}, and JSON has no such number")
    if isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{what} is a number, a bool or text: {value!r:.80} is of type {type(value).__name__}")
