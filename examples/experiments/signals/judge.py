"""How well a signal tells right steps from wrong ones, with intervals over questions."""

import random
from collections.abc import Callable, Sequence
from itertools import chain, groupby, pairwise
from math import prod

import torch
from observe import Observation

ROUNDS = 500
"""How often the questions are drawn anew for an interval."""

Questions = Sequence[Sequence[Observation]]
"""The steps of each question, in order."""


def area(questions: Questions, signal: str) -> float | None:
    """Return the area under the receiver operating characteristic: the share of pairs of a wrong and a right step in
    which the signal is larger for the wrong one, ties half. None without a pair."""
    ranked = sorted((o.signals[signal], o.small_wrong) for o in chain(*questions))
    wrong = sum(1 for _, is_wrong in ranked if is_wrong)
    if not 0 < wrong < len(ranked):
        return None
    below, won = 0, 0.0
    for _, group in groupby(ranked, key=lambda pair: pair[0]):
        tied = [is_wrong for _, is_wrong in group]
        here = tied.count(False)
        won += tied.count(True) * (below + here / 2)
        below += here
    return won / (wrong * (len(ranked) - wrong))


def correlation(questions: Questions, signal: str) -> float | None:
    """Return Spearman's rank correlation of a signal with the divergence a token, None if either never changes."""
    steps = list(chain(*questions))
    columns = torch.tensor([[o.signals[signal] for o in steps], [o.kl / o.tokens for o in steps]], dtype=torch.float64)
    if len(steps) < 3 or bool((columns.std(1) == 0).any()):
        return None
    return float(torch.corrcoef(torch.stack([_ranks(column) for column in columns]))[0, 1])


def interval(
    questions: Questions, figure: Callable[[Questions], float | None], seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure, by drawing questions with replacement (percentiles), if there is one."""
    rng = random.Random(seed)
    drawn = (figure(rng.choices(questions, k=len(questions))) for _ in range(ROUNDS))
    values = sorted(value for value in drawn if value is not None)
    return (values[int(0.025 * len(values))], values[int(0.975 * (len(values) - 1))]) if values else None


def silent_share(questions: Questions, threshold: float) -> float | None:
    """Return the share of the small model's wrong steps whose first-token entropy is at most `threshold`."""
    wrong = [o for o in chain(*questions) if o.small_wrong]
    return sum(o.signals["first-entropy"] <= threshold for o in wrong) / len(wrong) if wrong else None


def routed(questions: Questions, signal: str, threshold: float) -> tuple[float, float]:
    """Return the share of questions solved, and of steps by the large model, if it writes the steps above `threshold`.

    Exact for greedy models: a chain follows the right reasoning up to its first wrong step, which is never taken back.
    """
    solved = sum(
        not any(o.large_wrong if o.signals[signal] > threshold else o.small_wrong for o in question)
        for question in questions
    )
    steps = list(chain(*questions))
    return solved / len(questions), sum(o.signals[signal] > threshold for o in steps) / len(steps)


def at_random(questions: Questions, rate: float) -> float:
    """Return the share of questions solved if the large model writes each step with a probability of `rate`."""
    solved = 0.0
    for question in questions:
        right = ((1 - rate) * (not o.small_wrong) + rate * (not o.large_wrong) for o in question)
        solved += prod(right)
    return solved / len(questions)


def threshold_at(questions: Questions, signal: str, rate: float) -> float:
    """Return the threshold above which the share `rate` of the steps lies."""
    values = sorted((o.signals[signal] for o in chain(*questions)), reverse=True)
    return values[min(int(rate * len(values)), len(values) - 1)]


def rates_elsewhere(questions: Questions, signal: str, rate: float, size: int, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % range of the rates on the other questions if `size` of them choose the threshold for `rate`."""
    rng = random.Random(seed)
    rates = []
    for _ in range(ROUNDS):
        drawn = rng.sample(questions, len(questions))
        threshold = threshold_at(drawn[:size], signal, rate)
        rates.append(routed(drawn[size:], signal, threshold)[1])
    rates.sort()
    return rates[int(0.025 * ROUNDS)], rates[int(0.975 * (ROUNDS - 1))]


def threshold_for(questions: Questions, signal: str, close: float) -> float:
    """Return the highest threshold that closes the share `close` of the gap between small and large."""
    small, large = (routed(questions, signal, end)[0] for end in (float("inf"), -float("inf")))
    wanted = small + close * (large - small)
    values = sorted({o.signals[signal] for o in chain(*questions)}, reverse=True)
    return next((value for value in values if routed(questions, signal, value)[0] >= wanted), -float("inf"))


def calibration(questions: Questions, edges: Sequence[float]) -> list[dict[str, float]]:
    """Return, for each bin of first-token entropy, how many steps fall into it, how many of these are wrong, and their
    mean divergence from the large model."""
    rows = []
    for low, high in pairwise(edges):
        inside = [o for o in chain(*questions) if low <= o.signals["first-entropy"] < high]
        if inside:
            wrong = sum(o.small_wrong for o in inside) / len(inside)
            kl = sum(o.kl for o in inside) / len(inside)
            rows.append({"from": low, "to": high, "steps": len(inside), "wrong": wrong, "kl": kl})
    return rows


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the rank of each value, the mean rank where values are equal."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return ((last - counts + last - 1).double() / 2)[inverse]
