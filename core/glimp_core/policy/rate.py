"""TargetRate: a share of the steps in place of a threshold."""

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
"""What a policy remembers: the steps of the request it decides in, or those of all requests it ever saw."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rate is held over: the latest `entropies`, and how many of all `steps` were interventions."""

    entropies: Sequence[float]
    steps: int
    interventions: int

    @classmethod
    def of(cls, history: History, window: int) -> "Seen":
        """Return what one request has shown."""
        routed = [step for step in history if step.entropy is not None]
        entropies = [step.entropy for step in routed[-window:] if step.entropy is not None]
        return cls(entropies, len(routed), sum(step.engine == "large" for step in routed))


class Memory:
    """What a policy has seen of all requests. Copies and pickles carry the memory as it was."""

    def __init__(self, window: int, seen: Seen | None = None):
        seen = seen or Seen((), 0, 0)
        self.lock = Lock()
        self._entropies = deque(seen.entropies, window)
        self._steps, self._interventions = seen.steps, seen.interventions

    def seen(self) -> Seen:
        """Return what was seen so far."""
        return Seen(tuple(self._entropies), self._steps, self._interventions)

    def add(self, entropy: float, intervened: bool) -> None:
        """Remember one decision."""
        self._entropies.append(entropy)
        self._steps += 1
        self._interventions += intervened

    def __reduce__(self) -> tuple[Any, ...]:
        with self.lock:
            return Memory, (self._entropies.maxlen, self.seen())


@dataclass(frozen=True, slots=True)
class TargetRate:
    """Intervene at `rate` of the steps: those whose entropy is high among the last `window` of them.

    - Until `warm_up` entropies are known, `start` (in nats) is the threshold. Where it is calibrated, trust it longer.
    - What runs ahead of the rate, or behind it, is made up for within `slack` steps: after n steps there were
      rate * n interventions, give or take `slack` and one, whatever the entropies.
    - `hysteresis` (0 to 1) makes a change of writer rarer by that share and leaves the rate as it is.
    - `scope`: "request" counts each request by itself, so that equal requests are decided alike; "router" counts all
      requests that share this object, so that hard ones get more than easy ones, and their order matters.

    Raises `ConfigError` on values that cannot work, or a glimpse of another entropy.
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
        """Say what share of such steps the large model should get now, `again` where it wrote the last one."""
        aim = self.rate + (self.rate * seen.steps - seen.interventions) / self.slack
        if not 0 < aim < 1:
            return aim
        # a chain that enters at a(1-s) and stays at a+s(1-a) is at the large model a share a of the time
        return aim + self.hysteresis * (1 - aim) if again else aim * (1 - self.hysteresis)

    def _threshold(self, entropies: Sequence[float], share: float) -> float:
        """Return the entropy that a new one exceeds with probability `share`, if it is like those seen."""
        if not 0 < share < 1:
            return math.inf if share <= 0 else -math.inf
        if len(entropies) < self.warm_up:
            return self.start
        rank = math.ceil(share * (len(entropies) + 1) - 0.5)
        ranked = sorted(entropies, reverse=True)
        return ranked[min(rank, len(ranked)) - 1] if rank > 0 else math.inf
