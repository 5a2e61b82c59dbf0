"""Traces and replies as HTML: one file that loads nothing, in which every word of users and models is escaped."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from glimp_core.completion import Completion, Summary
from glimp_core.trace import SCHEMA, Overview, Replay, Run
from glimp_core.views.columns import Column, Picture, nats, picture, seconds
from glimp_core.views.terminal import broken

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 200
"""How many requests one page shows in full; beyond it the slowest are chosen, and the page says so."""

Tile = tuple[str, str, str]


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


def page(runs: Sequence[Run], replays: Sequence[tuple[str, Replay]] = ()) -> str:
    """Return traces as one page for the browser; it needs no network and no other file."""
    told = Overview.of(runs)
    reports = [(run, run.completion) for run in runs]
    reports.sort(key=lambda report: -report[1].finish.seconds)
    made = [Report(f"r{at}", run, done, at < SHOWN) for at, (run, done) in enumerate(reports)]
    return _environment().get_template("page.html").render(
        heading=made[0].heading if len(made) == 1 else f"{len(made)} requests",
        schema=SCHEMA, reports=made, replays=replays, overview=told, shown=SHOWN,
        css=_source("style.css"), js=_source("page.js"),
        cut=cut(told), most=max([bin.delegated + bin.intervened for bin in told.histogram], default=1),
        overview_tiles=overview_tiles(told), threshold_note=threshold_note(told),
    )  # fmt: skip


def cell(done: Completion) -> str:
    """Return a reply as a fragment for a notebook."""
    template = _environment().get_template("cell.html")
    name = f"g{uuid.uuid4().hex[:8]}"
    return template.render(done=done, drawn=picture(done), figures=tiles(done), id=name, css=_source("style.css"))


def tiles(done: Completion) -> list[Tile]:
    """Return the figures of a reply."""
    told, usage = done.summary(), done.usage
    steps = f"{sum(r.decision.intervene for r in done.routed)} of {told.routed_steps} steps"
    alone = told.large_alone_seconds
    return [
        ("intervention rate", percent(told.intervention_rate), steps),
        ("large model wrote", percent(told.large_token_share), f"of {usage.completion_tokens} tokens"),
        ("time", seconds(told.seconds), ""),
        ("large model alone", "unknown" if alone is None else seconds(alone), "" if alone is None else "estimate"),
        ("ended", done.finish_reason, f"thinking: {told.thinking_end}" if told.thinking_end else ""),
    ]


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
    """Return where the one threshold stands in the histogram, in per cent; None where there are none or several."""
    if len(told.thresholds) != 1 or not told.histogram or told.thresholds[0] > told.histogram[-1].high:
        return None
    return round(100 * told.thresholds[0] / told.histogram[-1].high, 2)


def threshold_note(told: Overview) -> str:
    """Say at which threshold the steps were decided."""
    if not told.thresholds:
        return ""
    low, high = told.thresholds[0], told.thresholds[-1]
    return f"threshold {nats(low)}" if low == high else f"thresholds from {nats(low)} to {nats(high)}"


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{share:.0%}"


def title(column: Column) -> str:
    """Say in a few words which step a column is."""
    step = column.step
    entropy = "" if column.routed is None else f" · H {nats(column.routed.glimpse.entropy)}"
    return f"{'answer' if step.phase == 'answer' else f'step {step.index}'} · {step.engine}{entropy}"


def part(column: Column) -> str:
    """Return the small model's part of a column's seconds."""
    return f"{column.small / max(column.small + column.large, 1e-9):.4f}"


@cache
def _environment() -> Environment:
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    made.globals.update(seconds=seconds, nats=nats, percent=percent, title=title, part=part)
    return made


@cache
def _source(name: str) -> Markup:
    """Return a file of our own as it is; nothing of users or models is ever in it."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
