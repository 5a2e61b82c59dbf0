"""Baselines for a signal: one model alone, a random share, and the first steps."""

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
    """Intervene at a random `rate` of the steps: the baseline of a signal.

    The draw depends only on the seed and the chain, so a request is repeatable, independent of other requests.
    """

    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_share("rate", self.rate)

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Decide at random."""
        last = history[-1].text if history else ""
        key = (self.seed, len(history), last, round(glimpse.entropy, 2))  # rounded: batching may change the last bits
        return Decision(zlib.crc32(repr(key).encode()) / 2**32 < self.rate, f"random {self.rate:g}")


@dataclass(frozen=True, slots=True)
class Priming:
    """The large model writes the first `steps` steps, which often contain the plan, and the small model the rest.

    This is the baseline "first n steps" of SpecReason (arXiv 2504.07891) and strategic priming of TrigReason (arXiv
    2604.14847). Raises `ConfigError` for a negative number.
    """

    steps: int = 20

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ConfigError(f"steps={self.steps!r} cannot work: it must be 0 or more")

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Intervene in the first steps."""
        return Decision(len(history) < self.steps, f"step {len(history) + 1}, primed for {self.steps}")


def require_share(name: str, value: float) -> None:
    """Raise `ConfigError` for a value that is not between 0 and 1."""
    if not 0 <= value <= 1 or math.isnan(value):
        raise ConfigError(f"{name}={value!r} cannot work: it is a share between 0 and 1")
