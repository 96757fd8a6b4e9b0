"""What each method of a client asks of the host, and what becomes of the answer. Sends nothing itself."""

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar
from urllib.parse import quote

import httpx

from . import bundle as bundles
from . import given, inference, names
from .answers import Deployed, Differences, Found, Function, History, Labelled, Line, Metadata, Status, Summaries, Traffic
from .bundle import Blob
from .content import Content
from .directions import Directions
from .errors import NoctiError, not_nocti, parsed, refusal, request_id

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
    params = {"no_traffic": "true"} if alias is None else {"alias": names.checked_alias(alias)}
    content = bundle if isinstance(bundle, bytes) else Content.of(_file(Path(bundle)))
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
    name, version = names.parted(function, version)
    if version is None:
        raise ValueError(f"'{function}': say which version is wanted, such as '{function}@1.0.0'")
    return Call("GET", f"{names.of_version('/api/functions', name, version)}/bundle", _is_bundle)


def check_bundle(response: httpx.Response, file: BinaryIO) -> None:
    """Refuses what was written to a file if it is not the bundle that a response says it is."""
    file.flush()
    digest = response.headers.get("etag", "").removeprefix("W/").strip('"')
    fault = bundles.fault(Content.of(Path(file.name)), digest)
    if fault is not None:
        message = f"{response.url} gave no such bundle: {fault}. It was damaged on the way, or is on the host"
        raise NoctiError(None, "broken", message, request_id(response))


def list_(limit: int | None, after: str | None) -> Call[Summaries]:
    """`GET /api/functions`"""
    return Call("GET", "/api/functions", _part("functions"), _said(limit=limit, after=after))


def search(query: str, alias: str | None, all_versions: bool, limit: int, after: str | None) -> Call[Found]:
    """`GET /api/search`"""
    every = "true" if all_versions else None
    return Call("GET", "/api/search", _json, _said(q=query, alias=alias, all_versions=every, limit=limit, after=after))


def traffic(
    function: str, directions: Directions, alias: str, by: str | None, message: str | None, revision: int | None
) -> Call[Traffic]:
    """`PUT /api/functions/NAME/aliases/ALIAS[/rollout]`"""
    path, body = directions.asked()
    return _change("PUT", names.of_alias(function, alias) + path, {**body, **_note(by, message, revision)})


def end_rollout(function: str, alias: str, by: str | None, message: str | None, revision: int | None) -> Call[Traffic]:
    """`DELETE /api/functions/NAME/aliases/ALIAS/rollout`"""
    path = f"{names.of_alias(function, alias)}/rollout"
    return Call("DELETE", path, _json, _said(**_note(by, message, revision)))


def rollback(function: str, to: int | None, by: str | None, message: str | None, revision: int | None) -> Call[Traffic]:
    """`POST /api/functions/NAME/rollback`, `POST /api/functions/NAME/revisions/N/restore`"""
    path = "/rollback" if to is None else f"/revisions/{given.whole('to', to)}/restore"
    return _change("POST", names.of_function(function) + path, _note(by, message, revision))


def label(
    function: str,
    labels: Mapping[str, str | None],
    version: str | None,
    by: str | None,
    message: str | None,
    revision: int | None,
) -> Call[Labelled]:
    """`PATCH /api/functions/NAME/versions/V/labels`"""
    name, version = names.parted(function, version)
    if version is None:
        raise ValueError(f"which version of '{name}' is meant? Labels are a version's: NAME@VERSION is needed")
    path = f"{names.of_version('/api/functions', name, version)}/labels"
    return _change("PATCH", path, dict(given.named("labels", labels, "{'stage': 'prod'}")), _said(**_note(by, message, revision)))


def history(function: str, limit: int, before: int | None) -> Call[History]:
    """`GET /api/functions/NAME/revisions`"""
    return Call("GET", f"{names.of_function(function)}/revisions", _json, _said(limit=limit, before=before))


def diff(function: str, one: str | int, other: str | int) -> Call[Differences]:
    """`GET /api/functions/NAME/diff`"""
    sides = {"from": one, "to": other}
    params = {name: side if isinstance(side, str) else f"revision:{given.whole(name, side)}" for name, side in sides.items()}
    return Call("GET", f"{names.of_function(function)}/diff", _part("differences"), params)


def logs(function: str, follow: bool, since: str | None, version: str | None, limit: int | None) -> Call[None]:
    """`GET /api/functions/NAME/logs`"""
    name, version = names.parted(function, version)
    params = _said(follow="true" if follow else None, since=since, version=version, limit=limit)
    return Call("GET", f"{names.of_function(name)}/logs", _nothing, params)


def line(text: str, response: httpx.Response) -> Line:
    """A line of a log."""
    try:
        found: Line = parsed(text)
    except ValueError as error:
        raise not_nocti(response, f"no line of a log came back: {error}") from error
    return found


def show(function: str) -> Call[Function]:
    """`GET /api/functions/NAME`"""
    return Call("GET", names.of_function(function), _json)


def delete(function: str, version: str | None, by: str | None, message: str | None, revision: int | None) -> Call[None]:
    """`DELETE /api/functions/NAME[/versions/V]`"""
    params = _said(**_note(by, message, revision))
    return Call("DELETE", names.of_version("/api/functions", function, version), _nothing, params)


def status() -> Call[Status]:
    """`GET /api/status`"""
    return Call("GET", "/api/status", _json)


def metadata(function: str, version: str | None) -> Call[Metadata]:
    """`GET /v2/models/M`"""
    return Call("GET", names.of_version("/v2/models", function, version), _json)


def ready(function: str | None, version: str | None) -> Call[bool]:
    """`GET /v2/health/ready`, `GET /v2/models/M/ready`"""
    path = "/v2/health" if function is None else names.of_version("/v2/models", function, version)
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
    path = f"{names.of_version('/v2/models', function, version)}/{verb}"
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
    name, version = names.parted(function, version)
    target = quote(name, "") if version is None else f"{quote(name, '')}@{quote(version, '')}"
    path = f"/functions/{target}/{names.inside(path)}"
    if not isinstance(content, bytes):
        raise TypeError(f"content is bytes, not {type(content).__name__}: `.encode()` makes bytes of text")
    return Call(given.text("method", method), path, lambda response: response, params, headers or {}, content)


def _change(method: str, path: str, body: Mapping[str, Any], params: Mapping[str, str] | None = None) -> Call[Any]:
    return Call(method, path, _json, params, {"content-type": "application/json"}, json.dumps(body).encode())


def _deploy(params: Mapping[str, str], media_type: str, content: bytes | Content) -> Call[Deployed]:
    headers = {"content-type": media_type} | _length(content)
    return Call("POST", "/api/functions", _json, params, headers, content)


def _length(content: bytes | Content) -> dict[str, str]:
    return {"content-length": str(len(content) if isinstance(content, bytes) else content.size_bytes)}


def _note(by: str | None, message: str | None, revision: int | None) -> dict[str, Any]:
    said = {"by": by, "message": message, "revision": revision}
    return {name: given.plain(name, value) for name, value in said.items() if value is not None}


def _said(**params: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _accepted(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        raise refusal(response)
    return response


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        said: dict[str, Any] = parsed(response.content)
    except ValueError as error:
        raise not_nocti(response, f"no JSON came back: {error}") from error
    return said


def _json(response: httpx.Response) -> Any:
    return _object(_accepted(response))


def _part(name: str) -> Callable[[httpx.Response], Any]:
    def read(response: httpx.Response) -> Any:
        said = _json(response)
        if name not in said:
            raise not_nocti(response, f"no {name} came back")
        return said[name]

    return read


def _offsets(response: httpx.Response) -> dict[Blob, int]:
    said = _json(response)
    try:
        return {Blob(part["sha256"], part["size_bytes"]): part["offset"] for part in said["missing"]}
    except (KeyError, TypeError) as error:
        raise not_nocti(response, "what came does not say what is missing") from error


def _nothing(response: httpx.Response) -> None:
    _accepted(response)


def _is_ready(response: httpx.Response) -> bool:
    is_no = response.status_code == 503
    said = _object(response if is_no else _accepted(response))
    # A refusal: one that has too much to do to say more.
    if is_no and "code" in said:
        return False
    if not isinstance(said.get("ready"), bool):
        raise not_nocti(response, "it does not say whether it is ready")
    return bool(said["ready"])


def _is_bundle(response: httpx.Response) -> None:
    media_type = _accepted(response).headers.get("content-type", "")
    if media_type.partition(";")[0].strip().lower() != "application/wasm":
        raise not_nocti(response, f"no bundle came back, but {media_type or 'something'}")


def _file(path: Path) -> Path:
    if path.is_dir():
        hint = "it is a folder: `nocti build` makes a bundle of a function's"
        raise IsADirectoryError(errno.EISDIR, hint, str(path))
    return path
