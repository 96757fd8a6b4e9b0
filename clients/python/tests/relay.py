"""A relay before a host: it counts what is sent, and breaks a connection off, or holds it up, when so much has come over it."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx


class Relay(socketserver.ThreadingTCPServer):
    """Clients come to `url`; whatever they send and get goes through it."""

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        host = httpx.URL(server)
        self.host = (host.host, host.port or 80)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.sent_bytes = 0
        self.lock = threading.Lock()
        self.limit_bytes: int | None = None
        self.at_limit: Callable[[], None] = lambda: None

    def once_after(self, limit_bytes: int, then: Callable[[], None] = lambda: None) -> None:
        """The first connection that takes so much from now on is broken off, after `then`."""
        self.limit_bytes, self.at_limit = limit_bytes, then

    def breaks_off(self, here_bytes: int, more_bytes: int) -> bool:
        """Counts what has come over a connection, and says whether that was the last of it."""
        with self.lock:
            self.sent_bytes += more_bytes
            if self.limit_bytes is None or here_bytes < self.limit_bytes:
                return False
            self.limit_bytes = None
        self.at_limit()
        return True


@contextmanager
def relay(server: str) -> Iterator[Relay]:
    """One that is there for a while."""
    with Relay(server) as found:
        serving = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield found
        finally:
            found.shutdown()
            serving.join()


class _Connection(socketserver.BaseRequestHandler):
    request: socket.socket
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(self.server.host) as host:
            back = threading.Thread(target=_copy, args=(host, self.request))
            back.start()
            here_bytes = 0
            with suppress(OSError):
                while piece := self.request.recv(1 << 16):
                    host.sendall(piece)
                    here_bytes += len(piece)
                    if self.server.breaks_off(here_bytes, len(piece)):
                        break
            for end in (host, self.request):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        # The host has closed it, and so the client sees it closed.
        target.shutdown(socket.SHUT_RDWR)
