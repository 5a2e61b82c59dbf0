"""An overview of several requests, computed from their completions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glimp_core.completion import Completion
from glimp_core.trace.reading import Run

BINS = 24


@dataclass(frozen=True, slots=True)
class Bin:
    """The glimpses with an entropy from `low` up to `high`, in nats, by their decision."""

    low: float
    high: float
    delegated: int
    intervened: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The sums of several requests. Rates are parts of the routed steps, shares are parts of the written tokens."""

    requests: int
    finished: int
    steps: int
    routed_steps: int
    interventions: int
    tokens: int
    large_tokens: int
    seconds: float
    median_seconds: float
    slowest_seconds: float
    thresholds: tuple[float, ...]
    histogram: tuple[Bin, ...]

    @property
    def intervention_rate(self) -> float:
        """Share of the routed steps that the large model wrote."""
        return self.interventions / self.routed_steps if self.routed_steps else 0.0

    @property
    def large_token_share(self) -> float:
        """Share of all tokens that the large model wrote."""
        return self.large_tokens / self.tokens if self.tokens else 0.0

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Overview":
        """Return what runs add up to; there must be one at least."""
        replies = [run.completion for run in runs]
        steps = [step for done in replies for step in done.steps]
        decisions = [routed.decision for done in replies for routed in done.routed]
        seconds = sorted(done.finish.seconds for done in replies)
        return cls(
            requests=len(runs),
            finished=sum(run.finished for run in runs),
            steps=len(steps),
            routed_steps=len(decisions),
            interventions=sum(decision.intervene for decision in decisions),
            tokens=sum(step.tokens for step in steps),
            large_tokens=sum(step.tokens for step in steps if step.engine == "large"),
            seconds=sum(seconds),
            median_seconds=(seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2,
            slowest_seconds=seconds[-1],
            thresholds=tuple(sorted({d.threshold for d in decisions if d.threshold is not None})),
            histogram=_histogram(replies),
        )

    def document(self) -> dict[str, Any]:
        """Return the figures as a JSON-able document."""
        return {
            "requests": self.requests,
            "finished": self.finished,
            "steps": self.steps,
            "routed_steps": self.routed_steps,
            "intervention_rate": self.intervention_rate,
            "large_token_share": self.large_token_share,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "median_seconds": self.median_seconds,
            "slowest_seconds": self.slowest_seconds,
            "histogram": [[bin.low, bin.high, bin.delegated, bin.intervened] for bin in self.histogram],
        }


def _histogram(replies: Sequence[Completion]) -> tuple[Bin, ...]:
    glimpses = [(r.glimpse.entropy, r.decision.intervene) for done in replies for r in done.routed]
    glimpses = [(entropy, intervene) for entropy, intervene in glimpses if math.isfinite(entropy)]
    if not glimpses:
        return ()
    width = max(max(entropy for entropy, _ in glimpses), 1e-9) / BINS
    counts = [[0, 0] for _ in range(BINS)]
    for entropy, intervene in glimpses:
        counts[min(int(entropy / width), BINS - 1)][intervene] += 1
    return tuple(Bin(at * width, (at + 1) * width, *count) for at, count in enumerate(counts))
