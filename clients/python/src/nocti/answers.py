"""What management calls answer: the host's JSON as it comes, with types. `GET /api/docs` of a host says more of each field."""

from typing import Any, Literal, TypedDict

Kind = Literal["model-only", "typed", "http"]

Weights = dict[str, int]
"""How many of its requests an alias sends to which version."""


class TensorSpec(TypedDict):
    """What an input or an output is; -1 in a shape is any length."""

    name: str
    datatype: str
    shape: list[int]


class Signature(TypedDict):
    """What a function takes and gives."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]


class Metadata(Signature):
    """What a function says of itself to any client of the protocol."""

    name: str
    versions: list[str]
    platform: str


class Deployed(TypedDict):
    """A version that is on the host now."""

    function: str
    version: str
    digest: str
    kind: Kind
    revision: int
    aliases: dict[str, Weights]
    size_bytes: int


class Summary(TypedDict):
    """A function in a list: what its newest version says, and where `live` sends requests."""

    name: str
    kind: Kind
    live: Weights
    versions: list[str]
    description: str
    tags: list[str]


class Version(TypedDict):
    """All that a version says of itself."""

    version: str
    digest: str
    kind: Kind
    created_at: str
    size_bytes: int
    description: str
    authors: list[str]
    tags: list[str]
    license: str | None
    signature: Signature | None
    models: list[dict[str, Any]]
    metrics: dict[str, float]
    limits: dict[str, Any]
    instances: dict[str, Any]
    network: dict[str, Any]


class Function(TypedDict):
    """A function with its versions, the oldest first."""

    name: str
    revision: int
    aliases: dict[str, Weights]
    versions: list[Version]


class Status(TypedDict):
    """What the host has in memory: versions, sessions of models, and how much memory they take."""

    uptime_s: int
    functions: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    memory: dict[str, Any]


Summaries = list[Summary]
