"""`glimp bench speed`: compares the engine with its baselines on this machine, one ratio in each row."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from glimp_core.bench.machine import commit, machine
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import say
from glimp_core.cli.reply import start
from glimp_core.cli.settings import Settings

TOKENS = 96
"""The number of routed tokens in each run, unless --max-tokens is set."""

QUESTION = "A train leaves at nine and goes 60 miles an hour for three hours. How far is it? Think step by step."


@takes_settings
def command(
    settings: Settings,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each pair of times is measured.")] = 5,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of torch; with more, times vary more.")] = 1,
    only: Annotated[str | None, typer.Option("--only", help="Measure only rows whose name contains this text.")] = None,
) -> None:
    """Compare the time of the engine with its baselines. Every row is a ratio, measured in one process.

    The visible reply of a pair that does not think is routed, in steps of at most 15 tokens.
    """
    origin = {"machine": machine(), "commit": commit()}
    router = start(settings)
    from glimp_core.bench.speed import Bench, measure, use_threads

    use_threads(threads)
    question = make_problem(HELD_OUT).question if settings.is_bundled else QUESTION
    rows: list[dict[str, Any]] = []
    bench = Bench.of(router, question, settings.max_tokens or TOKENS, rounds)
    for row in measure(bench, only):
        rows.append({**asdict(row), "met": row.met})
        say(f"{row.what}: {row.value:.2f} ({'met' if row.met else 'missed'}, target {row.target:g})")
    small, large = settings.pair
    document = {"rows": rows, "small": small, "large": large, **origin}
    if settings.json:
        typer.echo(json.dumps(document))
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("what", "measured", "target", "met", "on")
    for row in rows:
        sign = ">=" if row["at_least"] else "<="
        met = "yes" if row["met"] else "no"
        table.add_row(row["what"], f"{row['value']:.2f}", f"{sign} {row['target']:g}", met, row["note"])
    return table
