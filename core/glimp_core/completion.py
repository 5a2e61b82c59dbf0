"""A reply as a whole: a fold over the events of `GlimpRouter.stream`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from glimp_core.events import Delta, Event, Finish, Routed, Start
from glimp_core.figures import Summary, Usage, summarise, usage_of
from glimp_core.types import FinishReason, InvalidToolCall, Step, ToolCall, ToolCallDelta


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete reply. `reasoning` and `answer`, joined, are the text of the models without thinking tags."""

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
        """Return the completion of the events of one complete request."""
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
            usage=usage_of(start, steps, routed),
            finish_reason=finish.finish_reason,
            start=start,
            finish=finish,
        )

    def summary(self) -> Summary:
        """Return the figures of this reply."""
        return summarise(self)

    def document(self) -> dict[str, Any]:
        """Return the reply as a JSON document with the keys of `glimp run --json`."""
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
                "cost": usage.cost and asdict(usage.cost),
            },
            "summary": asdict(self.summary()),
        }  # fmt: skip

    def __rich__(self) -> Any:
        """Return the text for rich: one line for each step, and the figures."""
        from glimp_core.views import terminal  # rich is loaded only if a reply is shown

        return terminal.reply(self)

    def _repr_html_(self) -> str:
        """Return the HTML for a notebook."""
        from glimp_core.views import notebook

        return notebook.cell(self)
