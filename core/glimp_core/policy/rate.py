"""TargetRate: a policy that reaches a rate of interventions, instead of a threshold."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from glimp_core.errors import ConfigError, unknown_name
from glimp_core.forking import Lock
from glimp_core.policy.baselines import require_share
from glimp_core.policy.interface import require_definition
from glimp_core.types import Decision, Entropy, Glimpse, History

Scope = Literal["request", "router"]
"""What a policy remembers: the steps of the current request, or those of all its requests."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a policy remembers: the latest `entropies`, the number of all `steps`, and of the interventions."""

    entropies: Sequence[float]
    steps: int
    interventions: int

    @classmethod
    def of(cls, history: History, window: int) -> "Seen":
        """Return the steps of one request."""
        routed = [step for step in history if step.entropy is not None]
        entropies = [step.entropy for step in routed[-window:] if step.entropy is not None]
        return cls(entropies, len(routed), sum(step.engine == "large" for step in routed))


class Memory:
    """What a policy remembers of all requests. Copies and pickles contain its current state."""

    def __init__(self, window: int, seen: Seen | None = None):
        seen = seen or Seen((), 0, 0)
        self.lock = Lock()
        self._entropies = deque(seen.entropies, window)
        self._steps, self._interventions = seen.steps, seen.interventions

    def seen(self) -> Seen:
        """Return the current state."""
        return Seen(tuple(self._entropies), self._steps, self._interventions)

    def add(self, entropy: float, intervened: bool) -> None:
        """Add one decision."""
        self._entropies.append(entropy)
        self._steps += 1
        self._interventions += intervened

    def __reduce__(self) -> tuple[Any, ...]:
        with self.lock:
            return Memory, (self._entropies.maxlen, self.seen())


@dataclass(frozen=True, slots=True)
class TargetRate:
    """Intervene at `rate` of the steps: those with the highest entropies among the last `window` steps.

    - Until `warm_up` entropies are known, `start` (in nats) is the threshold. If it is calibrated, use a larger
      `warm_up`.
    - A deviation from the rate is corrected within `slack` steps: after n steps there were rate * n interventions,
      plus or minus `slack` + 1, for any entropies.
    - `hysteresis` (0 to 1) makes changes of the writer rarer by that share and does not change the rate.
    - `scope`: "request" counts each request separately, so equal requests get equal decisions. "router" counts all
      requests that share this object, so hard requests get more interventions than easy ones, and the order matters.

    Raises `ConfigError` for invalid values, and for a glimpse with another kind of entropy.
    """

    rate: float
    entropy: Entropy = "full"
    scope: Scope = "request"
    start: float = 1.0
    warm_up: int = 2
    window: int = 256
    hysteresis: float = 0.1
    slack: int = 8
    memory: Memory = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_share("rate", self.rate)
        require_share("hysteresis", self.hysteresis)
        if self.scope not in get_args(Scope):
            raise unknown_name("scope", str(self.scope), get_args(Scope))
        for name in ("warm_up", "window", "slack"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} cannot work: it is a number of steps, 1 or more")
        object.__setattr__(self, "memory", Memory(self.window))

    def decide(self, glimpse: Glimpse, history: History) -> Decision:
        """Compare the glimpse with the running quantile."""
        require_definition(self, self.entropy, glimpse)
        again = bool(history) and history[-1].engine == "large"
        if self.scope == "request":
            return self._judge(glimpse.entropy, Seen.of(history, self.window), again)
        with self.memory.lock:
            decision = self._judge(glimpse.entropy, self.memory.seen(), again)
            self.memory.add(glimpse.entropy, decision.intervene)
        return decision

    def _judge(self, entropy: float, seen: Seen, again: bool) -> Decision:
        share = self._share(seen, again)
        threshold = self._threshold(seen.entropies, share)
        so_far = f"{seen.interventions} of {seen.steps} so far"
        if math.isinf(threshold):
            return Decision(threshold < 0, f"{'behind' if threshold < 0 else 'ahead of'} rate {self.rate:g}: {so_far}")
        over = entropy > threshold
        return Decision(over, f"H {entropy:.2f} {'over' if over else 'within'} {threshold:.2f}: {so_far}", threshold)

    def _share(self, seen: Seen, again: bool) -> float:
        """Return the share of such steps for the large model now. `again` says that it wrote the last step."""
        aim = self.rate + (self.rate * seen.steps - seen.interventions) / self.slack
        if not 0 < aim < 1:
            return aim
        # A two-state process that enters with probability a(1-s) and stays with a+s(1-a) is in the state for a share a
        # of the time. So hysteresis s does not change the rate.
        return aim + self.hysteresis * (1 - aim) if again else aim * (1 - self.hysteresis)

    def _threshold(self, entropies: Sequence[float], share: float) -> float:
        """Return the entropy that a new one exceeds with probability `share`, given those of earlier steps."""
        if not 0 < share < 1:
            return math.inf if share <= 0 else -math.inf
        if len(entropies) < self.warm_up:
            return self.start
        rank = math.ceil(share * (len(entropies) + 1) - 0.5)
        ranked = sorted(entropies, reverse=True)
        return ranked[min(rank, len(ranked)) - 1] if rank > 0 else math.inf
