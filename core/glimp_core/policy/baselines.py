"""The policies that a signal is measured against: all, none, and a random share."""

import math
import zlib
from dataclasses import dataclass

from glimp_core.errors import ConfigError
from glimp_core.types import Decision, Glimpse, History


@dataclass(frozen=True, slots=True)
class AlwaysSmall:
    """The small model writes every step."""

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Delegate."""
        return Decision(False, "always small")


@dataclass(frozen=True, slots=True)
class AlwaysLarge:
    """The large model writes every step."""

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Intervene."""
        return Decision(True, "always large")


@dataclass(frozen=True, slots=True)
class RandomRate:
    """Intervene at a random `rate` of the steps: the baseline that a signal has to beat.

    The draw depends on the seed and on the chain alone, so that a request is repeatable whatever runs beside it.
    """

    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_share("rate", self.rate)

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Draw."""
        last = history[-1].text if history else ""
        key = (self.seed, len(history), last, round(glimpse.entropy, 2))  # rounded: batching may move the last bits
        return Decision(zlib.crc32(repr(key).encode()) / 2**32 < self.rate, f"random {self.rate:g}")


@dataclass(frozen=True, slots=True)
class Priming:
    """The large model writes the first `steps` steps, which hold the plan, and the small one the rest.

    The baseline of a fixed place: "first n steps" of SpecReason (arXiv 2504.07891), strategic priming of TrigReason
    (arXiv 2604.14847). Raises `ConfigError` under 0.
    """

    steps: int = 20

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ConfigError(f"steps={self.steps!r} cannot work: it must be 0 or more")

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Look at how many steps there are."""
        return Decision(len(history) < self.steps, f"step {len(history) + 1}, primed for {self.steps}")


def require_share(name: str, value: float) -> None:
    """Raise `ConfigError` for a value that is no share."""
    if not 0 <= value <= 1 or math.isnan(value):
        raise ConfigError(f"{name}={value!r} cannot work: it is a share between 0 and 1")
