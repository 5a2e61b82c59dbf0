"""The calibration of methods: their numbers are chosen on other questions than the graded ones, for one equal rate.

In the first round the small model writes everything. The number of a method is then set so that a share of the steps
equal to the rate exceeds it. The steps of a chain depend on the writers of the earlier ones. So a second round runs
with these numbers, and its measurements set the final numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from glimp_core.bench.methods import KINDS, Method
from glimp_core.bench.published import Question
from glimp_core.bench.records import Record
from glimp_core.bench.runner import Running
from glimp_core.errors import ConfigError

ROUNDS = 2
DIGITS = 10
"""Significant digits of a number, so that it is the same one in a file of results."""

NEVER = {"entropy": 1e6, "measure": 1e6, "margin": 0.0, "steps": 0.0}
"""Numbers at which the large model never intervenes."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The questions to choose numbers on, and the rates to have there: all for `glimp`, the first for other methods."""

    questions: Sequence[Question]
    rates: tuple[float, ...] = (0.25,)

    def replies(self, methods: Sequence[Method]) -> int:
        """Return how many replies choosing the numbers takes."""
        return ROUNDS * len(self.questions) * len(self.open(methods))

    @staticmethod
    def open(methods: Sequence[Method]) -> list[str]:
        """Return the names of the methods whose numbers are to be chosen."""
        wanted = [method.kind.like or method.name for method in methods if method.value is None and method.kind.signal]
        return list(dict.fromkeys(wanted))

    def settled(self, methods: Sequence[Method], running: Running) -> list[Method]:
        """Return the methods with their numbers, and after them `glimp` at the other rates.

        Raises what `answer` raises, and `ConfigError` where nothing is routed.
        """
        names = self.open(methods)
        numbers = {name: NEVER[KINDS[name].signal] for name in names}
        found: Mapping[str, list[Record]] = {}
        for _ in range(ROUNDS):
            tried = [Method(name, numbers[name]) for name in names]
            found = dict(zip(names, running.answer_all(tried), strict=True))
            numbers = {name: number(name, found[name], self.rates[0]) for name in names}
        chosen = [
            Method(method.name, numbers[method.kind.like or method.name], method.label)
            if method.value is None and method.kind.signal
            else method
            for method in methods
        ]
        return [*chosen, *self._more(chosen, found)]

    def _more(self, chosen: Sequence[Method], found: Mapping[str, list[Record]]) -> Iterator[Method]:
        """Yield `glimp` at the other rates, where that is another threshold."""
        known = {method.value for method in chosen if method.name == "glimp"}
        for rate in self.rates[1:] if "glimp" in found else ():
            value = number("glimp", found["glimp"], rate)
            if value not in known:
                known.add(value)
                yield Method("glimp", value)


def number(name: str, records: Sequence[Record], rate: float) -> float:
    """Return the number at which a method would have intervened at a share `rate` of the steps in `records`.

    Raises `ConfigError` where there was no step to decide about.
    """
    signal = KINDS[name].signal
    steps = [decision for record in records for decision in record.decisions]
    if not steps:
        raise ConfigError(
            f"method {name} routes nothing on the questions to calibrate on, so there is no number to choose: take two "
            "models that think, or --reasoning inline"
        )
    if signal == "steps":
        return float(round(rate * len(steps) / len(records)))
    under = signal == "margin"
    values = sorted((float(step[signal]) for step in steps if signal in step), reverse=not under)
    chosen = between([*values, 1.0 if under else 0.0], round(rate * len(values)))
    return float(f"{chosen:.{DIGITS}g}")


def between(ranked: Sequence[float], at: int) -> float:
    """Return a number between the first `at` values and the others, in the middle if possible.

    >>> between([4.0, 2.0, 1.0], 1), between([4.0, 2.0, 1.0], 0)
    (3.0, 4.0)
    """
    return (ranked[at - 1] + ranked[at]) / 2 if at else ranked[0]
