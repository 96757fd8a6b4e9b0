"""The client that is awaited."""

import asyncio
import inspect
from pathlib import Path

import numpy as np
import pytest
from conftest import MODELS, Bundler

import nocti


def test_it_can_do_what_the_other_can() -> None:
    def calls(client: type) -> dict[str, str]:
        found = inspect.getmembers(client, inspect.isfunction)
        signatures = {name: str(inspect.signature(call)) for name, call in found if not name.startswith("_")}
        # What is iterated over is awaited, too.
        return {name: signature.replace("AsyncIterator", "Iterator") for name, signature in signatures.items()}

    assert calls(nocti.AsyncClient) == calls(nocti.Client)


def test_many_at_once(client: nocti.Client) -> None:
    async def ask() -> None:
        async with nocti.AsyncClient(client.server) as many:

            async def one(number: int) -> None:
                sent = np.full((1, 16), number, np.int32)
                outputs = await many.predict("simple", {"INPUT0": sent, "INPUT1": sent}, request_id=str(number))
                assert (outputs["OUTPUT0"] == 2 * number).all() and outputs.request_id == str(number)

            # Fewer than the function takes at once, and more than there are connections; in a row, so that these are used again.
            for _ in range(3):
                await asyncio.gather(*(one(number) for number in range(60)))

    asyncio.run(ask())


def test_more_at_once_than_there_are_connections(client: nocti.Client) -> None:
    async def ask() -> None:
        # Whoever waits for a connection waits while others are answered.
        async with nocti.AsyncClient(client.server, retries=100) as many:
            sent = np.ones((1, 16), np.int32)
            inputs = {"INPUT0": sent, "INPUT1": sent}
            answers = await asyncio.gather(*(many.predict("simple", inputs) for _ in range(200)))
            assert all((outputs["OUTPUT0"] == 2).all() for outputs in answers)

    asyncio.run(ask())


def test_everything_else(client: nocti.Client, bundle: Bundler, tmp_path: Path) -> None:
    async def ask() -> None:
        async with nocti.AsyncClient(client.server, retries=1) as awaited:
            file = bundle("awaited", model=MODELS / "scalar.onnx")
            deployed = await awaited.deploy(file)
            assert (await awaited.deploy(file.read_bytes()))["digest"] == deployed["digest"]
            assert "awaited" in [found["name"] for found in await awaited.list()]
            assert (await awaited.show("awaited"))["revision"] == deployed["revision"]
            assert (await awaited.metadata("awaited"))["outputs"][0]["name"] == "sum"
            assert await awaited.ready() and await awaited.ready("awaited")
            assert "awaited" in [found["function"] for found in (await awaited.status())["functions"]]
            await awaited.download("awaited@1.0.0", tmp_path / "back.wasm")
            assert (tmp_path / "back.wasm").read_bytes() == file.read_bytes()
            await manage(awaited)
            await awaited.delete("awaited")
            assert (await awaited.explain("free", {}, parameters={"mode": "x"}))["why"].item() == b"mode x"
            assert (await awaited.call("hello-http", "/echo", method="POST", content=b"x")).content == b"x"
            for call, code in (
                (awaited.predict("nothing", {}), "not_found"),
                (awaited.predict("free", {}, parameters={"mode": "error-unavailable"}), "unavailable"),
                (awaited.predict("free", {}, parameters={"mode": "sleep", "ms": 20_000}, timeout=0.1), "timeout"),
            ):
                with pytest.raises(nocti.NoctiError) as failed:
                    await call
                assert failed.value.code == code
            with pytest.raises(FileNotFoundError):
                await awaited.deploy(tmp_path / "nothing.wasm")

    asyncio.run(ask())


async def manage(awaited: nocti.AsyncClient) -> None:
    labelled = await awaited.label("awaited@1.0.0", {"stage": "test"})
    assert labelled["labels"] == {"stage": "test"}
    found = await awaited.search("label:stage=test name:awaited", limit=1)
    assert [hit["function"] for hit in found["results"]] == ["awaited"] and found["next"] is None
    traffic = await awaited.traffic("awaited", {"1.0.0": 1}, alias="canary", by="ada")
    assert traffic["aliases"]["canary"] == {"1.0.0": 1}
    assert (await awaited.rollback("awaited"))["aliases"] == {"live": {"1.0.0": 100}}
    assert (await awaited.history("awaited", limit=1))["revisions"][0]["action"] == "rollback"
    (difference,) = await awaited.diff("awaited", 1, 2)
    assert (difference["path"], difference["to"]) == (["versions", "1.0.0", "labels", "stage"], "test")
    assert [summary["name"] for summary in await awaited.list(limit=1, after="avery")] == ["awaited"]
    await awaited.predict("free", {}, parameters={"mode": "print", "message": "awaited line"}, request_id="printed-awaited")
    async for line in awaited.logs("free", follow=True):
        if line.get("request") == "printed-awaited":
            break
    with pytest.raises(nocti.NoctiError, match="'nothing' is not found"):
        async for _ in awaited.logs("nothing"):
            pass


def test_who_is_cancelled_leaves_nothing_behind(client: nocti.Client) -> None:
    async def ask() -> None:
        async with nocti.AsyncClient(client.server) as awaited:
            asked = asyncio.create_task(awaited.predict("free", {}, parameters={"mode": "sleep", "ms": 20_000}))

            async def busy(count: int) -> None:
                while True:
                    (found,) = (one for one in (await awaited.status())["functions"] if one["function"] == "free")
                    if found["instances"]["busy"] == count:
                        return

            await asyncio.wait_for(busy(1), 30)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await asyncio.wait_for(busy(0), 30)

    asyncio.run(ask())
