"""The figures of a reply: its usage and its summary, computed from its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from glimp_core.events import Finish, Mode, Routed, Start
from glimp_core.prices import Cost
from glimp_core.types import FinishReason, ModelUsage, Role, Step, ThinkingEnd


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a reply: the prompt (in the large model's tokens), the written ones, and each model's part."""

    prompt_tokens: int
    reasoning_tokens: int
    answer_tokens: int
    small: ModelUsage
    large: ModelUsage
    cost: Cost | None = None
    """The cost of the reply, None if the router has no prices."""

    @property
    def completion_tokens(self) -> int:
        """All tokens written: reasoning and answer."""
        return self.reasoning_tokens + self.answer_tokens

    @property
    def cached_tokens(self) -> int:
        """The prompt tokens that were in a cache: the larger count of the two models."""
        return min(self.prompt_tokens, max(self.small.cached_tokens, self.large.cached_tokens))


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a reply. Rates are parts of the routed steps, shares are parts of the written tokens.

    `large_alone_seconds` is an estimate from the large model's speed in this reply, None if it wrote nothing. `cost` is
    None without prices.
    """

    mode: Mode
    steps: int
    routed_steps: int
    intervention_rate: float
    large_token_share: float
    thinking_large_token_share: float
    seconds: float
    small_seconds: float
    large_seconds: float
    large_alone_seconds: float | None
    thinking_end: ThinkingEnd | None
    notes: tuple[str, ...]
    cost: Cost | None = None


class CompletionLike(Protocol):
    """The part of a `Completion` that figures and views need."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, first to last."""
        ...

    @property
    def routed(self) -> tuple[Routed, ...]:
        """The glimpses and decisions."""
        ...

    @property
    def usage(self) -> Usage:
        """Tokens and seconds."""
        ...

    @property
    def finish_reason(self) -> FinishReason:
        """The finish reason."""
        ...

    @property
    def start(self) -> Start:
        """Its first event."""
        ...

    @property
    def finish(self) -> Finish:
        """Its last event."""
        ...


def summarise(reply: CompletionLike) -> Summary:
    """Return the figures of a reply."""
    thinking = tuple(step for step in reply.steps if step.phase == "thinking")
    interventions = sum(routed.decision.intervene for routed in reply.routed)
    return Summary(
        mode=reply.start.mode,
        steps=len(reply.steps),
        routed_steps=len(reply.routed),
        intervention_rate=_share(interventions, len(reply.routed)),
        large_token_share=_large_share(reply.steps),
        thinking_large_token_share=_large_share(thinking),
        seconds=reply.finish.seconds,
        small_seconds=reply.usage.small.seconds,
        large_seconds=reply.usage.large.seconds,
        large_alone_seconds=_large_alone(reply.usage),
        thinking_end=reply.finish.thinking_end,
        notes=reply.start.notes + reply.finish.notes,
        cost=reply.usage.cost,
    )


def usage_of(start: Start, steps: tuple[Step, ...], routed: tuple[Routed, ...]) -> Usage:
    """Add up what the models used."""
    used: dict[Role, ModelUsage] = {"small": ModelUsage(), "large": ModelUsage()}
    for event in routed:
        used["small"] += event.glimpse.usage
    for step in steps:
        used[step.engine] += step.usage
        used["small"] += step.drafting
    reasoning = sum(step.tokens for step in steps if step.phase == "thinking")
    answer = sum(step.tokens for step in steps if step.phase != "thinking")
    cost = start.prices.cost(used, steps) if start.prices else None
    return Usage(start.prompt_tokens, reasoning, answer, used["small"], used["large"], cost)


def _large_share(steps: Sequence[Step]) -> float:
    large = sum(step.tokens for step in steps if step.engine == "large")
    return _share(large, sum(step.tokens for step in steps))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _large_alone(usage: Usage) -> float | None:
    large = usage.large
    if not large.decode_tokens:
        return None
    reading = large.prefill_seconds * min(1.0, usage.prompt_tokens / max(1, large.prefill_tokens))
    return reading + usage.completion_tokens * large.decode_seconds / large.decode_tokens
