"""Many things at once, on threads and as tasks."""

import asyncio
from pathlib import Path
from typing import BinaryIO, TypeVar

import httpx
import pytest

from nocti.calls import Call
from nocti.content import Content
from nocti.running import Runner, Tasks, Threads, finished

T = TypeVar("T")


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


async def _fails(runner: Runner) -> None:
    """Fails while there is much to send and long to wait."""
    ended: list[int] = []
    much = Content(_zeros, (range(1 << 34),))

    async def work(number: int) -> None:
        if number == 0:
            raise LookupError("it is not there")
        if number == 1:
            await runner.pause(10)
        await runner.send(Call("PUT", "/", lambda response: ended.append(number), content=much))

    with pytest.raises(LookupError, match="not there"):
        await runner.each(work, range(100), 4)
    assert not ended


def test_a_failure_ends_what_else_goes_on() -> None:
    finished(_fails(Threads(_send)))
    asyncio.run(_fails(Tasks(_async_send)))


def test_so_many_go_on_at_once() -> None:
    async def most(runner: Runner) -> int:
        now: set[int] = set()
        most = 0

        async def work(number: int) -> None:
            nonlocal most
            now.add(number)
            most = max(most, len(now))
            await runner.pause(0)
            now.remove(number)

        await runner.each(work, range(50), 4)
        assert not now
        return most

    assert 1 <= finished(most(Threads(_send))) <= 4
    assert asyncio.run(most(Tasks(_async_send))) == 4


def test_what_waits_for_an_event_loop_is_told_apart() -> None:
    with pytest.raises(RuntimeError, match="there is none"):
        finished(asyncio.sleep(0))
