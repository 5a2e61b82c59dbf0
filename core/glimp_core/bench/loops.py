"""The interface of other loops than `glimp_core.algorithm.route`, with which two models write one reply."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from glimp_core.chain import Chain
from glimp_core.engine import Engine, Glimpser
from glimp_core.events import Event
from glimp_core.types import ModelUsage

NO_USAGE = ModelUsage()


@dataclass(frozen=True, slots=True)
class Trial:
    """The small model wrote step `index`, it was measured, and `kept` or thrown away: for loops that judge afterwards.

    `discarded` is what the small model used for a step that was thrown away, `judging` what the judge used. Where the
    large model was called before anything was tried, `tokens` is 0.
    """

    index: int
    measure: float
    kept: bool
    tokens: int
    discarded: ModelUsage = NO_USAGE
    judging: ModelUsage = NO_USAGE
    reason: str = ""


Happening: TypeAlias = Event | Trial
Loop: TypeAlias = Callable[[Chain, Glimpser, Engine], Iterator[Happening]]
