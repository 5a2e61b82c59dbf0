"""Recorded runs for tests of what shows them."""

from datetime import UTC, datetime
from typing import Any

from glimp_core import EntropyThreshold, ModelUsage, Step, ToolCallDelta
from glimp_core.events import Delta, Event, Finish, Routed, Start
from glimp_core.trace import Broken, Head, Run
from glimp_core.types import Decision, Glimpse, ToolCall


def recorded(
    *steps: tuple[float, str],
    question: str | None = "2+2?",
    answer: str = "It is 4.",
    threshold: float | None = 1.0,
    calls: tuple[ToolCall, ...] = (),
    broken: str = "",
    pace: float = 0.01,
    **named: Any,
) -> Run:
    """A run of steps (entropy, text), a character a token; a token takes the small model `pace`, the large 5 times.

    `named` may give `id`, `small` and `large`.
    """
    policy = repr(EntropyThreshold(threshold or 0))
    head = Head(
        run=named.get("id", "abcdef0123456789"), time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        small=named.get("small", "tiny"), large=named.get("large", "big"), policy=policy,
        entropy="full", on_tie=False, question=question, start=Start("thinking", 4),
    )  # fmt: skip
    events: list[Event] = [head.start]
    for index, (entropy, text) in enumerate(steps):
        over = threshold is not None and entropy > threshold
        usage = ModelUsage(glimpses=1, prefill_seconds=pace)
        events.append(Routed(index, Glimpse(entropy, text=text[:1], usage=usage), Decision(over, "why", threshold)))
        events += _written(index, "thinking", text, over, pace, entropy)
    if not broken:
        events += _written(len(steps), "answer", answer, True, pace, None)
        events += [ToolCallDelta(at, call=call) for at, call in enumerate(calls)]
        seconds = sum(event.seconds for event in events if isinstance(event, Step))
        events.append(Finish("tool_calls" if calls else "stop", "close", seconds))
    return Run(head, events, Broken(run=head.run, error=broken, message="out of memory") if broken else None)


def _written(index: int, phase: Any, text: str, large: bool, pace: float, entropy: float | None) -> list[Event]:
    writer: Any = "large" if large else "small"
    writing, glimpsing = len(text) * pace * (5 if large else 1), 0.0 if entropy is None else pace
    usage = ModelUsage(forwards=len(text), decode_tokens=len(text), decode_seconds=writing)
    step = Step(index, phase, writer, text, len(text), glimpsing + writing, "break", entropy, usage)
    return [Delta(index, phase, writer, text, ()), step]
