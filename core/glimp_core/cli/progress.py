"""The progress of a long run and its remaining time: a bar in a terminal, or else one line a minute."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from glimp_core.bench import Method, Record
from glimp_core.bench.estimate import Remaining, duration
from glimp_core.bench.runner import Show
from glimp_core.cli.exits import say

EVERY = 60.0
"""Seconds between two lines without a terminal."""


@contextmanager
def progress(remaining: Remaining) -> Iterator[Show]:
    """Show replies as they arrive. Those of an earlier run count too, also for the estimate of the remaining time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    total = remaining.replies
    right: dict[str, list[bool]] = {}
    told = monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("loading the models", total=total, left="")

        def show(method: Method, record: Record) -> None:
            nonlocal told
            remaining.add(method.name, record.seconds)
            right.setdefault(method.label, []).append(record.correct)
            share = sum(right[method.label]) / len(right[method.label])
            left = "" if remaining.seconds is None else f"about {duration(remaining.seconds)} left"
            bar.update(task, advance=1, description=f"{method.label} {share:.0%} right", left=left)
            if bar.disable and monotonic() - told > EVERY:
                told = monotonic()
                say(f"{total - remaining.replies} of {total} replies, {left}")

        yield show
