"""The client that waits for its answers."""

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TypeVar

import httpx

from . import calls, connection
from .answers import Deployed, Function, Metadata, Status, Summaries
from .calls import Bundle, Call
from .errors import told
from .inference import Inputs, Outputs, Parameters

T = TypeVar("T")


class Client:
    """A client of one host. Threads may share it; it keeps its connections open until it is closed.

    `server` is the host's address; by default the environment's NOCTI_SERVER, then http://127.0.0.1:8000. `timeout` is how many
    seconds each step may take (connecting, sending, waiting for more of an answer), None for any time. With `retries`, a host
    that is full is asked again so many times, each time after as long as it says. `http` is an httpx client of yours, for
    certificates, proxies, headers and its own timeouts; closing it stays your business.

    A function is named by itself, with its version or alias behind an `@`, or beside it as `version`; without one, the `live`
    alias decides.
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
        `bytes` and `str` become BYTES. `outputs` names the outputs that are wanted, all by default; `request_id` comes back, and
        is how the host's log calls the request. `timeout` is in place of the client's.
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
        """Sends a plain HTTP request to an http function, which sees `path`. Whatever it answers is the result, errors too."""
        return self._send(calls.raw(function, path, method, version, params, headers, content), timeout)

    def metadata(self, function: str, *, version: str | None = None) -> Metadata:
        """The names, datatypes and shapes of what a function takes and gives."""
        return self._do(calls.metadata(function, version))

    def ready(self, function: str | None = None, *, version: str | None = None) -> bool:
        """Whether the host takes requests, or a function does."""
        return self._do(calls.ready(function, version))

    def deploy(self, bundle: Bundle, *, alias: str | None = "live", timeout: float | None = 600.0) -> Deployed:
        """Brings a bundle to the host: the path of a `.wasm` file, or its bytes.

        `nocti build` makes bundles. `alias` points to the new version from now on; None: no alias does, so that it answers under
        its own name alone.
        """
        return self._do(calls.deploy(bundle, alias), timeout)

    def list(self) -> Summaries:
        """All functions, by name."""
        return self._do(calls.list_())

    def show(self, function: str) -> Function:
        """A function with its versions and aliases."""
        return self._do(calls.show(function))

    def delete(self, function: str, *, version: str | None = None) -> None:
        """Deletes a version or, if none is named, the function with all of its versions."""
        self._do(calls.delete(function, version))

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
                content=call.content if isinstance(call.content, bytes) else connection.chunks(call.content),
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else connection.patience(timeout),
            )
