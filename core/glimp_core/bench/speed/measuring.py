"""What rows are made of: a pair under measurement, ratios of times taken in turn, and figures with their targets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from glimp_core.completion import Completion
from glimp_core.config import RouterConfig
from glimp_core.context import Context
from glimp_core.local.local_engine import LocalEngine
from glimp_core.policy import Policy
from glimp_core.router import GlimpRouter
from glimp_core.types import Request, SamplingParams

GREEDY = SamplingParams(temperature=0)

STEP, ANSWER = 15, 16
"""The longest step, so that there are switches to measure, and the longest answer, which is no part of the routing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `value` against `target`; `at_least` says which way is good. `note` says on what it was measured."""

    what: str
    value: float
    target: float
    at_least: bool
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the promise holds."""
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Bench:
    """A pair, a question that it answers at length, and how often to measure."""

    small: LocalEngine
    large: LocalEngine
    question: str
    config: RouterConfig
    rounds: int = 5

    @classmethod
    def of(cls, router: GlimpRouter, question: str, tokens: int, rounds: int = 5) -> "Bench":
        """Return one that measures on up to `tokens` routed tokens: thinking, or the reply of a pair that has none."""
        small, large, config = router.small, router.large, router.config
        assert isinstance(small, LocalEngine)
        assert isinstance(large, LocalEngine)
        with Context(Request(({"role": "user", "content": question},)), config.reasoning) as context:
            thinks = large.prepare(context).thinking == "open"
        made = replace(
            config,
            reasoning=config.reasoning if thinks else "inline",
            max_step_tokens=STEP,
            max_reasoning_tokens=tokens,
            max_answer_tokens=ANSWER if thinks else tokens,
        )
        return cls(small, large, question, made, rounds)

    def run(self, policy: Policy, question: str | None = None, **changes: Any) -> Completion:
        """Answer once, cold."""
        self.small.forget()
        self.large.forget()
        return self.router(policy, **changes).generate(question or self.question, sampling=GREEDY)

    def router(self, policy: Policy, **changes: Any) -> GlimpRouter:
        """Return a router with a policy, and settings other than the bench's."""
        small, large = changes.pop("small", self.small), changes.pop("large", self.large)
        config = replace(self.config, **changes)
        return GlimpRouter(small, large, policy, config)

    def ratio(self, one: Callable[[], float], other: Callable[[], float]) -> float:
        """Return the median of one / other, timed in turn after a warm-up of both."""
        one(), other()
        return median(one() / other() for _ in range(self.rounds))


def padded(engine: LocalEngine, question: str, tokens: int) -> str:
    """Return a question of about so many tokens."""
    piece = question + " "
    return piece * max(1, tokens // len(engine.encode(piece)))


def prompt_ids(engine: LocalEngine, question: str, reasoning: Any = "auto") -> list[int]:
    """Return the ids of a question's prompt."""
    with Context(Request(({"role": "user", "content": question},)), reasoning) as context:
        return list(engine.conversation(context).prompt.token_ids)
