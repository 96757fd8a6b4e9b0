"""Plain HTTP to functions that speak it."""

import pytest

import nocti


def test_what_a_function_answers_is_the_result(client: nocti.Client) -> None:
    hello = client.call("hello-http")
    assert hello.status_code == 200 and hello.text.startswith("Hello from WebAssembly! You sent GET /")
    assert "GET /?a=%2Fb" in client.call("hello-http@1.0.0", params={"a": "/b"}).text
    echo = client.call("hello-http", "/echo", method="POST", version="live", content=b"\0\1", headers={"content-type": "x/y"})
    assert (echo.content, echo.headers["content-type"]) == (b"\0\1", "x/y")
    missing = client.call("hello-http", "no/such path", method="PUT")
    assert missing.status_code == 404 and "PUT /no/such%20path" in missing.text


def test_errors_of_the_host_are_answers_too(client: nocti.Client) -> None:
    answer = client.call("nothing", "/")
    assert answer.status_code == 404 and answer.json()["code"] == "not_found"


@pytest.mark.parametrize("name", ["a/b", "a?b", "a#b", "é", "%2e"])
def test_names_stay_names(client: nocti.Client, name: str) -> None:
    assert client.call(name, "x").status_code == 404
    with pytest.raises(nocti.NoctiError) as failed:
        client.metadata(name)
    assert failed.value.status == 404
