"""Deploys of bundles that are worth sending in parts."""

import asyncio
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from conftest import COMPONENTS, MODELS, Bundler, host
from relay import Relay, relay

import nocti
from nocti.upload import _Failures

ASSET_BYTES = 3_000_000
Deploy = Callable[[str, Path | bytes], nocti.Deployed]


def _waits(server: str, bundle: Path | bytes) -> nocti.Deployed:
    with nocti.Client(server) as client:
        return client.deploy(bundle)


def _awaits(server: str, bundle: Path | bytes) -> nocti.Deployed:
    async def ask() -> nocti.Deployed:
        async with nocti.AsyncClient(server) as client:
            return await client.deploy(bundle)

    return asyncio.run(ask())


@pytest.fixture(params=[_waits, _awaits])
def deploy(request: pytest.FixtureRequest) -> Deploy:
    """A deploy by either client."""
    found: Deploy = request.param
    return found


@pytest.fixture
def way(server: str) -> Iterator[Relay]:
    """To the host, over a relay."""
    with relay(server) as found:
        yield found


@pytest.fixture
def weighty(bundle: Bundler, tmp_path: Path) -> Callable[[str], Path]:
    """Makes versions of a function whose code differs and whose large asset, which does not become smaller, is the same."""
    asset = os.urandom(ASSET_BYTES)

    def make(version: str) -> Path:
        component = tmp_path / f"{version}.wasm"
        # A custom section, of the name `v`. No other test has had this code.
        mark = b"v" + os.urandom(8)
        component.write_bytes((COMPONENTS / "hello_http.wasm").read_bytes() + bytes([0, 1 + len(mark), 1]) + mark)
        return bundle("weighty", version=version, component=component, asset=asset)

    return make


@pytest.fixture(autouse=True)
def _gone(server: str) -> Iterator[None]:
    yield
    with nocti.Client(server) as client:
        if any(summary["name"] == "weighty" for summary in client.list()):
            client.delete("weighty")


def test_a_change_of_code_sends_the_code_alone(
    way: Relay, deploy: Deploy, weighty: Callable[[str], Path], tmp_path: Path
) -> None:
    first = deploy(way.url, weighty("1"))
    assert way.sent_bytes > ASSET_BYTES
    way.sent_bytes = 0
    file = weighty("2")
    second = deploy(way.url, file)
    assert way.sent_bytes < (file.stat().st_size - ASSET_BYTES) * 2 // 3, "code goes compressed"
    assert second["aliases"] == {"live": {"2": 100}} and second["digest"] != first["digest"]
    assert second["size_bytes"] == file.stat().st_size
    # Bytes that are in memory are no other bundle.
    way.sent_bytes = 0
    assert deploy(way.url, file.read_bytes())["digest"] == second["digest"]
    assert way.sent_bytes < 10_000
    with nocti.Client(way.url) as client:
        assert client.call("weighty").status_code == 200
        client.download("weighty@2", tmp_path / "back.wasm")
    assert (tmp_path / "back.wasm").read_bytes() == file.read_bytes()


def test_an_upload_that_breaks_off_goes_on(way: Relay, deploy: Deploy, weighty: Callable[[str], Path]) -> None:
    broken = threading.Event()
    way.once_after(ASSET_BYTES // 2, broken.set)
    file = weighty("1")
    assert deploy(way.url, file)["version"] == "1"
    assert broken.is_set() and ASSET_BYTES < way.sent_bytes < file.stat().st_size + ASSET_BYTES // 10


@pytest.mark.parametrize("waits", [True, False])
def test_an_upload_that_stalls_goes_on(way: Relay, weighty: Callable[[str], Path], waits: bool) -> None:
    held, timed_out = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        timed_out.wait(60)

    def look(request: httpx.Request) -> None:
        if request.method == "PUT":
            # A step of anything else may take longer, on a machine that has much to do.
            request.extensions["timeout"] = httpx.Timeout(0.5).as_dict()
        elif held.is_set():
            timed_out.set()

    async def async_look(request: httpx.Request) -> None:
        look(request)

    async def ask() -> nocti.Deployed:
        async with httpx.AsyncClient(event_hooks={"request": [async_look]}, trust_env=False) as http:
            return await nocti.AsyncClient(way.url, http=http).deploy(file)

    file = weighty("1")
    way.once_after(ASSET_BYTES // 2, hold)
    if waits:
        with httpx.Client(event_hooks={"request": [look]}, trust_env=False) as http:
            deployed = nocti.Client(way.url, http=http).deploy(file)
    else:
        deployed = asyncio.run(ask())
    assert deployed["version"] == "1" and timed_out.is_set()
    assert way.sent_bytes < file.stat().st_size + ASSET_BYTES // 10


def test_a_refusal_does_not_wait_for_the_other_parts(way: Relay, weighty: Callable[[str], Path]) -> None:
    held, failed = threading.Event(), threading.Event()
    content = bytearray(weighty("1").read_bytes())
    content[content.index(bytes([0, 10, 1]) + b"v") + 4] ^= 1
    failures: list[nocti.NoctiError] = []

    def hold() -> None:
        held.set()
        failed.wait(120)

    def look(request: httpx.Request) -> None:
        # Code goes compressed, and only when the other part waits.
        if request.method == "PUT" and "content-encoding" in request.headers:
            held.wait(60)

    def ask() -> None:
        with httpx.Client(event_hooks={"request": [look]}, trust_env=False) as http:
            try:
                nocti.Client(way.url, http=http).deploy(bytes(content), timeout=600)
            except nocti.NoctiError as error:
                failures.append(error)

    way.once_after(ASSET_BYTES // 2, hold)
    before = set(threading.enumerate())
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    # The host would end the other part after 30 s.
    asking.join(20)
    took_long = asking.is_alive()
    failed.set()
    assert not took_long, "it waits for the other part"
    assert [(failure.status, failure.code) for failure in failures] == [(400, "wrong_content")]
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive(), "the other part goes on"


def test_who_is_cancelled_goes_on_next_time(way: Relay, weighty: Callable[[str], Path]) -> None:
    file = weighty("1")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        over.wait(60)

    async def ask() -> None:
        async with nocti.AsyncClient(way.url) as client:
            upload = asyncio.create_task(client.deploy(file))
            await asyncio.to_thread(held.wait, 60)
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
            over.set()
            way.sent_bytes = 0
            assert (await client.deploy(file))["version"] == "1"

    way.once_after(ASSET_BYTES // 2, hold)
    asyncio.run(ask())
    assert way.sent_bytes < ASSET_BYTES * 3 // 4


def test_a_small_bundle_is_one_request(server: str, bundle: Bundler) -> None:
    seen: list[str] = []
    with httpx.Client(event_hooks={"request": [lambda request: seen.append(request.url.path)]}, trust_env=False) as http:
        client = nocti.Client(server, http=http)
        client.deploy(bundle("little", model=MODELS / "scalar.onnx"))
        assert seen == ["/api/functions"]
        client.delete("little")


def test_a_host_without_room_for_parts_gets_all_of_it(
    tmp_path_factory: pytest.TempPathFactory, deploy: Deploy, weighty: Callable[[str], Path]
) -> None:
    with host(tmp_path_factory.mktemp("narrow"), NOCTI_UPLOADS_MAX_BYTES="1MiB") as narrow:
        for version in ("1", "2"):
            assert deploy(narrow, weighty(version))["version"] == version


class _Lacking(httpx.HTTPTransport):
    """To a host that answers requests of one media type as one does that does not know their path."""

    def __init__(self, unknown: str) -> None:
        super().__init__()
        self.unknown = unknown
        self.seen: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        media_type = request.headers["content-type"]
        self.seen.append(media_type)
        if media_type == self.unknown:
            return httpx.Response(404, json={"code": "not_found", "error": "there is no such path"})
        return super().handle_request(request)


def test_a_host_that_knows_no_parts_gets_all_of_it(server: str, weighty: Callable[[str], Path]) -> None:
    earlier = _Lacking("application/json")
    with httpx.Client(transport=earlier) as http:
        assert nocti.Client(server, http=http).deploy(weighty("1"))["version"] == "1"
    assert earlier.seen == ["application/json", "application/wasm"]


@pytest.mark.parametrize("unknown", ["application/octet-stream", "application/vnd.nocti.manifest+json"])
def test_a_host_that_knows_parts_does_not_get_all_of_it(server: str, weighty: Callable[[str], Path], unknown: str) -> None:
    odd = _Lacking(unknown)
    with httpx.Client(transport=odd) as http, pytest.raises(nocti.NoctiError, match="no such path") as failed:
        nocti.Client(server, http=http).deploy(weighty("1"))
    assert failed.value.status == 404
    assert unknown in odd.seen and "application/wasm" not in odd.seen


def test_why_a_part_is_refused_is_heard_by_who_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, deploy: Deploy, weighty: Callable[[str], Path]
) -> None:
    file = weighty("1")
    with host(tmp_path_factory.mktemp("narrow"), NOCTI_UPLOADS_MAX_BYTES="1MiB") as narrow, relay(narrow) as way:
        way.once_after(ASSET_BYTES // 2)
        assert deploy(way.url, file)["version"] == "1"
        assert way.sent_bytes < file.stat().st_size + ASSET_BYTES * 3 // 4, "no part is sent in vain again"


def test_what_is_damaged_is_refused(server: str, deploy: Deploy, weighty: Callable[[str], Path]) -> None:
    content = bytearray(weighty("1").read_bytes())
    content[-1000] ^= 1
    with pytest.raises(nocti.NoctiError, match=r"the bundle is damaged, or was changed while it was sent: .* sha256") as failed:
        deploy(server, bytes(content))
    assert (failed.value.status, failed.value.code) == (400, "wrong_content")
    for number, words in ((40, "manifest"), (len(content) - ASSET_BYTES - 10, "damaged|section")):
        content[number] ^= 1
        with pytest.raises(nocti.NoctiError, match=words) as failed:
            deploy(server, bytes(content))
        assert (failed.value.status, failed.value.code) == (400, "invalid_bundle")
        content[number] ^= 1
    with pytest.raises(nocti.NoctiError, match="cut off") as failed:
        deploy(server, bytes(content[:-1]))
    assert failed.value.code == "invalid_bundle"


def test_a_large_file_is_never_in_memory(server: str, deploy: Deploy, bundle: Bundler) -> None:
    file = bundle("weighty", component=COMPONENTS / "hello_http.wasm", asset=os.urandom(1000) + bytes(64 << 20))
    tracemalloc.start()
    deploy(server, file)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 << 20


def test_other_content_under_a_name_that_is_taken(server: str, deploy: Deploy, bundle: Bundler) -> None:
    first, other = (bundle("weighty", component=COMPONENTS / "hello_http.wasm", asset=os.urandom(ASSET_BYTES)) for _ in range(2))
    deploy(server, first)
    with pytest.raises(nocti.NoctiError, match="other content") as failed:
        deploy(server, other)
    assert (failed.value.status, failed.value.code) == (409, "version_taken")


def test_two_who_send_the_same_wait_for_each_other(way: Relay, weighty: Callable[[str], Path]) -> None:
    file = weighty("1")
    held, busy = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        busy.wait(60)

    async def look(response: httpx.Response) -> None:
        if response.status_code == 409:
            await response.aread()
            assert response.json()["code"] == "upload_busy"
            busy.set()

    async def ask() -> None:
        hooks = {"response": [look]}
        async with nocti.AsyncClient(way.url) as one, httpx.AsyncClient(event_hooks=hooks, trust_env=False) as http:
            first = asyncio.create_task(one.deploy(file))
            await asyncio.to_thread(held.wait, 60)
            other = await nocti.AsyncClient(f"http://{way.host[0]}:{way.host[1]}", http=http).deploy(file)
            assert (await first)["digest"] == other["digest"]

    way.once_after(ASSET_BYTES // 2, hold)
    asyncio.run(ask())
    assert busy.is_set()


def test_patience_with_another_begins_anew_after_a_failure() -> None:
    busy, broken = nocti.NoctiError(409, "upload_busy", ""), nocti.NoctiError(None, "broken", "")
    failures = _Failures(busy_until=time.monotonic())
    pauses_s = [failures.pause_s(error, 0) for error in (busy, broken, busy, broken)]
    assert pauses_s == [0.2, 0.4, 1.0, 0.8] and failures.count == 3
