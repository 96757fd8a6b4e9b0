"""What is written once for both clients, as coroutines, and how each of them runs it: on threads, or as tasks."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from .calls import Call
from .content import Content

T = TypeVar("T")
Work = Callable[["Runner", T], Coroutine[Any, Any, None]]

# Ctrl-C is heard so often at least. It does not end a wait that it comes just before, and on Windows none.
_HEARD_EVERY_S = 0.2


class Runner(Protocol):
    """What such a coroutine awaits."""

    async def send(self, call: Call[T]) -> T:
        """Does a call."""

    async def aside(self, work: Callable[[], T]) -> T:
        """Does what reads files or computes."""

    async def pause(self, seconds: float) -> None:
        """Waits so long."""

    async def each(self, work: Work[T], over: Iterable[T], at_once: int) -> None:
        """Does the same with many, so many at once, each with the runner that it gets. The first failure ends the others."""


class _Send(Protocol):
    def __call__(self, call: Call[T]) -> T: ...


class _AsyncSend(Protocol):
    def __call__(self, call: Call[T]) -> Awaitable[T]: ...


class _StoppedError(Exception):
    """What ends a thread after another's failure. Nobody waits for it any more."""


class Threads:
    """For a client that waits: whatever is awaited is done when it returns, so that `finished` runs it without an event loop."""

    def __init__(self, send: _Send, stopped: threading.Event | None = None) -> None:
        """With what does a call, and what is set when nothing more is to be done."""
        self._send = send
        self._stopped = stopped or threading.Event()

    async def send(self, call: Call[T]) -> T:
        """Does a call; what is on its way stops at its next piece where another thread has failed."""
        self._stop()
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
        """On so many threads; one alone on this one, where Ctrl-C ends whatever it waits for.

        After a failure the other threads end at their next piece, or when what they wait for comes or times out.
        """
        # Of this round alone, and it stays set: a thread may see it long afterwards.
        stopped = threading.Event()
        runner = Threads(self._send, stopped)
        left: SimpleQueue[T] = SimpleQueue()
        for one in over:
            left.put(one)
        if left.qsize() == 1:
            return finished(work(runner, left.get()))
        outcomes: SimpleQueue[BaseException | None] = SimpleQueue()

        def go_on() -> None:
            try:
                while not stopped.is_set():
                    try:
                        one = left.get_nowait()
                    except Empty:
                        break
                    finished(work(runner, one))
            except BaseException as error:
                outcomes.put(error)
            else:
                outcomes.put(None)

        # Nobody waits for them after a failure, nor at the program's end: an answer may take them as long as the time-out is.
        threads = [threading.Thread(target=go_on, daemon=True) for _ in range(min(at_once, left.qsize()))]
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                failure = _taken(outcomes)
                if failure is not None:
                    raise failure
        finally:
            stopped.set()

    def _stop(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError


def _taken(queue: SimpleQueue[T]) -> T:
    while True:
        with suppress(Empty):
            return queue.get(timeout=_HEARD_EVERY_S)


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
                await work(self, one)

        tasks = [asyncio.create_task(placed(one)) for one in over]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
