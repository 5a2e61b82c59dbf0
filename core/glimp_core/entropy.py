"""Entropy of a next-token distribution, in nats, from log-probabilities (torch has its own in `local`).

The threshold of a policy belongs to one definition: the full vocabulary (the paper, section 3) or the
20 likeliest tokens renormalised (the authors' code, never above ln 20).
"""

import math
from collections.abc import Iterable


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
