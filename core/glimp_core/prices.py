"""What tokens cost: the prices of two models, and the one place where tokens are multiplied by them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from glimp_core.errors import ConfigError
from glimp_core.types import ModelUsage, Role, Step

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What a reply cost, in all and by model, in a `currency`."""

    total: float
    small: float
    large: float
    currency: str


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a million tokens of one model cost; `cached` are prompt tokens that it had kept, None: as others.

    Raises `ConfigError` for a price that is no number, or under 0.
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
        """Return what a model cost that wrote some tokens.

        A server is paid for each prompt that it was sent. A model in this process is priced by what it read.
        """
        read, cached = usage.sent_tokens, usage.sent_cached_tokens
        if not read:
            read, cached = usage.cached_tokens + usage.prefill_tokens, usage.cached_tokens
        kept = self.prompt if self.cached is None else self.cached
        cached = min(cached, read)
        return (cached * kept + (read - cached) * self.prompt + written * self.completion) / MILLION


@dataclass(frozen=True, slots=True)
class Prices:
    """What the tokens of both models cost; None for a model that costs nothing."""

    small: ModelPrice | None = None
    large: ModelPrice | None = None
    currency: str = "USD"

    def of_large(self, steps: Iterable[Step]) -> float:
        """Return what the large model cost for the steps that it wrote."""
        written = [step for step in steps if step.engine == "large"]
        return math.fsum(self.large.of(step.usage, step.tokens) for step in written) if self.large else 0.0

    def cost(self, used: Mapping[Role, ModelUsage], steps: Sequence[Step]) -> Cost:
        """Return what a reply cost, of which the models `used` so much and wrote these steps."""
        pairs: tuple[tuple[Role, ModelPrice | None], ...] = (("small", self.small), ("large", self.large))
        small, large = (
            price.of(used[role], sum(step.tokens for step in steps if step.engine == role)) if price else 0.0
            for role, price in pairs
        )
        return Cost(small + large, small, large, self.currency)
