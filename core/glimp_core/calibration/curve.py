"""The figures of each threshold, computed from recorded glimpses.

Steps are sorted by entropy. A threshold below one more of them gives this step to the large model: one more
intervention, with its tokens, and their time at the large model's speed. So each figure is a sum over the sorted steps.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from glimp_core.bootstrap import Bootstrap, Draw
from glimp_core.completion import Completion
from glimp_core.errors import ConfigError, unknown_name
from glimp_core.profile import CurvePoint

Measure: TypeAlias = Literal["rate", "share", "seconds"]
"""Interventions among the routed steps, the large model's tokens among all, or seconds a question."""

ROUNDS = 400
"""Resamples for the interval."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of a calibration. Raises `ConfigError` for a goal that no threshold can reach."""

    measure: Measure
    value: float

    def __post_init__(self) -> None:
        if self.measure not in get_args(Measure):
            raise unknown_name("measure", str(self.measure), get_args(Measure))
        fine = self.value > 0 if self.measure == "seconds" else 0 <= self.value <= 1
        if not fine:
            rule = "over 0" if self.measure == "seconds" else "a share between 0 and 1"
            raise ConfigError(f"target {self.measure}={self.value!r} cannot work: it must be {rule}")

    @property
    def tolerance(self) -> float:
        """How near counts as met, whatever chance does."""
        return 0.08 * self.value if self.measure == "seconds" else 0.02


@dataclass(frozen=True, slots=True)
class RoutedStep:
    """One routed step: its entropy, its tokens, and the seconds that either model needs for it."""

    entropy: float
    tokens: int
    small_seconds: float
    large_seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One question: its routed steps, and the tokens and seconds of what is not routed."""

    steps: tuple[RoutedStep, ...]
    tokens: int
    large_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SecondsPerToken:
    """Seconds a token of the two models."""

    small: float
    large: float


def sample(done: Completion, pace: SecondsPerToken, answer_by_large: bool) -> Sample:
    """Take from a reply what a threshold acts on; `answer_by_large` says who will write what is not routed."""
    routed = {event.index: event.glimpse.entropy for event in done.routed}
    steps = tuple(
        RoutedStep(
            routed[step.index],
            step.tokens,
            step.seconds if step.engine == "small" else step.tokens * pace.small,
            step.seconds if step.engine == "large" else step.tokens * pace.large,
        )
        for step in done.steps
        if step.index in routed
    )
    rest = sum(step.tokens for step in done.steps if step.index not in routed)
    return Sample(steps, rest, rest * answer_by_large, rest * (pace.large if answer_by_large else pace.small))


def points(samples: Sequence[Sample]) -> Iterator[CurvePoint]:
    """Yield what every threshold that makes a difference would give, from none to all steps for the large model."""
    ranked = sorted((step for one in samples for step in one.steps), key=lambda step: -step.entropy)
    tokens = sum(one.tokens for one in samples) + sum(step.tokens for step in ranked)
    large = sum(one.large_tokens for one in samples)
    seconds = sum(one.seconds for one in samples) + sum(step.small_seconds for step in ranked)
    for at in range(len(ranked) + 1):
        if at in (0, len(ranked)) or ranked[at - 1].entropy > ranked[at].entropy:
            yield CurvePoint(
                _between(ranked, at), at / max(1, len(ranked)), large / max(1, tokens), seconds / len(samples)
            )
        if at < len(ranked):
            large += ranked[at].tokens
            seconds += ranked[at].large_seconds - ranked[at].small_seconds


def cut(samples: Sequence[Sample], goal: Goal) -> CurvePoint:
    """Return the point of the curve that is nearest to the goal; of several the one with the fewest interventions."""
    return min(points(samples), key=lambda point: abs(value(point, goal.measure) - goal.value))


def interval(samples: Sequence[Sample], goal: Goal) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the threshold: questions are drawn anew, steps of one stay together."""

    def threshold(draw: Draw) -> float:
        drawn = [samples[at] for at in draw]
        return cut(drawn, goal).threshold if any(one.steps for one in drawn) else math.nan

    return Bootstrap(len(samples), rounds=ROUNDS).interval(threshold)


def value(point: CurvePoint, measure: Measure) -> float:
    """Return one of the measures of a point."""
    return {"rate": point.rate, "share": point.large_token_share, "seconds": point.seconds or 0.0}[measure]


def _between(ranked: Sequence[RoutedStep], at: int) -> float:
    """Return a threshold that the first `at` steps are over and the others are not."""
    if not ranked:
        return 0.0
    if at == 0:
        return ranked[0].entropy * 1.05 + 1e-6
    below = ranked[at].entropy if at < len(ranked) else 0.0
    return (ranked[at - 1].entropy + below) / 2
