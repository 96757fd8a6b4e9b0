"""Shadows and rollouts."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nocti

Two = Callable[[str], None]


def test_a_shadow_is_set_compared_and_taken_away(client: nocti.Client, two: Two) -> None:
    two("shadowed")
    traffic = client.traffic("shadowed", {"1": 1}, shadow="2", shadow_percent=50)
    assert traffic["aliases"] == {"live": {"1": 1}} and traffic["changed"]
    assert traffic["shadows"] == {"live": {"version": "2", "percent": 50}}
    assert client.traffic("shadowed", {"1": 1}, shadow="2")["shadows"]["live"]["percent"] == 100
    assert client.history("shadowed")["revisions"][0]["shadows"] == {"live": {"version": "2", "percent": 100}}
    # Callers wait for no copy, so it is counted when it is counted.
    until = time.monotonic() + 30
    same = 0
    while not same:
        assert time.monotonic() < until
        assert client.predict("shadowed", {"x": np.ones(3, np.float32)}).version == "1"
        for compared in client.show("shadowed")["shadows"]["live"].get("compared", []):
            assert compared["version"] == "1" and compared["different"] == compared["failed"] == 0
            same = compared["same"]
    with pytest.raises(nocti.NoctiError, match="'2'") as failed:
        client.delete("shadowed@2")
    assert failed.value.code == "version_in_use"
    assert "shadows" not in client.traffic("shadowed", {"1": 1})
    assert "shadows" not in client.show("shadowed")
    client.delete("shadowed")


def test_a_rollout_is_begun_shown_and_ended(client: nocti.Client, two: Two) -> None:
    two("rolled")
    revision = client.show("rolled")["revision"]
    traffic = client.traffic(
        "rolled", "1", steps=[10, 100], every="1h", max_error_rate=0.05, max_p99=1.5, min_requests=7, by="ada", revision=revision
    )
    assert traffic["aliases"] == {"live": {"1": 10, "2": 90}} and traffic["changed"]
    rollout = traffic["rollouts"]["live"]
    expected: dict[str, Any] = {"version": "1", "state": "running", "step": 1, "percent": 10, "steps": [10, 100], "every": "1h"}
    expected |= {"max_error_rate": 0.05, "max_p99": 1.5, "min_requests": 7, "from": {"2": 100}, "why": None}
    assert {**rollout, "since": None} == {**expected, "since": None}
    assert client.show("rolled")["rollouts"]["live"] == rollout
    with pytest.raises(nocti.NoctiError, match="rolled") as failed:
        client.traffic("rolled", "1", steps=[100], every="1m")
    assert (failed.value.status, failed.value.code) == (409, "rollout_running")
    ended = client.end_rollout("rolled", by="ada", message="not today")
    assert ended["aliases"] == {"live": {"2": 100}}
    assert (ended["rollouts"]["live"]["state"], ended["rollouts"]["live"]["why"]) == ("back", "not today")
    assert client.history("rolled", limit=1)["revisions"][0]["by"] == "ada"
    with pytest.raises(nocti.NoctiError, match="rolled") as failed:
        client.end_rollout("rolled")
    assert (failed.value.status, failed.value.code) == (409, "no_rollout")
    assert "rollouts" not in client.traffic("rolled", {"1": 1})
    client.delete("rolled")


def test_both_are_awaited_too(client: nocti.Client, two: Two) -> None:
    async def ask() -> None:
        async with nocti.AsyncClient(client.server) as awaited:
            shadowed = await awaited.traffic("directed", {"2": 1}, shadow="1", shadow_percent=1)
            assert shadowed["shadows"]["live"] == {"version": "1", "percent": 1}
            # Whatever else points the alias ends it.
            rolled = await awaited.traffic("directed", "1", steps=[50, 100], every="5m")
            assert rolled["rollouts"]["live"]["percent"] == 50 and "shadows" not in rolled
            assert (await awaited.end_rollout("directed", alias="live"))["aliases"] == {"live": {"2": 1}}

    two("directed")
    asyncio.run(ask())
    client.delete("directed")


@pytest.mark.parametrize(
    ("weights", "said", "words"),
    [
        ("1", {}, r"such as \{'1': 1\}"),
        ({"1": 1}, {"steps": [100], "every": "1m"}, "name it alone"),
        ("1", {"steps": [100]}, "every='5m'"),
        ("1", {"steps": [100], "every": "1m", "shadow": "2"}, "either a shadow or steps"),
        ({"1": 1}, {"every": "1m"}, "every is of a rollout"),
        ({"1": 1}, {"min_requests": 1}, "min_requests is of a rollout"),
        ({"1": 1}, {"shadow_percent": 5}, "shadow=VERSION"),
    ],
)
def test_what_makes_no_sense_is_not_sent(weights: Any, said: dict[str, Any], words: str) -> None:
    with nocti.Client("http://127.0.0.1:9") as nowhere, pytest.raises(ValueError, match=words):
        nowhere.traffic("rolled", weights, **said)
