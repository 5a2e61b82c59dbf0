"""Entropy of a next-token distribution, in nats, from log-probabilities (torch has its own in `local`).

The threshold of a policy belongs to one definition: the full vocabulary (the paper, section 3) or the
20 likeliest tokens renormalised (the authors' code, never above ln 20).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass


def entropy(log_probabilities: Iterable[float]) -> float:
    """Return the entropy of a whole distribution.

    >>> round(entropy([math.log(0.5), math.log(0.5)]), 4)
    0.6931
    """
    return -sum(math.exp(lp) * lp for lp in log_probabilities if lp > -math.inf) + 0.0


def top_entropy(log_probabilities: Iterable[float]) -> float:
    """Return the entropy of the given top tokens alone, renormalised to sum to one.

    >>> round(top_entropy([math.log(0.3), math.log(0.3)]), 4)
    0.6931
    """
    kept = [lp for lp in log_probabilities if lp > -math.inf]
    total = math.log(sum(math.exp(lp) for lp in kept))
    return entropy(lp - total for lp in kept)


def paper_code_entropy(top: Iterable[tuple[str, float]]) -> float:
    """Return the entropy that the authors' code computes of the likeliest tokens, given likeliest first.

    It keys them by their text, so that of several ids with one text the last, least likely one stands.

    >>> round(paper_code_entropy([("a", math.log(0.5)), ("b", math.log(0.25)), ("b", math.log(0.1))]), 4)
    0.4506
    """
    return top_entropy(dict(top).values())


@dataclass(frozen=True, slots=True)
class TokenMeasure:
    """How sure a model was of tokens that it wrote, summed over them, in nats. Adds up with `+`.

    `entropy` is that of the raw distributions they came from, `surprisal` their negative log-probability in them.
    """

    entropy: float = 0.0
    surprisal: float = 0.0

    def __add__(self, other: "TokenMeasure") -> "TokenMeasure":
        return TokenMeasure(self.entropy + other.entropy, self.surprisal + other.surprisal)
