"""Who writes the next step. A policy has one method; anything that has it can be one."""

import math
import zlib
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from glimp_core.config import RouterConfig
from glimp_core.errors import ConfigError
from glimp_core.types import Decision, Entropy, Glimpse, History


@runtime_checkable
class Policy(Protocol):
    """Decides, at the start of each step, whether the large model should write it."""

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Judge one glimpse, knowing the steps before it. Called from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class EntropyThreshold:
    """Intervene when H_init > threshold, in nats (the paper, section 3.2); `on_tie` makes it >=.

    A threshold belongs to one definition of entropy; deciding on another raises `ConfigError`.
    """

    threshold: float = 1.0
    entropy: Entropy = "full"
    on_tie: bool = False

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ConfigError(f"threshold={self.threshold!r} cannot work: it is an entropy in nats, 0 or more")

    @classmethod
    def of(cls, threshold: float, config: RouterConfig) -> "EntropyThreshold":
        """Return the threshold on the quantity, and with the tie rule, that `config` names."""
        return cls(threshold, entropy=config.entropy, on_tie=config.intervene_on_tie)

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Compare the glimpse with the threshold."""
        if glimpse.definition != self.entropy:
            raise ConfigError(
                f"this threshold is for entropy {self.entropy!r} but the glimpse measured {glimpse.definition!r}: "
                f"use EntropyThreshold({self.threshold}, entropy={glimpse.definition!r}) or RouterConfig(entropy=...)"
            )
        over = glimpse.entropy > self.threshold or (self.on_tie and glimpse.entropy == self.threshold)
        return Decision(over, f"H {glimpse.entropy:.2f} {'over' if over else 'within'} {self.threshold:g}")


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
        if not 0 <= self.rate <= 1 or math.isnan(self.rate):
            raise ConfigError(f"rate={self.rate!r} cannot work: it is a share between 0 and 1")

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Draw."""
        last = history[-1].text if history else ""
        key = (self.seed, len(history), last, round(glimpse.entropy, 2))  # rounded: batching may move the last bits
        return Decision(zlib.crc32(repr(key).encode()) / 2**32 < self.rate, f"random {self.rate:g}")
