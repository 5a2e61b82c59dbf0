"""Traces as HTML: one file that loads nothing. All text of users and models is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from glimp_core.completion import Completion
from glimp_core.figures import Summary
from glimp_core.trace.console import broken
from glimp_core.trace.overview import Overview
from glimp_core.trace.reading import Run
from glimp_core.trace.replay import Replay
from glimp_core.trace.schema import SCHEMA
from glimp_core.views.columns import Picture, nats, picture, seconds
from glimp_core.views.notebook import Tile, environment, percent, source, tiles

SHOWN = 200
"""How many requests one page shows in full; beyond it the slowest are chosen, and the page says so."""


@dataclass(frozen=True)
class Report:
    """One request on the page."""

    id: str
    run: Run
    done: Completion
    shown: bool

    @property
    def question(self) -> str:
        """What was asked, as far as it was recorded."""
        return self.run.head.question or f"Request {self.run.head.run[:8]}, text not recorded"

    @property
    def heading(self) -> str:
        """The question in one line."""
        line = " ".join(self.question.split())
        return line if len(line) <= 160 else line[:159] + "…"

    @cached_property
    def summary(self) -> Summary:
        """The figures."""
        return self.done.summary()

    @cached_property
    def drawn(self) -> Picture:
        """The columns."""
        return picture(self.done)

    @property
    def broken(self) -> str:
        """How it broke off."""
        return broken(self.run)

    @property
    def tiles(self) -> list[Tile]:
        """The figures as label, value and note."""
        return tiles(self.done)


def page(runs: Sequence[Run], replays: Sequence[tuple[str, Replay]] = (), shown: int = SHOWN) -> str:
    """Return traces as one page, the `shown` slowest runs in full; it needs no network and no other file."""
    told = Overview.of(runs)
    reports = [(run, run.completion) for run in runs]
    reports.sort(key=lambda report: -report[1].finish.seconds)
    made = [Report(f"r{at}", run, done, at < shown) for at, (run, done) in enumerate(reports)]
    return environment().get_template("page.html").render(
        heading=made[0].heading if len(made) == 1 else f"{len(made)} requests",
        schema=SCHEMA, reports=made, replays=replays, overview=told, shown=shown,
        css=source("style.css"), js=source("page.js"),
        cut=cut(told), most=max([bin.delegated + bin.intervened for bin in told.histogram], default=1),
        overview_tiles=overview_tiles(told), threshold_note=threshold_note(told),
    )  # fmt: skip


def overview_tiles(told: Overview) -> list[Tile]:
    """Return the figures of many requests."""
    broken_off = told.requests - told.finished
    return [
        ("intervention rate", percent(told.intervention_rate), f"{told.interventions} of {told.routed_steps} steps"),
        ("large model wrote", percent(told.large_token_share), f"of {told.tokens} tokens"),
        ("time", seconds(told.seconds), f"in {told.requests} requests"),
        ("median request", seconds(told.median_seconds), f"slowest {seconds(told.slowest_seconds)}"),
        ("broken off", str(broken_off), f"of {told.requests}"),
    ]


def cut(told: Overview) -> float | None:
    """Return where the one threshold stands in the histogram, in per cent; None if there are none or several."""
    if len(told.thresholds) != 1 or not told.histogram or told.thresholds[0] > told.histogram[-1].high:
        return None
    return round(100 * told.thresholds[0] / told.histogram[-1].high, 2)


def threshold_note(told: Overview) -> str:
    """Say at which threshold the steps were decided."""
    if not told.thresholds:
        return ""
    low, high = told.thresholds[0], told.thresholds[-1]
    return f"threshold {nats(low)}" if low == high else f"thresholds from {nats(low)} to {nats(high)}"
