"""A reply as a whole, its usage and its summary: folds over the events of `GlimpRouter.stream`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from glimp_core.events import Delta, Event, Finish, Mode, Routed, Start
from glimp_core.types import (
    FinishReason,
    InvalidToolCall,
    ModelUsage,
    Role,
    Step,
    ThinkingEnd,
    ToolCall,
    ToolCallDelta,
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a reply: the prompt (in the large model's tokens), what was written, and each model's part."""

    prompt_tokens: int
    reasoning_tokens: int
    answer_tokens: int
    small: ModelUsage
    large: ModelUsage

    @property
    def completion_tokens(self) -> int:
        """All tokens written: reasoning and answer."""
        return self.reasoning_tokens + self.answer_tokens

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that the model which read the most had in its cache."""
        return min(self.prompt_tokens, max(self.small.cached_tokens, self.large.cached_tokens))


@dataclass(frozen=True, slots=True)
class Summary:
    """How a reply was shared. Rates are of the routed steps, shares of all tokens written.

    `large_alone_seconds` is an estimate from the large model's own measured pace, None without one.
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


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply. `reasoning` and `answer` joined are what the models wrote, tags left out."""

    reasoning: str
    answer: str
    tool_calls: tuple[ToolCall, ...]
    invalid_tool_calls: tuple[InvalidToolCall, ...]
    steps: tuple[Step, ...]
    routed: tuple[Routed, ...]
    usage: Usage
    finish_reason: FinishReason
    start: Start
    finish: Finish

    @classmethod
    def fold(cls, events: Iterable[Event]) -> "Completion":
        """Fold the events of one whole request into its completion."""
        events = list(events)
        start, finish = events[0], events[-1]
        assert isinstance(start, Start), "events of a whole request"
        assert isinstance(finish, Finish), "events of a whole request"
        deltas = [event for event in events if isinstance(event, Delta)]
        steps = tuple(event for event in events if isinstance(event, Step))
        routed = tuple(event for event in events if isinstance(event, Routed))
        calls = [event.call for event in events if isinstance(event, ToolCallDelta)]
        return cls(
            reasoning="".join(delta.text for delta in deltas if delta.phase == "thinking"),
            answer="".join(delta.text for delta in deltas if delta.phase != "thinking"),
            tool_calls=tuple(call for call in calls if isinstance(call, ToolCall)),
            invalid_tool_calls=tuple(call for call in calls if isinstance(call, InvalidToolCall)),
            steps=steps,
            routed=routed,
            usage=_usage(start, steps, routed),
            finish_reason=finish.finish_reason,
            start=start,
            finish=finish,
        )

    def summary(self) -> Summary:
        """Return the figures of this reply."""
        thinking = tuple(step for step in self.steps if step.phase == "thinking")
        interventions = sum(routed.decision.intervene for routed in self.routed)
        return Summary(
            mode=self.start.mode,
            steps=len(self.steps),
            routed_steps=len(self.routed),
            intervention_rate=_share(interventions, len(self.routed)),
            large_token_share=_large_share(self.steps),
            thinking_large_token_share=_large_share(thinking),
            seconds=self.finish.seconds,
            small_seconds=self.usage.small.seconds,
            large_seconds=self.usage.large.seconds,
            large_alone_seconds=_large_alone(self.usage),
            thinking_end=self.finish.thinking_end,
            notes=self.start.notes + self.finish.notes,
        )

    def document(self) -> dict[str, Any]:
        """Return the reply as one JSON-able document (the keys of `glimp run --json`)."""
        usage = self.usage
        return {
            "answer": self.answer,
            "reasoning": self.reasoning,
            "tool_calls": [asdict(call) for call in self.tool_calls],
            "invalid_tool_calls": [asdict(call) for call in self.invalid_tool_calls],
            "finish_reason": self.finish_reason,
            "steps": [
                {"index": s.index, "phase": s.phase, "engine": s.engine, "entropy": s.entropy,
                 "tokens": s.tokens, "seconds": round(s.seconds, 6), "end": s.end}
                for s in self.steps
            ],
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
                "reasoning_tokens": usage.reasoning_tokens,
                "answer_tokens": usage.answer_tokens,
                "small": asdict(usage.small),
                "large": asdict(usage.large),
            },
            "summary": asdict(self.summary()),
        }  # fmt: skip

    def __rich__(self) -> Any:
        """Return what rich prints: the steps, one a line, and the figures."""
        from glimp_core.views import terminal  # rich is loaded by who looks

        return terminal.reply(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from glimp_core.views import page

        return page.cell(self)


def _usage(start: Start, steps: tuple[Step, ...], routed: tuple[Routed, ...]) -> Usage:
    used: dict[Role, ModelUsage] = {"small": ModelUsage(), "large": ModelUsage()}
    for event in routed:
        used["small"] += event.glimpse.usage
    for step in steps:
        used[step.engine] += step.usage
        used["small"] += step.drafting
    reasoning = sum(step.tokens for step in steps if step.phase == "thinking")
    answer = sum(step.tokens for step in steps if step.phase != "thinking")
    return Usage(start.prompt_tokens, reasoning, answer, used["small"], used["large"])


def _large_share(steps: tuple[Step, ...]) -> float:
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
