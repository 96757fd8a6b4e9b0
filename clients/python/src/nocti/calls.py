"""What each method of a client asks of the host, and what becomes of the answer. Sends nothing itself."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from . import inference
from .answers import Deployed, Differences, Found, Function, History, Labelled, Line, Metadata, Status, Summaries, Traffic
from .bundle import Blob
from .content import Content
from .directions import Directions
from .errors import not_nocti, refusal

T = TypeVar("T")
Bundle = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, which can be sent again, and how its response is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Content = b""
    """What is in a file is read as it is sent."""

    def again_after_s(self, response: httpx.Response) -> float | None:
        """How long to wait before it is sent again; None if that is of no use."""
        after = response.headers.get("retry-after", "")
        return float(after) if response.status_code in (429, 503) and after.isdecimal() else None


def deploy(bundle: Bundle, alias: str | None, by: str | None, message: str | None, revision: int | None) -> Call[Deployed]:
    """`POST /api/functions`"""
    content = bundle if isinstance(bundle, bytes) else Content.of(Path(bundle))
    params = {"no_traffic": "true"} if alias is None else {"alias": alias}
    return _deploy(params | _said(**_note(by, message, revision)), "application/wasm", content)


def deploy_manifest(manifest: bytes, params: Mapping[str, str]) -> Call[Deployed]:
    """`POST /api/functions`, where all else has been sent"""
    return _deploy(params, "application/vnd.nocti.manifest+json", manifest)


def missing(blobs: Iterable[Blob]) -> Call[dict[Blob, int]]:
    """`POST /api/blobs/missing`: what the host lacks, and how many bytes of it have come."""
    body = json.dumps({"blobs": [blob._asdict() for blob in blobs]}).encode()
    return Call("POST", "/api/blobs/missing", _offsets, None, {"content-type": "application/json"}, body)


def put_blob(blob: Blob, offset: int, left: Content, packed: Content | None) -> Call[None]:
    """`PUT /api/blobs/SHA256`, from `offset` on; `packed` is what is left, compressed"""
    headers = {"content-type": "application/octet-stream"}
    if packed is not None:
        headers["content-encoding"] = "gzip"
    content = left if packed is None else packed
    params = _said(size_bytes=blob.size_bytes, offset=offset)
    return Call("PUT", f"/api/blobs/{blob.sha256}", _nothing, params, headers | _length(content), content)


def download(function: str, version: str | None) -> Call[None]:
    """`GET /api/functions/NAME/versions/V/bundle`"""
    name, version = _parted(function, version)
    if version is None:
        raise ValueError(f"'{function}': say which version is wanted, such as '{function}@1.0.0'")
    return Call("GET", f"{_target('/api/functions', name, version)}/bundle", _nothing)


def list_(limit: int | None, after: str | None) -> Call[Summaries]:
    """`GET /api/functions`"""
    return Call("GET", "/api/functions", lambda response: _json(response)["functions"], _said(limit=limit, after=after))


def search(query: str, alias: str | None, all_versions: bool, limit: int, after: str | None) -> Call[Found]:
    """`GET /api/search`"""
    every = "true" if all_versions else None
    return Call("GET", "/api/search", _json, _said(q=query, alias=alias, all_versions=every, limit=limit, after=after))


def traffic(
    function: str, directions: Directions, alias: str, by: str | None, message: str | None, revision: int | None
) -> Call[Traffic]:
    """`PUT /api/functions/NAME/aliases/ALIAS[/rollout]`"""
    path, body = directions.asked()
    return _change("PUT", _alias(function, alias) + path, {**body, **_note(by, message, revision)})


def end_rollout(function: str, alias: str, by: str | None, message: str | None, revision: int | None) -> Call[Traffic]:
    """`DELETE /api/functions/NAME/aliases/ALIAS/rollout`"""
    path = f"{_alias(function, alias)}/rollout"
    return Call("DELETE", path, _json, _said(**_note(by, message, revision)))


def rollback(function: str, to: int | None, by: str | None, message: str | None, revision: int | None) -> Call[Traffic]:
    """`POST /api/functions/NAME/rollback`, `POST /api/functions/NAME/revisions/N/restore`"""
    path = "/rollback" if to is None else f"/revisions/{to}/restore"
    return _change("POST", _function(function) + path, _note(by, message, revision))


def label(
    function: str,
    labels: Mapping[str, str | None],
    version: str | None,
    by: str | None,
    message: str | None,
    revision: int | None,
) -> Call[Labelled]:
    """`PATCH /api/functions/NAME/versions/V/labels`"""
    name, version = _parted(function, version)
    if version is None:
        raise ValueError(f"which version of '{name}' is meant? Labels are a version's: NAME@VERSION is needed")
    path = f"{_target('/api/functions', name, version)}/labels"
    return _change("PATCH", path, dict(labels), _said(**_note(by, message, revision)))


def history(function: str, limit: int, before: int | None) -> Call[History]:
    """`GET /api/functions/NAME/revisions`"""
    return Call("GET", f"{_function(function)}/revisions", _json, _said(limit=limit, before=before))


def diff(function: str, one: str | int, other: str | int) -> Call[Differences]:
    """`GET /api/functions/NAME/diff`"""
    sides = {"from": one, "to": other}
    params = {name: f"revision:{side}" if isinstance(side, int) else side for name, side in sides.items()}
    return Call("GET", f"{_function(function)}/diff", lambda response: _json(response)["differences"], params)


def logs(function: str, follow: bool, since: str | None, version: str | None, limit: int | None) -> Call[None]:
    """`GET /api/functions/NAME/logs`"""
    name, version = _parted(function, version)
    params = _said(follow="true" if follow else None, since=since, version=version, limit=limit)
    return Call("GET", f"{_function(name)}/logs", _nothing, params)


def line(text: str, response: httpx.Response) -> Line:
    """A line of a log."""
    try:
        found: Line = json.loads(text)
    except ValueError as error:
        raise not_nocti(response, "no JSON came back") from error
    return found


def show(function: str) -> Call[Function]:
    """`GET /api/functions/NAME`"""
    return Call("GET", _function(function), _json)


def delete(function: str, version: str | None, by: str | None, message: str | None, revision: int | None) -> Call[None]:
    """`DELETE /api/functions/NAME[/versions/V]`"""
    params = _said(**_note(by, message, revision))
    return Call("DELETE", _target("/api/functions", function, version), _nothing, params)


def status() -> Call[Status]:
    """`GET /api/status`"""
    return Call("GET", "/api/status", _json)


def metadata(function: str, version: str | None) -> Call[Metadata]:
    """`GET /v2/models/M`"""
    return Call("GET", _target("/v2/models", function, version), _json)


def ready(function: str | None, version: str | None) -> Call[bool]:
    """`GET /v2/health/ready`, `GET /v2/models/M/ready`"""
    path = "/v2/health" if function is None else _target("/v2/models", function, version)
    return Call("GET", f"{path}/ready", _is_ready)


def ask(
    verb: str,
    function: str,
    inputs: inference.Inputs,
    version: str | None,
    outputs: Iterable[str] | None,
    parameters: inference.Parameters | None,
    request_id: str | None,
) -> Call[inference.Outputs]:
    """`POST /v2/models/M/VERB`"""
    headers, body = inference.question(inputs, outputs, parameters, request_id)
    path = f"{_target('/v2/models', function, version)}/{verb}"
    return Call("POST", path, lambda response: inference.answer(_accepted(response)), None, headers, body)


def raw(
    function: str,
    path: str,
    method: str,
    version: str | None,
    params: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
    content: bytes,
) -> Call[httpx.Response]:
    """`/functions/NAME[@VERSION]/...`"""
    name, version = _parted(function, version)
    target = quote(name, "") if version is None else f"{quote(name, '')}@{quote(version, '')}"
    path = f"/functions/{target}/{path.removeprefix('/')}"
    return Call(method, path, lambda response: response, params, headers or {}, content)


def _change(method: str, path: str, body: Mapping[str, Any], params: Mapping[str, str] | None = None) -> Call[Any]:
    return Call(method, path, _json, params, {"content-type": "application/json"}, json.dumps(body).encode())


def _deploy(params: Mapping[str, str], media_type: str, content: bytes | Content) -> Call[Deployed]:
    headers = {"content-type": media_type} | _length(content)
    return Call("POST", "/api/functions", _json, params, headers, content)


def _length(content: bytes | Content) -> dict[str, str]:
    return {"content-length": str(len(content) if isinstance(content, bytes) else content.size_bytes)}


def _note(by: str | None, message: str | None, revision: int | None) -> dict[str, str | int]:
    said = {"by": by, "message": message, "revision": revision}
    return {name: value for name, value in said.items() if value is not None}


def _said(**params: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _function(name: str) -> str:
    return f"/api/functions/{quote(name, '')}"


def _alias(function: str, alias: str) -> str:
    return f"{_function(function)}/aliases/{quote(alias, '')}"


def _parted(function: str, version: str | None) -> tuple[str, str | None]:
    name, at, named = function.partition("@")
    if at and version is not None:
        raise ValueError(f"'{function}' names a version already, and so does version='{version}'")
    if at:
        version = named
    # Dots alone would be another path.
    if not name.strip(".") or (version is not None and not version.strip(".")):
        raise ValueError(f"'{function}' is not the name of a function: NAME or NAME@VERSION is needed")
    return name, version


def _target(root: str, function: str, version: str | None) -> str:
    name, version = _parted(function, version)
    path = f"{root}/{quote(name, '')}"
    return path if version is None else f"{path}/versions/{quote(version, '')}"


def _accepted(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        raise refusal(response)
    return response


def _json(response: httpx.Response) -> Any:
    try:
        return _accepted(response).json()
    except ValueError as error:
        raise not_nocti(response, "no JSON came back") from error


def _offsets(response: httpx.Response) -> dict[Blob, int]:
    said = _json(response)
    try:
        return {Blob(part["sha256"], part["size_bytes"]): part["offset"] for part in said["missing"]}
    except (KeyError, TypeError) as error:
        raise not_nocti(response, "what came does not say what is missing") from error


def _nothing(response: httpx.Response) -> None:
    _accepted(response)


def _is_ready(response: httpx.Response) -> bool:
    return response.status_code != 503 and _accepted(response).is_success
