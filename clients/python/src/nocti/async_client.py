"""The client that is awaited: the calls of `client`, with the same words."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import httpx

from . import calls, connection, upload
from .answers import Deployed, Differences, Found, Function, History, Labelled, Line, Metadata, Status, Summaries, Traffic
from .calls import Bundle, Call
from .directions import Directions
from .errors import told
from .inference import Inputs, Outputs, Parameters
from .running import Tasks

T = TypeVar("T")


class AsyncClient:
    """A client of one host, for asyncio. It asks many things at once, and keeps its connections open until it is closed.

    Its arguments, how methods name functions, and what they raise are as in `Client`, but that `http` is an AsyncClient.
    """

    def __init__(
        self, server: str | None = None, *, timeout: float | None = 60.0, retries: int = 0, http: httpx.AsyncClient | None = None
    ) -> None:
        """Sends nothing yet."""
        self.server = connection.address(server)
        self._retries = retries
        self._http = http or httpx.AsyncClient(
            timeout=connection.patience(timeout), limits=connection.LIMITS, trust_env=connection.takes_proxies(self.server)
        )
        self._is_ours = http is None

    async def predict(
        self,
        function: str,
        inputs: Inputs,
        *,
        version: str | None = None,
        outputs: Iterable[str] | None = None,
        parameters: Parameters | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Outputs:
        """Asks a function; as `Client.predict`."""
        call = calls.ask("infer", function, inputs, version, outputs, parameters, request_id)
        return await self._do(call, timeout)

    async def explain(
        self,
        function: str,
        inputs: Inputs,
        *,
        version: str | None = None,
        outputs: Iterable[str] | None = None,
        parameters: Parameters | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Outputs:
        """Asks a function why it answers as it does; as `predict`. Code "not_explainable": it does not say."""
        call = calls.ask("explain", function, inputs, version, outputs, parameters, request_id)
        return await self._do(call, timeout)

    async def call(
        self,
        function: str,
        path: str = "/",
        *,
        method: str = "GET",
        version: str | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float | None = None,
    ) -> httpx.Response:
        """Sends a plain HTTP request to an http function; as `Client.call`."""
        return await self._send(calls.raw(function, path, method, version, params, headers, content), timeout)

    async def metadata(self, function: str, *, version: str | None = None) -> Metadata:
        """The names, datatypes and shapes of what a function takes and gives."""
        return await self._do(calls.metadata(function, version))

    async def ready(self, function: str | None = None, *, version: str | None = None) -> bool:
        """Whether the host takes requests, or a function does; as `Client.ready`."""
        return await self._do(calls.ready(function, version))

    async def deploy(
        self,
        bundle: Bundle,
        *,
        alias: str | None = "live",
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
        timeout: float | None = 600.0,
    ) -> Deployed:
        """Brings a bundle to the host; as `Client.deploy`."""

        async def send(call: Call[T]) -> T:
            return await self._do(call, timeout)

        return await upload.deploy(Tasks(send), calls.deploy(bundle, alias, by, message, revision))

    async def download(
        self, function: str, path: str | os.PathLike[str], *, version: str | None = None, timeout: float | None = 600.0
    ) -> None:
        """Writes the bundle of a version into a file; as `Client.download`."""
        call = calls.download(function, version)
        bound = httpx.USE_CLIENT_DEFAULT if timeout is None else connection.patience(timeout)
        stream = self._http.stream(call.method, self.server + call.path, timeout=bound)
        with told(self.server):
            async with stream as response:
                if not response.is_success:
                    await response.aread()
                call.read(response)
                with connection.written(path) as file:
                    async for chunk in response.aiter_bytes():
                        await asyncio.to_thread(file.write, chunk)
                    await asyncio.to_thread(calls.check_bundle, response, file)

    async def list(self, *, limit: int | None = None, after: str | None = None) -> Summaries:
        """All functions, by name, or at most `limit` (of 1000), or those behind the name `after`."""
        return await self._do(calls.list_(limit, after))

    async def show(self, function: str) -> Function:
        """A function with its versions and aliases."""
        return await self._do(calls.show(function))

    async def search(
        self, query: str = "", *, alias: str | None = None, all_versions: bool = False, limit: int = 50, after: str | None = None
    ) -> Found:
        """Finds functions; as `Client.search`."""
        return await self._do(calls.search(query, alias, all_versions, limit, after))

    async def label(
        self,
        function: str,
        labels: Mapping[str, str | None],
        *,
        version: str | None = None,
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> Labelled:
        """Puts labels on a version and takes others off; as `Client.label`."""
        return await self._do(calls.label(function, labels, version, by, message, revision))

    async def traffic(
        self,
        function: str,
        weights: Mapping[str, int] | str,
        *,
        alias: str = "live",
        shadow: str | None = None,
        shadow_percent: int | None = None,
        steps: Sequence[int] | None = None,
        every: str | None = None,
        max_error_rate: float | None = None,
        max_p99: float | None = None,
        min_requests: int | None = None,
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> Traffic:
        """Says where the requests of an alias go; as `Client.traffic`."""
        bounds = (max_error_rate, max_p99, min_requests)
        directions = Directions(weights, shadow, shadow_percent, steps, every, *bounds)
        return await self._do(calls.traffic(function, directions, alias, by, message, revision))

    async def end_rollout(
        self,
        function: str,
        *,
        alias: str = "live",
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> Traffic:
        """Sends requests where they went before a rollout began that is going on."""
        return await self._do(calls.end_rollout(function, alias, by, message, revision))

    async def rollback(
        self,
        function: str,
        *,
        to: int | None = None,
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> Traffic:
        """Sends requests where they went before; as `Client.rollback`."""
        return await self._do(calls.rollback(function, to, by, message, revision))

    async def history(self, function: str, *, limit: int = 50, before: int | None = None) -> History:
        """What was changed, when, by whom and why: the newest changes, or those before a revision."""
        return await self._do(calls.history(function, limit, before))

    async def diff(self, function: str, one: str | int, other: str | int) -> Differences:
        """What differs between two versions, which are names, or two revisions, which are numbers."""
        return await self._do(calls.diff(function, one, other))

    async def logs(
        self,
        function: str,
        *,
        follow: bool = False,
        since: str | None = None,
        version: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Line]:
        """The lines that a function has printed, and prints; as `Client.logs`, by `async for`."""
        call = calls.logs(function, follow, since, version, limit)
        timeout = connection.endless(self._http.timeout) if follow else httpx.USE_CLIENT_DEFAULT
        with told(self.server):
            url = self.server + call.path
            async with self._http.stream(call.method, url, params=call.params, timeout=timeout) as response:
                if not response.is_success:
                    await response.aread()
                call.read(response)
                async for text in response.aiter_lines():
                    yield calls.line(text, response)

    async def delete(
        self,
        function: str,
        *,
        version: str | None = None,
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> None:
        """Deletes a version or, if none is named, the function with all of its versions."""
        await self._do(calls.delete(function, version, by, message, revision))

    async def status(self) -> Status:
        """What the host has in memory, where, and what it does."""
        return await self._do(calls.status())

    async def close(self) -> None:
        """Closes all connections."""
        if self._is_ours:
            await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        """Closes the client when the block ends."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the client."""
        await self.close()

    async def _do(self, call: Call[T], timeout: float | None = None) -> T:
        response = await self._send(call, timeout)
        for _ in range(self._retries):
            wait_s = call.again_after_s(response)
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
            response = await self._send(call, timeout)
        return call.read(response)

    async def _send(self, call: Call[T], timeout: float | None) -> httpx.Response:
        with told(self.server):
            return await self._http.request(
                call.method,
                self.server + call.path,
                params=call.params,
                headers=call.headers,
                content=call.content if isinstance(call.content, bytes) else call.content.async_chunks(),
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else connection.patience(timeout),
            )
