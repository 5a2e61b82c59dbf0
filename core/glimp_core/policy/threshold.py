"""Policies that compare one glimpse with one number."""

import math
from dataclasses import dataclass
from pathlib import Path

from glimp_core.config import RouterConfig
from glimp_core.errors import ConfigError
from glimp_core.policy.interface import require_definition
from glimp_core.types import Decision, Entropy, Glimpse, History


@dataclass(frozen=True, slots=True)
class EntropyThreshold:
    """Intervene when H_init > threshold, in nats (the paper, section 3.2); `on_tie` makes it >=.

    A threshold is valid for one kind of entropy; a glimpse with another kind raises `ConfigError`.
    """

    threshold: float = 1.0
    entropy: Entropy = "full"
    on_tie: bool = False

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ConfigError(f"threshold={self.threshold!r} cannot work: it is an entropy in nats, 0 or more")

    @classmethod
    def of(cls, threshold: float, config: RouterConfig) -> "EntropyThreshold":
        """Return the policy with the kind of entropy and the tie rule of `config`."""
        return EntropyThreshold(threshold, entropy=config.entropy, on_tie=config.intervene_on_tie)

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Compare the glimpse with the threshold."""
        require_definition(self, self.entropy, glimpse)
        over = glimpse.entropy > self.threshold or (self.on_tie and glimpse.entropy == self.threshold)
        reason = f"H {glimpse.entropy:.2f} {'over' if over else 'within'} {self.threshold:g}"
        return Decision(over, reason, self.threshold)


@dataclass(frozen=True, slots=True)
class CalibratedThreshold(EntropyThreshold):
    """A threshold that was calibrated on one `pair` of models. A router with another pair refuses it.

    `glimp_core.load_profile` returns it.
    """

    pair: tuple[str, str] = ("", "")


def model_identity(name: str) -> str:
    """Return what a model is known by in a calibration: its name, a folder or file by its full path."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


@dataclass(frozen=True, slots=True)
class Margin:
    """Intervene if the probabilities of the two likeliest first tokens differ by less than `margin`."""

    margin: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 1 or math.isnan(self.margin):
            raise ConfigError(f"margin={self.margin!r} cannot work: it is a difference of probabilities, 0 to 1")

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Compare the glimpse with the margin."""
        under = glimpse.margin < self.margin
        return Decision(under, f"margin {glimpse.margin:.2f} {'under' if under else 'at least'} {self.margin:g}")
