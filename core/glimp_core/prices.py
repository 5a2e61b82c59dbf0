"""The prices of two models, and the cost of tokens. Costs are computed only here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from glimp_core.errors import ConfigError
from glimp_core.types import ModelUsage, Role, Step

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a reply, in total and by model, in a `currency`."""

    total: float
    small: float
    large: float
    currency: str


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """The prices of a million tokens of one model. `cached` is for prompt tokens in its cache; None: as `prompt`.

    Raises `ConfigError` for a price that is not a number, or is negative.
    """

    prompt: float
    completion: float
    cached: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
            if not number and not (value is None and field.name == "cached"):
                raise ConfigError(f"{field.name}={value!r} cannot work: a price is a number of 0 or more")

    def of(self, usage: ModelUsage, written: int) -> float:
        """Return the cost of a model with this usage and so many `written` tokens.

        A server charges for each prompt that it was sent. A model in this process is charged for the tokens that it
        read.
        """
        read, cached = usage.sent_tokens, usage.sent_cached_tokens
        if not read:
            read, cached = usage.cached_tokens + usage.prefill_tokens, usage.cached_tokens
        kept = self.prompt if self.cached is None else self.cached
        cached = min(cached, read)
        return (cached * kept + (read - cached) * self.prompt + written * self.completion) / MILLION


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of both models; None for a model that costs nothing."""

    small: ModelPrice | None = None
    large: ModelPrice | None = None
    currency: str = "USD"

    def of_large(self, steps: Iterable[Step]) -> float:
        """Return the cost of the steps that the large model wrote."""
        written = [step for step in steps if step.engine == "large"]
        return math.fsum(self.large.of(step.usage, step.tokens) for step in written) if self.large else 0.0

    def cost(self, used: Mapping[Role, ModelUsage], steps: Sequence[Step]) -> Cost:
        """Return the cost of a reply from the usage of both models and its steps."""
        pairs: tuple[tuple[Role, ModelPrice | None], ...] = (("small", self.small), ("large", self.large))
        small, large = (
            price.of(used[role], sum(step.tokens for step in steps if step.engine == role)) if price else 0.0
            for role, price in pairs
        )
        return Cost(small + large, small, large, self.currency)
