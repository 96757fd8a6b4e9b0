"""How both clients reach a host: its address, and what they tell httpx."""

import numbers
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

from . import given

# Those that were opened stay open, however many were needed at once.
LIMITS = httpx.Limits(max_connections=100)
# Sockets count in milliseconds of 31 bits.
_MAX_TIMEOUT_S = (2**31 - 1) / 1000


def address(server: str | None) -> str:
    """Where the host is: as given, or as the environment says, or on this machine."""
    server = given.text("server", server or os.environ.get("NOCTI_SERVER") or "http://127.0.0.1:8000")
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise ValueError(f"server '{server}': {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"server '{server}': an address of the form http://HOST:PORT is needed")
    # Paths are put behind it.
    if "?" in server or "#" in server:
        raise ValueError(f"server '{server}': an address without '?' and '#' is needed")
    return server.rstrip("/")


def takes_proxies(server: str) -> bool:
    """Whether the environment's proxies can reach the host: one set for the outside world cannot reach this machine's own."""
    return httpx.URL(server).host not in ("localhost", "127.0.0.1", "::1")


def patience(timeout: float | None) -> httpx.Timeout:
    """So many seconds for each step of an exchange; None: any time."""
    if timeout is None:
        return httpx.Timeout(None)
    if not isinstance(timeout, numbers.Real):
        raise TypeError(f"timeout is a number of seconds: {timeout!r:.80} is of type {type(timeout).__name__}")
    if not 0 < timeout <= _MAX_TIMEOUT_S:
        raise ValueError(f"timeout is {timeout}: more than 0 s and at most 24 days are needed, or None for any time")
    return httpx.Timeout(float(timeout))


def endless(timeout: httpx.Timeout) -> httpx.Timeout:
    """The same for what goes on for as long as it likes, once it is there."""
    return httpx.Timeout(connect=timeout.connect, read=None, write=timeout.write, pool=timeout.pool)


@contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that is there when all of it was written, and not at all before."""
    part = Path(f"{os.fspath(path)}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
