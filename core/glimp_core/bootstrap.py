"""Error bars by resampling questions: the same resamples for every method, so that differences are paired."""

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

Draw: TypeAlias = Sequence[int]
"""Positions of questions, drawn with replacement."""

Statistic: TypeAlias = Callable[[Draw], float]
"""A figure of some questions; NaN if they do not give one."""

ROUNDS = 2000
LEVEL = 0.95


class Bootstrap:
    """Percentile intervals over `n` questions; the same seed gives the same resamples."""

    def __init__(self, n: int, seed: int = 0, rounds: int = ROUNDS):
        rng = random.Random(seed)
        self.everything = range(n)
        self._draws = [rng.choices(self.everything, k=n) for _ in range(rounds)]

    def interval(self, statistic: Statistic, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval that holds `level` of the statistic's resampled values; NaN if it has none.

        >>> Bootstrap(4).interval(lambda draw: 1.0)
        (1.0, 1.0)
        """
        values = sorted(value for value in map(statistic, self._draws) if not math.isnan(value))
        if not values:
            return math.nan, math.nan
        beyond = (1 - level) / 2
        return values[int(beyond * (len(values) - 1))], values[math.ceil((1 - beyond) * (len(values) - 1))]


def mean(values: Sequence[float]) -> Statistic:
    """Return the statistic that is the mean of `values`, one a question.

    >>> mean([0.0, 1.0])([0, 1, 1, 1])
    0.75
    """
    return lambda draw: math.fsum(values[at] for at in draw) / len(draw)


def ratio(above: Sequence[float], below: Sequence[float]) -> Statistic:
    """Return the statistic that is the sum of `above` over the sum of `below`, as for a rate of steps.

    >>> ratio([1, 2], [2, 2])([0, 1])
    0.75
    """

    def statistic(draw: Draw) -> float:
        whole = math.fsum(below[at] for at in draw)
        return math.fsum(above[at] for at in draw) / whole if whole else math.nan

    return statistic
