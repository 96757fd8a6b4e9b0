"""What comes back and is not what a host answers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import MODELS, Bundler

import nocti

PAGE = httpx.Response(200, html="<h1>Welcome</h1>")
WASM = {"content-type": "application/wasm"}


def answering(response: httpx.Response) -> nocti.Client:
    """A client of what answers anything with that."""
    return nocti.Client("http://elsewhere", http=httpx.Client(transport=httpx.MockTransport(lambda request: response)))


@pytest.mark.parametrize("answer", [b"", b"<h1>", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"functions":' * 100_000])
def test_what_is_no_answer_of_the_api(answer: bytes) -> None:
    client = answering(httpx.Response(200, content=answer))
    for ask in (
        client.list,
        client.status,
        client.search,
        client.ready,
        lambda: client.show("digits"),
        lambda: client.diff("digits", 1, 2),
        lambda: client.metadata("digits"),
        lambda: client.predict("digits", {}),
        lambda: next(client.logs("digits")) if answer else client.list(),
    ):
        with pytest.raises(nocti.NoctiError, match="does not answer like a Nocti host") as failed:
            ask()
        assert (failed.value.status, failed.value.code) == (200, "not_nocti")
    with pytest.raises(nocti.NoctiError) as failed:
        answering(httpx.Response(500, content=answer)).list()
    assert (failed.value.status, failed.value.code) == (500, "not_nocti")


@pytest.mark.parametrize("answer", [{}, {"function": "digits"}])
def test_an_answer_without_what_was_asked_for(answer: Any) -> None:
    client = answering(httpx.Response(200, json=answer))
    for ask in (client.list, client.ready, lambda: client.diff("digits", 1, 2)):
        with pytest.raises(nocti.NoctiError, match="does not answer like a Nocti host"):
            ask()


def test_whether_a_host_is_ready() -> None:
    assert answering(httpx.Response(200, json={"live": True, "ready": True})).ready()
    assert not answering(httpx.Response(503, json={"live": True, "ready": False})).ready()
    assert not answering(httpx.Response(503, json={"error": "too much to do", "code": "overloaded"})).ready("digits")
    for page in (PAGE, httpx.Response(503, html="<h1>No backend</h1>")):
        with pytest.raises(nocti.NoctiError) as failed:
            answering(page).ready()
        assert failed.value.code == "not_nocti"


def _tensors(shape: list[Any], data: bytes, size: int, datatype: str = "INT8") -> httpx.Response:
    output = {"name": "y", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    head = json.dumps({"model_name": "f", "model_version": "1", "outputs": [output]}).encode()
    return httpx.Response(200, content=head + data, headers={"inference-header-content-length": str(len(head))})


def test_tensors_fill_an_answer() -> None:
    assert answering(_tensors([3], b"abc", 3)).predict("f", {})["y"].tolist() == [97, 98, 99]
    for answer in (
        _tensors([3], b"abcd", 3),
        _tensors([3], b"ab", 3),
        _tensors([0], b"", -1),
        _tensors([0], b"abc", 0),
        _tensors([-1], b"abc", 3),
        _tensors([-3], b"abc", 3),
        _tensors([-1, 0], b"", 0),
        _tensors([-1], b"\1\0\0\0a", 5, "BYTES"),
        _tensors([1 << 70], b"abc", 3),
        _tensors([1.5], b"abc", 3),
        _tensors(["3"], b"abc", 3),
        _tensors([3], b"abc", 3, "INT7"),
    ):
        with pytest.raises(nocti.NoctiError, match="no tensors came back") as failed:
            answering(answer).predict("f", {})
        assert failed.value.code == "not_nocti"


def _download(response: httpx.Response, path: Path) -> None:
    answering(response).download("digits@1", path)


def _download_awaited(response: httpx.Response, path: Path) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request: response)) as http:
            await nocti.AsyncClient("http://elsewhere", http=http).download("digits@1", path)

    asyncio.run(ask())


@pytest.mark.parametrize("download", [_download, _download_awaited])
def test_what_comes_in_place_of_a_bundle_is_not_kept(bundle: Bundler, tmp_path: Path, download: Any) -> None:
    right = bundle("checked", model=MODELS / "scalar.onnx").read_bytes()
    file = tmp_path / "digits.wasm"
    file.write_text("the old one")
    changed = right[:-1] + bytes([right[-1] ^ 1])
    for code, content, headers in (
        ("not_nocti", b"<h1>Welcome</h1>", {"content-type": "text/html"}),
        ("not_nocti", right, {}),
        ("broken", b"<h1>Welcome</h1>", WASM),
        ("broken", b"", WASM),
        ("broken", b"\0asm\x0d\0\1\0", WASM),
        ("broken", right[:-1], WASM),
        ("broken", changed, WASM),
        ("broken", right, {**WASM, "etag": f'"{"0" * 64}"'}),
    ):
        with pytest.raises(nocti.NoctiError) as failed:
            download(httpx.Response(200, content=content, headers=headers), file)
        assert failed.value.code == code, content[:20]
        assert [found.name for found in tmp_path.iterdir()] == ["digits.wasm"] and file.read_text() == "the old one"
    download(httpx.Response(200, content=right, headers=WASM), file)
    assert file.read_bytes() == right
