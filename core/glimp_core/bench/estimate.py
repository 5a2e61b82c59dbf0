"""The estimated time of a run: before it from a short measurement, and during it from the replies so far."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glimp_core.bench.answering import answer, warmed
from glimp_core.bench.methods import Method, MethodKind
from glimp_core.bench.published import Question
from glimp_core.bench.records import Record
from glimp_core.router import GlimpRouter
from glimp_core.types import Message

MEASURED_TOKENS = 256
"""Tokens of thinking, and of the answer, that a reply of the measurement may have."""

RATE = 0.25
"""Share of the steps that a method without a number gives to the large model, for the estimate."""


@dataclass(frozen=True, slots=True)
class MeasuredPace:
    """Seconds a token of both models, and the tokens of the large model's replies; `cut` says that some were longer."""

    small: float
    large: float
    thinking: float
    answer: float
    cut: bool

    def seconds(self, kind: MethodKind, thinking: float, answer: float) -> float:
        """Return the estimated seconds of a reply with these tokens, without drafts and without a judge's reading."""
        routed = thinking * ((1 - RATE) * self.small + RATE * self.large) + answer * self.large
        return {
            "small": (thinking + answer) * self.small,
            "large": (thinking + answer) * self.large,
            "routed": routed,
            "tried": routed + RATE * thinking * self.small,
        }[kind.work]


def measure(router: GlimpRouter, questions: Sequence[Question], before: Sequence[Message] = ()) -> MeasuredPace:
    """Answer a few questions with both models in few tokens. Raises the errors of `answer`."""
    short = warmed(router, MEASURED_TOKENS, questions[0], before)
    small, large = ([answer(short, Method(name), each, before) for each in questions] for name in ("small", "large"))
    thinking = [sum(step.tokens for step in done.steps if step.phase == "thinking") for done in _whole(large)]
    tokens = sum(record.tokens for record in large) / len(large)
    return MeasuredPace(
        small=_pace(small),
        large=_pace(large),
        thinking=sum(thinking) / max(1, len(thinking)),
        answer=tokens - sum(thinking) / max(1, len(thinking)),
        cut=any(record.thinking_end == "budget" or record.finish_reason == "length" for record in large),
    )


def plan(
    methods: Sequence[Method],
    questions: int,
    repeats: int,
    calibrating: Mapping[str, int],
    pace: MeasuredPace,
    budget: int,
) -> dict[str, Any]:
    """Return the estimated time of a run as a JSON document; `calibrating` has the replies of each method before it.

    `budget` is the most tokens of a reply.
    """
    replies = Counter({method.label: questions * repeats for method in methods})
    kinds = {method.label: method.kind for method in methods}
    replies.update(calibrating)
    total = sum(replies.values())
    measured = sum(n * pace.seconds(kinds[label], pace.thinking, pace.answer) for label, n in replies.items())
    most = sum(n * pace.seconds(kinds[label], budget - pace.answer, pace.answer) for label, n in replies.items())
    return {
        "questions": questions,
        "methods": len(methods),
        "repeats": repeats,
        "replies": total,
        "calibrating_replies": sum(calibrating.values()),
        "tokens_at_most": total * budget,
        "tokens_as_measured": round(total * (pace.thinking + pace.answer)),
        "seconds_as_measured": round(measured, 1),
        "seconds_at_most": round(most, 1),
        "small_seconds_per_token": round(pace.small, 6),
        "large_seconds_per_token": round(pace.large, 6),
        "tokens_of_a_reply": round(pace.thinking + pace.answer, 1),
        "longer_than_measured": pace.cut,
    }


def in_words(cost: Mapping[str, Any]) -> str:
    """Return the result of `plan` as text."""
    small, large = (f"{1000 * cost[f'{name}_seconds_per_token']:.3g} ms" for name in ("small", "large"))
    longer = "; some were longer and were cut, so it will be more" if cost["longer_than_measured"] else ""
    return "\n".join(
        (
            f"{cost['questions']} questions x {cost['methods']} methods x {cost['repeats']} seeds, and "
            f"{cost['calibrating_replies']} replies to calibrate: {cost['replies']} replies",
            f"measured: {small} a token of the small model, {large} of the large one, "
            f"{cost['tokens_of_a_reply']:.0f} tokens a reply{longer}",
            f"about {duration(cost['seconds_as_measured'])} and {cost['tokens_as_measured']:,} tokens, "
            "if replies are as long as those (what drafts save and what a judge reads is not counted)",
            f"at most {duration(cost['seconds_at_most'])} and {cost['tokens_at_most']:,} tokens, "
            "if every reply takes its whole budget",
        )
    )


def duration(seconds: float) -> str:
    """Return a time in the two largest units that it has.

    >>> [duration(each) for each in (0.42, 42, 4200, 420_000)]
    ['0.4 s', '42 s', '1 h 10 min', '116 h 40 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


class Remaining:
    """The remaining time of a run: for each method by the mean of its own replies, or of all replies if it has none."""

    def __init__(self, replies: Mapping[str, int]):
        self._left = Counter(dict(replies))
        self._seconds: dict[str, list[float]] = {}

    @property
    def replies(self) -> int:
        """Replies that are left."""
        return sum(self._left.values())

    def add(self, label: str, seconds: float) -> None:
        """Count one reply."""
        self._left[label] -= 1
        self._seconds.setdefault(label, []).append(seconds)

    @property
    def seconds(self) -> float | None:
        """The estimate, None before the first reply."""
        every = [seconds for each in self._seconds.values() for seconds in each]
        if not every:
            return None
        overall = sum(every) / len(every)
        means = {label: sum(each) / len(each) for label, each in self._seconds.items()}
        return sum(left * means.get(label, overall) for label, left in self._left.items() if left > 0)


def _whole(records: Sequence[Record]) -> list[Any]:
    return [done for record in records if (done := record.completion)]


def _pace(records: Sequence[Record]) -> float:
    return sum(record.seconds for record in records) / max(1, sum(record.tokens for record in records))
