"""What README.md says works."""

import re
from pathlib import Path

import pytest

import nocti

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(client: nocti.Client, monkeypatch: pytest.MonkeyPatch, example: str) -> None:
    monkeypatch.setenv("NOCTI_SERVER", client.server)
    example = example.replace("http://127.0.0.1:8000", client.server)
    exec(compile(example, "README.md", "exec"), {})


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2
