"""Where an alias' requests are to go: by weight, with copies for a shadow, or to one version step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import given


@dataclass(frozen=True)
class Directions:
    """What a caller says of it; None is what it says nothing of."""

    weights: Mapping[str, int] | str
    shadow: str | None = None
    shadow_percent: int | None = None
    steps: Sequence[int] | None = None
    every: str | None = None
    max_error_rate: float | None = None
    max_p99: float | None = None
    min_requests: int | None = None

    def asked(self) -> tuple[str, dict[str, Any]]:
        """What is behind the alias in the path, and the body."""
        return ("", self._by_weight()) if self.steps is None else ("/rollout", self._by_steps(self.steps))

    def _by_weight(self) -> dict[str, Any]:
        version = self.weights
        if isinstance(version, str):
            raise ValueError(
                f"say how much each version gets, such as {{'{version}': 1}}, or with steps how '{version}' gets all"
            )
        for name in ("every", "max_error_rate", "max_p99", "min_requests"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is of a rollout: say its steps, such as steps=[5, 25, 100]")
        if self.shadow is None and self.shadow_percent is not None:
            raise ValueError("shadow_percent says how much a shadow gets: say which version that is, shadow=VERSION")
        weights = given.named("weights", version, "{'1.0.0': 1}")
        plain = {given.text("a version", name): given.plain(f"the weight of '{name}'", weights[name]) for name in weights}
        body: dict[str, Any] = {"weights": plain}
        if self.shadow is not None:
            body["shadow"] = _known(version=self.shadow, percent=self.shadow_percent)
        return body

    def _by_steps(self, steps: Sequence[int]) -> dict[str, Any]:
        if not isinstance(self.weights, str):
            raise ValueError("steps say what one version gets: name it alone, without a weight")
        if self.every is None:
            raise ValueError("say how long each of the steps takes at least, such as every='5m'")
        if self.shadow is not None or self.shadow_percent is not None:
            raise ValueError("an alias has either a shadow or steps")
        bounds = _known(max_error_rate=self.max_error_rate, max_p99=self.max_p99, min_requests=self.min_requests)
        percents = [given.plain("a step", step) for step in steps]
        return {"version": self.weights, "steps": percents, "every": given.text("every", self.every, "5m"), **bounds}


def _known(**said: Any) -> dict[str, Any]:
    return {name: given.plain(name, value) for name, value in said.items() if value is not None}
