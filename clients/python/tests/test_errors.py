"""What goes wrong, and what is said of it."""

import pickle
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

import nocti
from nocti.inference import Inputs

PAIR = {"INPUT0": np.zeros((1, 16), np.int32), "INPUT1": np.zeros((1, 16), np.int32)}


@pytest.mark.parametrize(
    ("function", "inputs", "status", "code", "words"),
    [
        ("nothing", {}, 404, "not_found", "'nothing' is not found"),
        ("simple@9", PAIR, 404, "not_found", "function 'simple' has versions 1.0.0"),
        (
            "simple",
            {**PAIR, "INPUT1": np.zeros((1, 15), np.int32)},
            400,
            "invalid_request",
            "unexpected shape for input 'INPUT1'",
        ),
        ("simple", {**PAIR, "INPUT1": np.zeros((1, 16))}, 400, "invalid_request", "'INPUT1' data-type is 'FP64'"),
        ("simple", {"INPUT0": PAIR["INPUT0"]}, 400, "invalid_request", "missing required input"),
        ("hello-http", {}, 400, "wrong_kind", "hello-http"),
        ("slow", {"iterations": np.array([1 << 62])}, 504, "deadline_exceeded", "longer than 1s"),
    ],
)
def test_refusals(client: nocti.Client, function: str, inputs: Inputs, status: int, code: str, words: str) -> None:
    with pytest.raises(nocti.NoctiError, match=words) as failed:
        client.predict(function, inputs)
    assert (failed.value.status, failed.value.code) == (status, code)
    assert words in failed.value.message and str(failed.value).endswith(f" ({status} {code})")


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("error-invalid", 400, "invalid_request"),
        ("error-unavailable", 503, "unavailable"),
        ("error-internal", 500, "function_error"),
        ("trap", 502, "function_failed"),
    ],
)
def test_what_a_function_fails_with(client: nocti.Client, mode: str, status: int, code: str) -> None:
    with pytest.raises(nocti.NoctiError) as failed:
        client.predict("free", {}, parameters={"mode": mode, "message": "out of ink"}, request_id="number-7")
    assert (failed.value.status, failed.value.code) == (status, code)
    assert failed.value.request_id == "number-7"


def test_exceptions_can_be_pickled() -> None:
    error = nocti.NoctiError(404, "not_found", "it is not there", "7")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status, copy.code, copy.message, copy.request_id) == (404, "not_found", "it is not there", "7")
    assert str(copy) == "it is not there (404 not_found)"


def test_a_function_that_is_full_is_asked_again_only_by_who_wants_it(client: nocti.Client) -> None:
    def requests() -> int:
        (status,) = (found for found in client.status()["functions"] if found["function"] == "free")
        return int(status["requests"])

    for retries in (0, 1):
        before = requests()
        with nocti.Client(client.server, retries=retries) as again, pytest.raises(nocti.NoctiError, match="not today") as failed:
            again.predict("free", {}, parameters={"mode": "error-unavailable", "message": "not today"})
        assert failed.value.status == 503
        assert requests() - before == 1 + retries
    # What is wrong stays wrong.
    before = requests()
    with nocti.Client(client.server, retries=3) as again, pytest.raises(nocti.NoctiError):
        again.predict("free", {}, parameters={"mode": "error-invalid"})
    assert requests() - before == 1


def test_a_host_that_takes_too_long(client: nocti.Client) -> None:
    asleep: dict[str, str | int] = {"mode": "sleep", "ms": 20_000}
    with pytest.raises(nocti.NoctiError, match="took too long to answer") as failed:
        client.predict("free", {}, parameters=asleep, timeout=0.1)
    assert (failed.value.status, failed.value.code) == (None, "timeout")
    with nocti.Client(client.server, timeout=0.1) as hasty, pytest.raises(nocti.NoctiError, match="took too long"):
        hasty.predict("free", {}, parameters=asleep)


def test_who_waits_for_a_connection_waits_no_longer_than_for_an_answer(client: nocti.Client) -> None:
    client.predict("free", {}, parameters={"mode": "print", "message": "a line"})
    with nocti.Client(client.server, timeout=2) as busy:
        # Generators, which can be closed.
        followed: list[Any] = [busy.logs("free", follow=True, since="5m") for _ in range(100)]
        for lines in followed:
            next(lines)
        for ask in (busy.status, lambda: next(busy.logs("free", follow=True))):
            with pytest.raises(
                nocti.NoctiError, match=r"all of the client's connections \(100, .* logs that are followed"
            ) as failed:
                ask()
            assert (failed.value.status, failed.value.code) == (None, "timeout")
        followed.pop().close()
        assert busy.ready()
        for lines in followed:
            lines.close()


def test_a_closed_client_says_so(client: nocti.Client) -> None:
    closed = nocti.Client(client.server)
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.list()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_where_no_host_is(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with nocti.Client(f"http://127.0.0.1:{port}") as client, pytest.raises(nocti.NoctiError) as failed:
        client.list()
    assert (failed.value.status, failed.value.code) == (None, "unreachable")
    assert f"no Nocti host answers at http://127.0.0.1:{port}: start one with `nocti serve`" in str(failed.value)


def test_a_connection_that_breaks_off(listener: socket.socket) -> None:
    hangs_up = threading.Thread(target=lambda: listener.accept()[0].close())
    hangs_up.start()
    with nocti.Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client, pytest.raises(nocti.NoctiError) as failed:
        client.list()
    hangs_up.join()
    assert (failed.value.status, failed.value.code) == (None, "broken")
    assert ": " in failed.value.message and not failed.value.message.endswith(": ")


def test_what_is_no_host(client: nocti.Client) -> None:
    # A path that only functions answer at: neither errors nor successes there have the API's form.
    with nocti.Client(f"{client.server}/functions/hello-http") as other:
        with pytest.raises(nocti.NoctiError, match="does not answer like a Nocti host") as failed:
            other.list()
        assert (failed.value.status, failed.value.code) == (404, "not_nocti")


@pytest.mark.parametrize(
    "server",
    [
        "localhost:8000",
        "ftp://host",
        "http://",
        "http://host:port",
        "/tmp/socket",
        "http://host?a=b",
        "http://host/?",
        "http://host/#a",
    ],
)
def test_what_is_no_address(server: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"server '{server}': ")):
        nocti.Client(server)


def test_where_the_environment_says(client: nocti.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTI_SERVER", client.server + "/")
    # Whatever the machine reaches others through.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with nocti.Client() as found:
        assert found.server == client.server and found.ready()


def test_an_http_client_of_ones_own(client: nocti.Client) -> None:
    seen: list[httpx.Request] = []
    with httpx.Client(event_hooks={"request": [seen.append]}, trust_env=False) as http:
        with nocti.Client(client.server, http=http) as ours:
            ours.list()
        assert not http.is_closed and [request.url.path for request in seen] == ["/api/functions"]
