"""A run as one web page: the accuracy and the cost of each method, and every reply step by step.

The page loads nothing, and all text of users and models is escaped.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glimp_core.bench.methods import KINDS, Method
from glimp_core.bench.published import Question
from glimp_core.bench.records import Ledger, Record
from glimp_core.bench.report import label
from glimp_core.views.columns import Picture, picture
from glimp_core.views.notebook import environment, source

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 130, 14, 34
TRACED = 4_000_000
"""Characters of replies that a page shows step by step; beyond it a reply is its answer alone, and the page says so."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One method on a frontier: its place and whiskers in units of the picture, and the height of its name."""

    name: str
    family: str
    x: float
    y: float
    left: float
    right: float
    low: float
    high: float
    text: float
    says: str


@dataclass(frozen=True, slots=True)
class Frontier:
    """Accuracy against what it costs: the spots, and the ticks of both axes as place and text."""

    title: str
    spots: tuple[Spot, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class DrawnReply:
    """One reply: its record, and its steps where they are shown."""

    id: str
    record: Record
    shown: bool

    @property
    def steps(self) -> Picture | None:
        """The columns, None where the reply failed or is left out."""
        done = self.record.completion if self.shown else None
        return picture(done) if done else None


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One question, with the share of right replies by method, and its replies of the first repeat."""

    id: str
    question: Question
    shares: tuple[float, ...]
    replies: tuple[DrawnReply, ...]


def results_page(
    document: Mapping[str, Any],
    ledger: Ledger,
    methods: Sequence[Method],
    questions: Sequence[Question],
    traced: int = TRACED,
) -> str:
    """Return a run as one page: `document` is that of `summarise`, with what the command added to it."""
    rows = document["methods"]
    asked = list(_asked(ledger, methods, questions, document.get("repeats", 1), traced))
    replies = [reply for each in asked for reply in each.replies]
    return (
        environment()
        .get_template("bench.html")
        .render(
            document={**UNSAID, **document},
            rows=rows,
            label=label,
            says={row["method"]: KINDS[method.name].says for row, method in zip(rows, methods, strict=True)},
            names=[label(row) for row in rows],
            frontiers=[frontier(rows, *axis) for axis in AXES],
            against={row["against"]: row for row in document["comparisons"]},
            asked=asked,
            left_out=sum(not reply.shown for reply in replies),
            replies=len(replies),
            size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
            css=source("style.css"),
            js=source("page.js"),
        )
    )


UNSAID: Mapping[str, Any] = {
    "set": "questions", "small": "small", "large": "large", "preset": None, "command": None, "commit": None,
    "machine": None, "calibration": None, "at_once": 1,
}  # fmt: skip
"""What the page says of a run of which nothing is known but its figures."""

AXES = (
    ("Accuracy against time, seconds a question", "seconds_per_question", "seconds_interval", ""),
    ("Accuracy against the large model's share of the tokens", "large_token_share", "large_token_share_interval", "%"),
)
"""Title, figure, its interval, and the unit, of what a method costs."""


def frontier(rows: Sequence[Mapping[str, Any]], title: str, figure: str, interval: str, unit: str) -> Frontier:
    """Place the methods by accuracy and by one of their costs, on axes that begin at 0; baselines lie undermost."""
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if unit == "%" else round_ticks(max(row[interval][1] for row in rows))
    across, up = Scale(ticks[-1], LEFT, WIDTH - RIGHT), Scale(1.0, HEIGHT - BOTTOM, TOP)
    spots = [
        Spot(
            name=label(row), family=family(row["method"]), x=across.at(row[figure]), y=up.at(row["accuracy"]),
            left=across.at(row[interval][0]), right=across.at(row[interval][1]),
            low=up.at(row["interval"][0]), high=up.at(row["interval"][1]), text=0.0,
            says=f"{label(row)}: {row['accuracy']:.1%} right, {shown(row[figure], unit)}",
        )
        for row in rows
    ]  # fmt: skip
    return Frontier(
        title,
        tuple(sorted(apart(spots), key=lambda spot: spot.family != "other")),
        tuple((across.at(tick), shown(tick, unit)) for tick in ticks),
        tuple((up.at(part / 4), f"{part / 4:.0%}") for part in range(5)),
    )


def round_ticks(most: float) -> list[float]:
    """Return three to six round values from 0 on, the last of which is `most` or more.

    >>> round_ticks(13.4), round_ticks(0.0)
    ([0.0, 5.0, 10.0, 15.0], [0.0, 1.0])
    """
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most))
    step = next(power * part for part in (0.2, 0.5, 1.0, 2.0) if power * part * 5 >= most)
    return [round(step * at, 10) for at in range(math.ceil(round(most / step, 6)) + 1)]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values between 0 and `most` to places between `start` and `end`."""

    most: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a value.

        >>> Scale(2.0, 100, 0).at(0.5)
        75.0
        """
        return round(self.start + (self.end - self.start) * value / self.most, 1)


def apart(spots: Sequence[Spot]) -> list[Spot]:
    """Give each spot's name a height of its own in one column, near the spot: pushed down, then up from the bottom."""
    step, ranked = (HEIGHT - TOP - BOTTOM) / max(len(spots), 16), sorted(spots, key=lambda spot: (spot.y, -spot.x))
    heights: list[float] = []
    for spot in ranked:
        heights.append(max(spot.y, heights[-1] + step if heights else TOP))
    limit = float(HEIGHT - BOTTOM)
    for at in reversed(range(len(heights))):
        limit = heights[at] = min(heights[at], limit)
        limit -= step
    return [replace(spot, text=round(height, 1)) for spot, height in zip(ranked, heights, strict=True)]


def family(method: str) -> str:
    """Return which of three colours a method has: a single model's, glimp's, or a baseline's."""
    name = method.partition("@")[0]
    if name == "small":
        return "small"
    return "large" if name in ("large", "large-draft") else "glimp" if name in ("glimp", "glimp-draft") else "other"


def shown(value: float, unit: str) -> str:
    """Return a cost in its unit.

    >>> shown(0.25, "%"), shown(0.0423, ""), shown(12.34, "")
    ('25%', '0.042 s', '12.3 s')
    """
    return f"{value:.0%}" if unit == "%" else f"{value:.3g} s"


def _asked(
    ledger: Ledger, methods: Sequence[Method], questions: Sequence[Question], repeats: int, traced: int
) -> Iterator[AskedQuestion]:
    written = 0
    for number, question in enumerate(questions):
        replies, shares = [], []
        for at, method in enumerate(methods):
            records = [record for n in range(repeats) if (record := ledger.get(method, question, n))]
            shares.append(sum(record.correct for record in records) / max(1, len(records)))
            written += len(records[0].reasoning) + len(records[0].answer)
            replies.append(DrawnReply(f"q{number}-{at}", records[0], written <= traced))
        yield AskedQuestion(f"q{number}", question, tuple(shares), tuple(replies))
