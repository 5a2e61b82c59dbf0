"""The geometry of all pictures: a reply as columns, one for each step, with heights in per cent."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from glimp_core.events import Routed
from glimp_core.figures import CompletionLike, summarise
from glimp_core.types import Step

HEADROOM = 1.08
"""How much higher a picture is than the highest thing in it."""


@dataclass(frozen=True, slots=True)
class Column:
    """One step: its entropy and threshold on the scale of the reply, and the seconds of both models up to its end.

    `height` is None for a step that was not glimpsed at, `line` where there was no threshold. `small`, `large` and
    `alone` (the estimate of the large model alone) are per cent of the longest.
    """

    step: Step
    routed: Routed | None
    height: float | None
    line: float | None
    small: float
    large: float
    alone: float | None

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What there is to know about the step, label and value."""
        step, routed = self.step, self.routed
        told = [("written by", f"the {step.engine} model"), ("tokens", str(step.tokens))]
        told += [("seconds", seconds(step.seconds)), ("ended by", ENDS[step.end])]
        if routed is None:
            return told
        glimpse, decision = routed.glimpse, routed.decision
        told.insert(
            0, ("entropy", f"{glimpse.entropy:.3f} nats" + ("" if glimpse.definition == "full" else ", top 20"))
        )
        if decision.threshold is not None:
            told.insert(1, ("threshold", f"{decision.threshold:.3f} nats"))
        if glimpse.text:
            sure = f", {glimpse.probability:.0%}" if glimpse.probability else ""
            told.append(("likeliest first token", f"{glimpse.text!r}{sure}"))
        return [*told, ("decided", decision.reason)] if decision.reason else told


def without_text(step: Step) -> str:
    """Return what a step did that wrote no word."""
    return "ends the thinking" if step.end == "close" else f"ends with {ENDS[step.end]}"


ENDS = {
    "break": "a paragraph break",
    "close": "the closing tag",
    "eos": "the end of the reply",
    "length": "its token limit",
    "stop": "a stop string",
    "failure": "a failure of the model",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """The columns of a reply, and what the tops of their two scales mean."""

    columns: tuple[Column, ...]
    most_nats: float
    most_seconds: float

    @property
    def routed(self) -> bool:
        """Whether any step was glimpsed at."""
        return any(column.routed for column in self.columns)

    @property
    def has_words(self) -> bool:
        """Whether any text was recorded."""
        return any(column.step.text for column in self.columns)

    @property
    def has_line(self) -> bool:
        """Whether any step was compared with a threshold."""
        return any(column.line is not None for column in self.columns)

    @property
    def threshold(self) -> float | None:
        """The threshold of all steps, None if they had none or several."""
        given = {
            column.routed.decision.threshold for column in self.columns if column.routed and column.line is not None
        }
        return given.pop() if len(given) == 1 else None

    @property
    def threshold_line(self) -> float:
        """The height of that threshold."""
        return next((column.line for column in self.columns if column.line is not None), 0.0)


def picture(done: CompletionLike) -> Picture:
    """Draw a reply."""
    routed = {event.index: event for event in done.routed}
    seconds = _seconds(done, routed)
    nats = _top(value for event in done.routed for value in (event.glimpse.entropy, event.decision.threshold))
    alone = summarise(done).large_alone_seconds
    most = max([small + large for small, large in seconds] + [alone or 0.0, 1e-9]) * HEADROOM
    tokens, written = max(1, sum(step.tokens for step in done.steps)), 0
    columns = []
    for step, (small, large) in zip(done.steps, seconds, strict=True):
        written += step.tokens
        event = routed.get(step.index)
        columns.append(
            Column(
                step=step,
                routed=event,
                height=None if event is None else _percent(event.glimpse.entropy, nats),
                line=_line(event, nats),
                small=_percent(small, most),
                large=_percent(large, most),
                alone=None if alone is None else _percent(alone * written / tokens, most),
            )
        )
    return Picture(tuple(columns), nats, most)


def seconds(value: float) -> str:
    """Return a time in words.

    >>> [seconds(value) for value in (0.00042, 0.042, 4.2, 420.0)]
    ['0.4 ms', '42 ms', '4.2 s', '420 s']
    """
    if value < 0.9995:
        return f"{value * 1000:.0f} ms" if value >= 0.001 else f"{value * 1000:.1f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def nats(value: float) -> str:
    """Return an entropy with as many digits as it needs.

    >>> [nats(value) for value in (0.0004, 0.017, 0.3, 2.0)]
    ['0.000', '0.017', '0.30', '2.00']
    """
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _seconds(done: CompletionLike, routed: dict[int, Routed]) -> list[tuple[float, float]]:
    """Return the seconds of the small and the large model up to each step: glimpses and drafts are the small one's."""
    small, large, sums = 0.0, 0.0, []
    for step in done.steps:
        aside = routed[step.index].glimpse.usage.seconds if step.index in routed else 0.0
        aside = min(step.seconds, aside + step.drafting.seconds) if step.engine == "large" else step.seconds
        small += aside
        large += step.seconds - aside
        sums.append((small, large))
    return sums


def _top(values: Iterable[float | None]) -> float:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return max([*finite, 1e-9]) * HEADROOM


def _line(event: Routed | None, nats: float) -> float | None:
    if event is None or event.decision.threshold is None or math.isinf(event.decision.threshold):
        return None
    return _percent(event.decision.threshold, nats)


def _percent(value: float, whole: float) -> float:
    return round(min(100.0, 100 * value / whole), 2)
