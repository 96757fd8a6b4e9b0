"""What is written once for both clients, as coroutines, and how each of them runs it: on threads, or as tasks."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from .calls import Call
from .content import Content

T = TypeVar("T")
Work = Callable[[T], Coroutine[Any, Any, None]]


class Runner(Protocol):
    """What such a coroutine awaits."""

    async def send(self, call: Call[T]) -> T:
        """Does a call."""

    async def aside(self, work: Callable[[], T]) -> T:
        """Does what reads files or computes."""

    async def pause(self, seconds: float) -> None:
        """Waits so long."""

    async def each(self, work: Work[T], over: Iterable[T], at_once: int) -> None:
        """Does the same with many, so many at once. The first failure ends the others."""


class _Send(Protocol):
    def __call__(self, call: Call[T]) -> T: ...


class _AsyncSend(Protocol):
    def __call__(self, call: Call[T]) -> Awaitable[T]: ...


class Threads:
    """For a client that waits: whatever is awaited is done when it returns, so that `finished` runs it without an event loop."""

    def __init__(self, send: _Send) -> None:
        """With what does a call."""
        self._send = send
        self._stopped = threading.Event()

    async def send(self, call: Call[T]) -> T:
        """Does a call; what is on its way of a file stops where another thread has failed."""
        if isinstance(call.content, Content):
            call = replace(call, content=replace(call.content, before_each=self._stop))
        return self._send(call)

    async def aside(self, work: Callable[[], T]) -> T:
        """Does it here."""
        return work()

    async def pause(self, seconds: float) -> None:
        """Waits so long, unless another thread fails."""
        self._stopped.wait(seconds)
        self._stop()

    async def each(self, work: Work[T], over: Iterable[T], at_once: int) -> None:
        """On so many threads."""
        try:
            with ThreadPoolExecutor(at_once) as threads:
                try:
                    begun = [threads.submit(lambda one: finished(work(one)), one) for one in over]
                    for done in as_completed(begun):
                        done.result()
                except BaseException:
                    self._stopped.set()
                    threads.shutdown(wait=False, cancel_futures=True)
                    raise
        finally:
            self._stopped.clear()

    def _stop(self) -> None:
        if self._stopped.is_set():
            raise CancelledError


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What comes of a coroutine that awaits nothing but `Threads`."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("it awaits an event loop, and there is none")


class Tasks:
    """For a client that is awaited."""

    def __init__(self, send: _AsyncSend) -> None:
        """With what does a call."""
        self._send = send

    async def send(self, call: Call[T]) -> T:
        """Does a call."""
        return await self._send(call)

    async def aside(self, work: Callable[[], T]) -> T:
        """Does it on another thread."""
        return await asyncio.to_thread(work)

    async def pause(self, seconds: float) -> None:
        """Waits so long."""
        await asyncio.sleep(seconds)

    async def each(self, work: Work[T], over: Iterable[T], at_once: int) -> None:
        """As tasks, of which so many go on."""
        places = asyncio.Semaphore(at_once)

        async def placed(one: T) -> None:
            async with places:
                await work(one)

        tasks = [asyncio.create_task(placed(one)) for one in over]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
