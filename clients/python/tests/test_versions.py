"""Versions and where requests go, what was, what is found, what is printed."""

from collections.abc import Callable

import pytest

import nocti


def test_requests_are_shared_out_and_sent_back(client: nocti.Client, two: Callable[[str], None]) -> None:
    two("shared")
    traffic = client.traffic("shared", {"1": 90, "2": 10}, by="ada", message="a tenth", revision=2)
    expected = {"function": "shared", "revision": 3, "aliases": {"live": {"1": 90, "2": 10}}, "changed": True}
    assert traffic == expected
    assert not client.traffic("shared", {"1": 90, "2": 10})["changed"]
    assert client.rollback("shared", message="2 errs")["aliases"] == {"live": {"2": 100}}
    assert client.rollback("shared", to=1)["aliases"] == {"live": {"1": 100}}
    history = client.history("shared", limit=3)
    assert [(told["revision"], told["action"], told["to"]) for told in history["revisions"]] == [
        (5, "restore", 1),
        (4, "rollback", 2),
        (3, "traffic", None),
    ]
    assert (history["revisions"][2]["by"], history["revisions"][2]["message"]) == ("ada", "a tenth")
    assert history["next"] == 3
    assert [told["message"] for told in client.history("shared", before=3)["revisions"]] == ["version 2", "version 1"]
    with pytest.raises(nocti.NoctiError, match="no more at 3") as failed:
        client.traffic("shared", {"1": 1}, alias="canary", revision=3)
    assert (failed.value.status, failed.value.code) == (409, "revision_moved")
    client.delete("shared", by="ada", message="done", revision=5)
    assert [client.history("shared", limit=1)["revisions"][0][key] for key in ("action", "by", "message")] == [
        "delete_function",
        "ada",
        "done",
    ]


def test_what_differs(client: nocti.Client, two: Callable[[str], None]) -> None:
    two("differing")
    found = {tuple(told["path"]): (told.get("from"), told.get("to")) for told in client.diff("differing", "1", "2")}
    assert found == {("metrics", "accuracy"): (0.1, 0.2), ("tags",): (["sum", "1"], ["sum", "2"])}
    (only,) = (told for told in client.diff("differing", 1, 2) if told["path"] == ["aliases", "live", "2"])
    assert only["to"] == 100 and "from" not in only
    client.delete("differing")


def test_labels_and_what_is_found_by_them(client: nocti.Client, two: Callable[[str], None]) -> None:
    two("labelled")
    client.label("labelled@1", {"team": "Sums & more", "old": "x"}, by="ada")
    labelled = client.label("labelled", {"old": None}, version="1")
    assert (labelled["labels"], labelled["changed"], labelled["revision"]) == ({"team": "Sums & more"}, True, 4)
    assert client.show("labelled")["versions"][0]["labels"] == {"team": "Sums & more"}
    assert client.search("label:team")["results"] == []
    (hit,) = client.search('label:team="sums & more" ångström', all_versions=True)["results"]
    assert (hit["function"], hit["version"], hit["labels"]) == ("labelled", "1", {"team": "Sums & more"})
    (hit,) = client.search("tag:2 accuracy>0.1 name:labelled")["results"]
    assert (hit["version"], hit["metrics"], hit["tags"]) == ("2", {"accuracy": 0.2}, ["sum", "2"])
    page = client.search("name:labelled", all_versions=True, limit=1)
    assert page["next"] == "labelled@1"
    page = client.search("name:labelled", all_versions=True, limit=1, after=page["next"])
    assert [hit["version"] for hit in page["results"]] == ["2"] and page["next"] is None
    assert client.search("name:labelled", alias="canary")["results"] == []
    with pytest.raises(nocti.NoctiError, match="there is no field 'tags'") as failed:
        client.search("tags:x")
    assert (failed.value.status, failed.value.code) == (400, "invalid_request")
    with pytest.raises(ValueError, match="which version of 'labelled' is meant"):
        client.label("labelled", {"a": "b"})
    client.delete("labelled")


def test_the_list_comes_in_parts(client: nocti.Client) -> None:
    names = [summary["name"] for summary in client.list()]
    seen: list[str] = []
    while page := client.list(limit=2, after=seen[-1] if seen else None):
        assert len(page) <= 2
        seen += [summary["name"] for summary in page]
    assert seen == names and len(names) > 2


def test_logs_go_on(client: nocti.Client) -> None:
    def print_(text: str) -> None:
        client.predict("free", {}, parameters={"mode": "print", "message": text}, request_id=f"printed-{text}")

    print_("one")
    lines = client.logs("free", follow=True, since="5m", version="1.0.0")
    first = next(line for line in lines if line.get("request") == "printed-one")
    assert first["version"] == "1.0.0" and first["stream"] in ("stdout", "stderr")
    print_("two")
    assert next(line for line in lines if line.get("request") == "printed-two")["time"] >= first["time"]
    assert len(list(client.logs("free", limit=1))) == 1
    with pytest.raises(nocti.NoctiError, match="'nothing' is not found"):
        next(client.logs("nothing"))
