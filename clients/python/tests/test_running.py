"""Many things at once, on threads and as tasks."""

import asyncio
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import httpx
import pytest

from nocti.calls import Call
from nocti.content import Content
from nocti.running import Runner, Tasks, Threads, finished

T = TypeVar("T")

# How long what must not wait may take, on a machine that has much to do.
PROMPT_S = 60.0


def _send(call: Call[T]) -> T:
    """Reads what would be sent."""
    assert isinstance(call.content, Content)
    for _ in call.content.chunks():
        pass
    return call.read(httpx.Response(201))


async def _async_send(call: Call[T]) -> T:
    assert isinstance(call.content, Content)
    async for _ in call.content.async_chunks():
        pass
    return call.read(httpx.Response(201))


def _zeros() -> BinaryIO:
    return Path("/dev/zero").open("rb")


MUCH = Content(_zeros, (range(1 << 34),))


def _promptly(work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def ends() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=ends, daemon=True)
    thread.start()
    thread.join(PROMPT_S * 2)
    assert not thread.is_alive(), "it goes on"
    for failure in failures:
        raise failure


async def _fails(runner: Runner) -> None:
    """Fails while there is much to send and long to wait."""
    all_began = threading.Barrier(4)
    done: list[int] = []
    ended = {number: threading.Event() for number in range(4)}

    async def work(runner: Runner, number: int) -> None:
        if number >= 4:
            await runner.send(Call("PUT", "/", lambda response: done.append(number), content=MUCH))
            return
        try:
            await runner.aside(partial(all_began.wait, PROMPT_S))
            if number == 0:
                raise LookupError("it is not there")
            if number == 1:
                await runner.pause(3600)
            await runner.send(Call("PUT", "/", lambda response: done.append(number), content=MUCH))
        finally:
            ended[number].set()

    with pytest.raises(LookupError, match="not there"):
        await runner.each(work, range(100), 4)
    for number, event in ended.items():
        assert event.wait(PROMPT_S), f"{number} goes on"
    assert not done


def test_a_failure_ends_what_else_goes_on() -> None:
    _promptly(lambda: finished(_fails(Threads(_send))))
    _promptly(lambda: asyncio.run(_fails(Tasks(_async_send))))


def test_who_interrupts_twice_ends_it_all() -> None:
    all_wait = threading.Barrier(3)
    first, second, answered = threading.Event(), threading.Event(), threading.Event()
    ended = threading.Barrier(3)
    went_on: list[int] = []
    here = threading.get_ident()

    async def work(runner: Runner, number: int) -> None:
        # As who waits for an answer: nothing ends that.
        all_wait.wait(PROMPT_S)
        answered.wait(PROMPT_S)
        try:
            await runner.send(Call("POST", "/", lambda response: went_on.append(number), content=Content.of(b"more")))
        finally:
            ended.wait(PROMPT_S)

    def interrupt() -> None:
        all_wait.wait(PROMPT_S)
        signal.pthread_kill(here, signal.SIGINT)
        first.wait(PROMPT_S)
        signal.pthread_kill(here, signal.SIGINT)
        second.set()

    def interrupted(number: int, frame: object) -> None:
        first.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            try:
                finished(Threads(_send).each(work, range(2), 2))
            finally:
                # It comes here at the latest.
                second.wait(PROMPT_S)
    finally:
        signal.signal(signal.SIGINT, before)
    answered.set()
    ended.wait(PROMPT_S)
    assert not went_on


def test_one_alone_goes_on_where_it_is_asked_for() -> None:
    seen: list[threading.Thread] = []

    async def work(runner: Runner, number: int) -> None:
        seen.append(threading.current_thread())

    finished(Threads(_send).each(work, [7], 4))
    finished(Threads(_send).each(work, [], 4))
    assert seen == [threading.current_thread()]


def test_so_many_go_on_at_once() -> None:
    async def most(runner: Runner) -> int:
        all_here = threading.Barrier(4)
        lock = threading.Lock()
        now: set[int] = set()
        most = 0

        async def work(runner: Runner, number: int) -> None:
            nonlocal most
            with lock:
                now.add(number)
                most = max(most, len(now))
            await runner.aside(partial(all_here.wait, PROMPT_S))
            with lock:
                now.remove(number)

        await runner.each(work, range(400), 4)
        assert not now
        return most

    assert finished(most(Threads(_send))) == 4
    assert asyncio.run(most(Tasks(_async_send))) == 4


def test_what_waits_for_an_event_loop_is_told_apart() -> None:
    with pytest.raises(RuntimeError, match="there is none"):
        finished(asyncio.sleep(0))
