"""A reply as HTML for a notebook, and the templates; every word of users and models is escaped."""

import uuid
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from glimp_core.figures import CompletionLike, summarise
from glimp_core.views.columns import Column, nats, picture, seconds, without_text

TEMPLATES = Path(__file__).parent / "templates"

Tile = tuple[str, str, str]
"""A figure: its label, its value, and a note."""


def cell(done: CompletionLike) -> str:
    """Return a reply as a fragment for a notebook."""
    template = environment().get_template("cell.html")
    name = f"g{uuid.uuid4().hex[:8]}"
    return template.render(done=done, drawn=picture(done), figures=tiles(done), id=name, css=source("style.css"))


def tiles(done: CompletionLike) -> list[Tile]:
    """Return the figures of a reply."""
    told, usage = summarise(done), done.usage
    steps = f"{sum(r.decision.intervene for r in done.routed)} of {told.routed_steps} steps"
    alone = told.large_alone_seconds
    return [
        ("intervention rate", percent(told.intervention_rate), steps),
        ("large model wrote", percent(told.large_token_share), f"of {usage.completion_tokens} tokens"),
        ("time", seconds(told.seconds), ""),
        ("large model alone", "unknown" if alone is None else seconds(alone), "" if alone is None else "estimate"),
        ("ended", done.finish_reason, f"thinking: {told.thinking_end}" if told.thinking_end else ""),
    ]


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
def environment() -> Environment:
    """Return the environment of the templates."""
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    made.globals.update(without_text=without_text, seconds=seconds, nats=nats, percent=percent, title=title, part=part)
    return made


@cache
def source(name: str) -> Markup:
    """Return a file of our own as it is; nothing of users or models is ever in it."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
