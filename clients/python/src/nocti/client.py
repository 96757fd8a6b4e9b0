"""The client that waits for its answers."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import httpx

from . import calls, connection, upload
from .answers import Deployed, Differences, Found, Function, History, Labelled, Line, Metadata, Status, Summaries, Traffic
from .calls import Bundle, Call
from .directions import Directions
from .errors import told
from .inference import Inputs, Outputs, Parameters
from .running import Threads, finished

T = TypeVar("T")


class Client:
    """A client of one host. Threads may share it; it keeps its connections open until it is closed.

    `server` is the host's address; by default the environment's NOCTI_SERVER, then http://127.0.0.1:8000. `timeout` is how many
    seconds each step may take (getting one of the client's 100 connections, connecting, sending, waiting for more of an answer),
    None for any time; that of a call is in its place. With `retries`, a host that is full is asked again so many times, each
    time after as long as it says. `http` is an httpx client of yours, for certificates, proxies, headers and its own timeouts;
    closing it stays your business.

    `predict`, `explain`, `call`, `metadata` and `ready` take a function as NAME, NAME@VERSION or NAME@ALIAS; `version` says the
    same beside it, and without one the `live` alias decides. `download`, `label`, `delete` and `logs` take versions so, but no
    aliases. All else is about a whole function, and takes its NAME.

    What fails is a `NoctiError`, what cannot be sent a TypeError or a ValueError, a call after `close` a RuntimeError.
    """

    def __init__(
        self, server: str | None = None, *, timeout: float | None = 60.0, retries: int = 0, http: httpx.Client | None = None
    ) -> None:
        """Sends nothing yet."""
        self.server = connection.address(server)
        self._retries = retries
        self._http = http or httpx.Client(
            timeout=connection.patience(timeout), limits=connection.LIMITS, trust_env=connection.takes_proxies(self.server)
        )
        self._is_ours = http is None

    def predict(
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
        """Asks a function.

        `inputs` are arrays by name, or what NumPy makes arrays of; dtypes say which datatypes they are, unless it is a `Tensor`.
        `bytes` and `str` become BYTES. `outputs` is a list of the outputs that are wanted, all by default; `parameters` are
        numbers, bools and texts; `request_id` comes back, and is how the host's log calls the request.

        Arrays have the shapes that `metadata` says: one that has not, or a datatype that does not fit, is a `NoctiError` of the
        code "invalid_request". What no tensor can be made of is a TypeError or a ValueError that names the input.
        """
        call = calls.ask("infer", function, inputs, version, outputs, parameters, request_id)
        return self._do(call, timeout)

    def explain(
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
        return self._do(call, timeout)

    def call(
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
        """Sends a plain HTTP request to an http function, which sees `path`. Whatever it answers is the result, errors too.

        A path with a segment `.` or `..` is a ValueError, encoded or not: it would lead out of the function.
        """
        return self._send(calls.raw(function, path, method, version, params, headers, content), timeout)

    def metadata(self, function: str, *, version: str | None = None) -> Metadata:
        """The names, datatypes and shapes of what a function takes and gives."""
        return self._do(calls.metadata(function, version))

    def ready(self, function: str | None = None, *, version: str | None = None) -> bool:
        """Whether the host takes requests, or a function does. Code "not_nocti": what answers there is no host."""
        return self._do(calls.ready(function, version))

    def deploy(
        self,
        bundle: Bundle,
        *,
        alias: str | None = "live",
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
        timeout: float | None = 600.0,
    ) -> Deployed:
        """Brings a bundle to the host: the path of a `.wasm` file, or its bytes. A file that is not there is an OSError.

        `nocti build` makes bundles. `alias` points to the new version from now on; None: no alias does, so that it answers under
        its own name alone. `by` and `message` are kept in the history. With `revision`, the change is made only if the function
        is at that one.

        Of a bundle from 256 KiB on only those parts are sent that the host lacks, and a part whose upload breaks off, or stalls
        for as long as `timeout`, goes on by itself where it broke. What fails or is interrupted ends at once, without waiting
        for the other parts that are on their way: their threads end by themselves.
        """

        def send(call: Call[T]) -> T:
            return self._do(call, timeout)

        return finished(upload.deploy(Threads(send), calls.deploy(bundle, alias, by, message, revision)))

    def download(
        self, function: str, path: str | os.PathLike[str], *, version: str | None = None, timeout: float | None = 600.0
    ) -> None:
        """Writes the bundle of a version into a file, which is written over if it is there: the one that was deployed.

        It is written as `path` with `.part` behind it, checked, and renamed. Where it does not come whole, is not what its digest
        says (code "broken"), or is no bundle at all ("not_nocti"), there is no file, or the old one.
        """
        call = calls.download(function, version)
        bound = httpx.USE_CLIENT_DEFAULT if timeout is None else connection.patience(timeout)
        stream = self._http.stream(call.method, self.server + call.path, timeout=bound)
        with told(self.server), stream as response:
            if not response.is_success:
                response.read()
            call.read(response)
            with connection.written(path) as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                calls.check_bundle(response, file)

    def list(self, *, limit: int | None = None, after: str | None = None) -> Summaries:
        """All functions, by name, or at most `limit` (of 1000), or those behind the name `after`."""
        return self._do(calls.list_(limit, after))

    def show(self, function: str) -> Function:
        """A function with its versions and aliases."""
        return self._do(calls.show(function))

    def search(
        self, query: str = "", *, alias: str | None = None, all_versions: bool = False, limit: int = 50, after: str | None = None
    ) -> Found:
        """Finds functions by words and by what is known of them, such as `"tag:vision accuracy>0.9 text"`.

        Each is looked at as the version that `alias` sends most requests to, by default `live`, or with `all_versions` every
        version by itself. `limit` is at most 200; `after` is the last answer's `next`. The host's README has the whole language.
        """
        return self._do(calls.search(query, alias, all_versions, limit, after))

    def label(
        self,
        function: str,
        labels: Mapping[str, str | None],
        *,
        version: str | None = None,
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> Labelled:
        """Puts labels on a version, and takes those off that are None; the others stay. Its content is not touched.

        `by`, `message` and `revision` are as for `deploy`.
        """
        return self._do(calls.label(function, labels, version, by, message, revision))

    def traffic(
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
        """Sends the requests of an alias to versions by weight, a whole number: each gets its weight by the sum of all.

        `shadow` is a version that gets copies of them, of `shadow_percent` of a hundred, by default of all: its answers are
        compared with those that callers get, and `show` has the counts. Whatever points the alias without it ends it.

        With `steps`, percents that rise to 100, requests move to one version by themselves; it is named in place of the weights.
        Each step takes `every` at least, such as `"5m"`, and `min_requests` (20) that the version has answered. Requests go back
        if it does worse than the others and than is allowed: a larger share of failures than `max_error_rate` (0.01) or, if you
        say `max_p99`, a p99 of more than so many times theirs. `end_rollout` ends it before.
        """
        bounds = (max_error_rate, max_p99, min_requests)
        directions = Directions(weights, shadow, shadow_percent, steps, every, *bounds)
        return self._do(calls.traffic(function, directions, alias, by, message, revision))

    def end_rollout(
        self,
        function: str,
        *,
        alias: str = "live",
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> Traffic:
        """Sends requests where they went before a rollout began that is going on."""
        return self._do(calls.end_rollout(function, alias, by, message, revision))

    def rollback(
        self,
        function: str,
        *,
        to: int | None = None,
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> Traffic:
        """Points all aliases where they were before their last change, or where they were at revision `to`."""
        return self._do(calls.rollback(function, to, by, message, revision))

    def history(self, function: str, *, limit: int = 50, before: int | None = None) -> History:
        """What was changed, when, by whom and why: the newest changes, or those before a revision."""
        return self._do(calls.history(function, limit, before))

    def diff(self, function: str, one: str | int, other: str | int) -> Differences:
        """What differs between two versions, which are names, or two revisions, which are numbers."""
        return self._do(calls.diff(function, one, other))

    def logs(
        self,
        function: str,
        *,
        follow: bool = False,
        since: str | None = None,
        version: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Line]:
        """The lines that a function has printed and, with `follow`, those that it prints from now on, for as long as you read.

        `since` is a time or how long ago, such as `"5m"`; `limit` the last so many of the lines that are there. One that is
        followed keeps one of the client's connections until its iterator is closed or dropped.
        """
        call = calls.logs(function, follow, since, version, limit)
        timeout = connection.endless(self._http.timeout) if follow else httpx.USE_CLIENT_DEFAULT
        with told(self.server):
            url = self.server + call.path
            with self._http.stream(call.method, url, params=call.params, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                call.read(response)
                for text in response.iter_lines():
                    yield calls.line(text, response)

    def delete(
        self,
        function: str,
        *,
        version: str | None = None,
        by: str | None = None,
        message: str | None = None,
        revision: int | None = None,
    ) -> None:
        """Deletes a version or, if none is named, the function with all of its versions."""
        self._do(calls.delete(function, version, by, message, revision))

    def status(self) -> Status:
        """What the host has in memory, where, and what it does."""
        return self._do(calls.status())

    def close(self) -> None:
        """Closes all connections."""
        if self._is_ours:
            self._http.close()

    def __enter__(self) -> "Client":
        """Closes the client when the block ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the client."""
        self.close()

    def _do(self, call: Call[T], timeout: float | None = None) -> T:
        response = self._send(call, timeout)
        for _ in range(self._retries):
            wait_s = call.again_after_s(response)
            if wait_s is None:
                break
            time.sleep(wait_s)
            response = self._send(call, timeout)
        return call.read(response)

    def _send(self, call: Call[T], timeout: float | None) -> httpx.Response:
        with told(self.server):
            return self._http.request(
                call.method,
                self.server + call.path,
                params=call.params,
                headers=call.headers,
                content=call.content if isinstance(call.content, bytes) else call.content.chunks(),
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else connection.patience(timeout),
            )
