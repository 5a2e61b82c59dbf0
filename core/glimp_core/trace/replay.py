"""Replay: the decisions of another policy on a recorded request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from glimp_core.completion import Completion
from glimp_core.policy import Policy
from glimp_core.types import Decision, Role, Step


@dataclass(frozen=True, slots=True)
class Replay:
    """A policy's `decisions` on the glimpses of a recorded request.

    They are exact up to `first_change`, the first decision that differs from the recorded one (None: all are equal).
    After it the models would have written other text. So the later decisions, and all figures, are an estimate that
    keeps the recorded steps. `lowest_rate` and `highest_rate` are the bounds of the intervention rate of any chain with
    the same number of steps: all steps after the change go to one model, or to the other. `seconds` computes changed
    steps with the speed of their new writer in other steps, None if it wrote none.
    """

    decisions: tuple[Decision, ...]
    first_change: int | None
    interventions: int
    lowest: int
    highest: int
    large_tokens: int
    tokens: int
    seconds: float | None

    @property
    def exact(self) -> bool:
        """Whether no decision differs, so that the figures are those of the recorded request."""
        return self.first_change is None

    @property
    def intervention_rate(self) -> float:
        """Share of the routed steps that would go to the large model."""
        return _share(self.interventions, len(self.decisions))

    @property
    def lowest_rate(self) -> float:
        """The least that the intervention rate can be, for as many steps."""
        return _share(self.lowest, len(self.decisions))

    @property
    def highest_rate(self) -> float:
        """The most that the intervention rate can be, for as many steps."""
        return _share(self.highest, len(self.decisions))

    @property
    def large_token_share(self) -> float:
        """Share of all tokens that the large model would write."""
        return _share(self.large_tokens, self.tokens)

    def __add__(self, other: "Replay") -> "Replay":
        """Put the replays of two requests together; `first_change` is then only None or not."""
        changed = [at for at in (self.first_change, other.first_change) if at is not None]
        return Replay(
            self.decisions + other.decisions,
            min(changed) if changed else None,
            self.interventions + other.interventions,
            self.lowest + other.lowest,
            self.highest + other.highest,
            self.large_tokens + other.large_tokens,
            self.tokens + other.tokens,
            None if self.seconds is None or other.seconds is None else self.seconds + other.seconds,
        )


def replay(done: Completion, policy: Policy) -> Replay:
    """Return the decisions of a policy on every glimpse of a recorded request (`Run.completion`).

    Raises `ConfigError` if the policy needs another kind of entropy than the recorded one.
    """
    decisions, steps = _decide(done, policy)
    pairs = zip(decisions, done.routed, strict=True)
    first = next((at for at, (new, old) in enumerate(pairs) if new.intervene != old.decision.intervene), None)
    exact = decisions if first is None else decisions[: first + 1]
    certain = sum(decision.intervene for decision in exact)
    return Replay(
        decisions=tuple(decisions),
        first_change=first,
        interventions=sum(decision.intervene for decision in decisions),
        lowest=certain,
        highest=certain + len(decisions) - len(exact),
        large_tokens=sum(step.tokens for step in steps if step.engine == "large"),
        tokens=sum(step.tokens for step in steps),
        seconds=_seconds(done.steps, steps),
    )


def _decide(done: Completion, policy: Policy) -> tuple[list[Decision], list[Step]]:
    """Return the decisions, and the steps with the writers that these give them."""
    steps = list(done.steps)
    decisions = []
    for routed in done.routed:
        decision = policy.decide(routed.glimpse, steps[: routed.index])
        decisions.append(decision)
        changed = decision.intervene != routed.decision.intervene
        if changed and routed.index < len(steps):  # the last glimpse of a request that broke off has no step
            steps[routed.index] = replace(steps[routed.index], engine=decision.engine)
    return decisions, steps


def _seconds(recorded: Sequence[Step], replayed: Sequence[Step]) -> float | None:
    total = 0.0
    for old, new in zip(recorded, replayed, strict=True):
        pace = old.seconds / old.tokens if old.engine == new.engine and old.tokens else _pace(recorded, new.engine)
        if pace is None:
            return None
        total += pace * old.tokens
    return total


def _pace(steps: Iterable[Step], writer: Role) -> float | None:
    """Return the seconds a token of one writer, glimpses and reading included."""
    written = [step for step in steps if step.engine == writer]
    tokens = sum(step.tokens for step in written)
    return sum(step.seconds for step in written) / tokens if tokens else None


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
