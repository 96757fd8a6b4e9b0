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


class Compared(TypedDict):
    """How a shadow's answers compare with those of a version that answers callers: what this host has seen since it started."""

    version: str
    same: int
    close: int
    different: int
    failed: int
    skipped: int
    p50_ms: float | None
    shadow_p50_ms: float | None


class _KnownOfShadow(TypedDict, total=False):
    compared: list[Compared]


class Shadow(_KnownOfShadow):
    """A version that gets copies of `percent` of a hundred requests. `compared` is there once there is something to compare."""

    version: str
    percent: int


# `from` is no name for an attribute: where requests went before it began.
_Before = TypedDict("_Before", {"from": Weights})


class Rollout(_Before):
    """Requests that go to a version step by step: `state` is "running", "done", or "back", since when `why` says why."""

    version: str
    state: str
    step: int
    percent: int
    since: str
    steps: list[int]
    every: str
    min_requests: int
    max_error_rate: float
    max_p99: float | None
    why: str | None


class _Shadows(TypedDict, total=False):
    shadows: dict[str, Shadow]


class _Directions(_Shadows, total=False):
    rollouts: dict[str, Rollout]


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
    labels: dict[str, str]


class Function(_Directions):
    """A function with its versions, the oldest first. `shadows` and `rollouts`, by alias, are there if there are any."""

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


class Traffic(_Directions):
    """Where requests go now, and whether they went elsewhere before; `shadows` and `rollouts` are as in `Function`."""

    function: str
    revision: int
    aliases: dict[str, Weights]
    changed: bool


class Labelled(TypedDict):
    """The labels that a version has now, and whether they were others before."""

    function: str
    version: str
    revision: int
    labels: dict[str, str]
    changed: bool


class Revision(_Shadows):
    """A change, and where requests went from then on; `damaged` says why it cannot be read, if so."""

    revision: int
    created_at: str | None
    action: str | None
    version: str | None
    alias: str | None
    to: int | None
    by: str | None
    message: str | None
    aliases: dict[str, Weights]
    damaged: str | None


class History(TypedDict):
    """Changes, the newest first; `next` is what `before` is for older ones, None where there are none."""

    function: str
    revisions: list[Revision]
    next: int | None


_Sides = TypedDict("_Sides", {"from": Any, "to": Any}, total=False)


class Difference(_Sides):
    """One thing that is not the same: where it is, and `from` and `to`; one is absent where it is on the other side alone."""

    path: list[str]


class Hit(TypedDict):
    """A version that was found."""

    function: str
    version: str
    kind: Kind
    created_at: str
    description: str
    authors: list[str]
    tags: list[str]
    license: str | None
    metrics: dict[str, float]
    labels: dict[str, str]


class Found(TypedDict):
    """What a search finds; `next` is what `after` is for what follows, None where nothing does."""

    results: list[Hit]
    next: str | None


class _KnownOfLine(TypedDict, total=False):
    version: str
    request: str
    cut: bool


class Line(_KnownOfLine):
    """A line of a function's log. `request`, where it is known, is the `request_id` of the answer that it was printed for."""

    time: str
    stream: str
    text: str


Summaries = list[Summary]
Differences = list[Difference]
