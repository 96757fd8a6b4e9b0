"""Names of functions and aliases, and paths inside of functions: none of them leads elsewhere."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import nocti

Ask = Callable[..., Any]


def _unsent(request: httpx.Request) -> httpx.Response:
    pytest.fail(f"{request.method} {request.url} was sent")


def _waits(method: str, /, *words: Any, **said: Any) -> Any:
    with httpx.Client(transport=httpx.MockTransport(_unsent)) as http:
        found = getattr(nocti.Client("http://nowhere", http=http), method)(*words, **said)
        return list(found) if method == "logs" else found


def _awaits(method: str, /, *words: Any, **said: Any) -> Any:
    async def ask() -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(_unsent)) as http:
            found = getattr(nocti.AsyncClient("http://nowhere", http=http), method)(*words, **said)
            return [line async for line in found] if method == "logs" else await found

    return asyncio.run(ask())


@pytest.fixture(params=[_waits, _awaits])
def ask(request: pytest.FixtureRequest) -> Ask:
    """A method of either client, of which nothing may be sent."""
    found: Ask = request.param
    return found


@pytest.mark.parametrize(
    "path",
    [
        "/../../api/status",
        "..",
        ".",
        "/a/./b",
        "/a/..",
        "/%2e%2E/x",
        "/.%2e/x",
        "/%2e",
        "/a\\..\\b",
        "/a%5c..%5Cb",
        "/a%2f..%2fb",
        "/..?a=b",
        "/..#a",
    ],
)
def test_no_path_leads_out_of_a_function(ask: Ask, path: str) -> None:
    with pytest.raises(ValueError, match="leads out of the function"):
        ask("call", "digits", path, method="DELETE")


@pytest.mark.parametrize("path", ["/a\nb", "/a\tb", "/\0", "/\x7f?", "/" + "a" * 100_000])
def test_what_makes_no_address(ask: Ask, path: str) -> None:
    with pytest.raises(ValueError, match="makes no address"):
        ask("call", "digits", path)


@pytest.mark.parametrize("path", ["/a..b", "/...", "/.well-known/x", "/?next=../b&x=.", "/a.", "/%252e%252e"])
def test_dots_in_names_and_queries_are_no_way_out(client: nocti.Client, path: str) -> None:
    assert f"GET {path}" in client.call("hello-http", path).text


@pytest.mark.parametrize("name", ["", ".", "..", "@", "@1", "digits@", "digits@.."])
def test_what_is_no_name_is_not_sent(ask: Ask, name: str) -> None:
    for method, *words in (
        ("show",),
        ("history",),
        ("rollback",),
        ("diff", 1, 2),
        ("logs",),
        ("traffic", {"1": 1}),
        ("end_rollout",),
        ("delete",),
        ("label", {}),
        ("download", "none.wasm"),
        ("metadata",),
        ("ready",),
        ("predict", {}),
        ("call",),
    ):
        with pytest.raises(ValueError, match="is not the name of a function"):
            ask(method, name, *words)


@pytest.mark.parametrize("version", ["", "."])
def test_no_version_is_told_from_no_function(ask: Ask, version: str) -> None:
    with pytest.raises(ValueError, match=f"version='{version}' is not the name of a version"):
        ask("predict", "digits", {}, version=version)


@pytest.mark.parametrize("name", ["digits@1.0.0", "digits@live"])
def test_what_is_about_a_function_takes_its_name_alone(ask: Ask, name: str) -> None:
    for method, *words in (("show",), ("history",), ("rollback",), ("diff", 1, 2), ("traffic", {"1": 1}), ("end_rollout",)):
        with pytest.raises(ValueError, match="about the whole function: 'digits' is needed"):
            ask(method, name, *words)


@pytest.mark.parametrize("alias", ["", ".", "..", "no such!", "Live", "-a", "a-", "a" * 64, "live\n"])
def test_what_is_no_alias_is_not_sent(ask: Ask, alias: str) -> None:
    for method, *words in (("deploy", b""), ("traffic", "digits", {"1": 1}), ("end_rollout", "digits")):
        with pytest.raises(ValueError, match="is not the name of an alias: 1 to 63 of a-z"):
            ask(method, *words, alias=alias)


def test_a_revision_is_a_number(ask: Ask) -> None:
    with pytest.raises(TypeError, match="to is a whole number"):
        ask("rollback", "digits", to="../..")
