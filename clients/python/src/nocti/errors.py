"""The one exception, and how failures become it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx


class NoctiError(Exception):
    """The host did not do what was asked, and says why.

    `code` is stable and meant for programs: "not_found", "invalid_request", "too_many_requests", "deadline_exceeded" and so
    on. Where no answer came, or not as it was sent, `status` is None and `code` is "unreachable", "timeout" or "broken"; where
    one came that is not a Nocti host's, it is "not_nocti".
    """

    def __init__(self, status: int | None, code: str, message: str, request_id: str | None = None) -> None:
        """All that is known of the failure."""
        # All of it, so that the exception can be pickled.
        super().__init__(status, code, message, request_id)
        self.status = status
        """The HTTP status, if there was an answer."""
        self.code = code
        self.message = message
        """For people: what was wrong, where, and what to do."""
        self.request_id = request_id
        """The name under which the host's log has the request."""

    def __str__(self) -> str:
        """The message, with status and code."""
        known = self.code if self.status is None else f"{self.status} {self.code}"
        return f"{self.message} ({known})"


def refusal(response: httpx.Response) -> NoctiError:
    """What a response says that is no success."""
    try:
        body = parsed(response.content)
        code, message = str(body["code"]), str(body["error"])
    except (ValueError, KeyError):
        return not_nocti(response, f"HTTP {response.status_code}")
    return NoctiError(response.status_code, code, message, request_id(response))


def parsed(answer: bytes | str) -> Any:
    """The object that an answer's JSON is; a ValueError where it is none that can be read."""
    try:
        said = json.loads(answer)
    except RecursionError as error:
        raise ValueError("it is too deep to be read") from error
    if not isinstance(said, dict):
        raise ValueError("it is no object")
    return said


def not_nocti(response: httpx.Response, what: str) -> NoctiError:
    """For an answer in no form of the API's."""
    message = f"{response.url} does not answer like a Nocti host ({what}): is the address right?"
    return NoctiError(response.status_code, "not_nocti", message, request_id(response))


def request_id(response: httpx.Response) -> str | None:
    """How the host calls the request."""
    value: str | None = response.headers.get("x-request-id")
    return value


@contextmanager
def told(server: str) -> Iterator[None]:
    """Makes what goes wrong on the way to the host and back the one exception."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        hint = "start one with `nocti serve`, or say where it is: Client(SERVER) or NOCTI_SERVER"
        raise NoctiError(None, "unreachable", f"no Nocti host answers at {server}: {hint}") from error
    except httpx.PoolTimeout as error:
        why = "all of the client's connections (100, or as many as `http` has) are in use, such as by logs that are followed"
        raise NoctiError(None, "timeout", f"nothing was sent to {server}: {why}, and none became free in time") from error
    except httpx.TimeoutException as error:
        hint = "the timeout can be raised for the client and for each call"
        raise NoctiError(None, "timeout", f"{server} took too long to answer: {hint}") from error
    except httpx.InvalidURL as error:
        raise ValueError(f"this makes no address: {error}") from error
    except httpx.RequestError as error:
        cause = str(error) or type(error).__name__
        raise NoctiError(None, "broken", f"the connection to {server} failed: {cause}") from error
