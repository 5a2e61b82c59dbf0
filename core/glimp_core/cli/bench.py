"""`glimp bench`: small alone, large alone and other ways to share a chain of thought, on questions with answers."""

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glimp_core import __version__
from glimp_core.bench import KINDS, Ledger, Method, Record, parse, question_set, run, summarise, table
from glimp_core.bench.machine import commit, machine
from glimp_core.bench.questions import SETS
from glimp_core.bench.runner import Show
from glimp_core.cli import speed
from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import say
from glimp_core.cli.reply import interrupts_set, start
from glimp_core.cli.settings import Settings
from glimp_core.errors import Cancelled
from glimp_core.router import GlimpRouter

METHODS = (
    f"{', '.join(KINDS)}; a number after @, several after @ parted by /, as in glimp@0.1/0.3 or random@0.25. "
    "random without one takes the intervention rate of glimp."
)

WIDE = 160
"""Columns for a table that no terminal shows."""

app = typer.Typer(invoke_without_command=True)

Questions = Annotated[str, typer.Option("--set", help=f"The questions: {SETS}.")]
Methods = Annotated[str, typer.Option("--methods", help=f"What to compare: {METHODS}")]
Number = Annotated[int, typer.Option("--n", help="How many questions.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Keep every reply in this JSON Lines file, and skip what it has.", dir_okay=False),
]
AtOnce = Annotated[
    int, typer.Option("--at-once", min=1, help="Replies written side by side: sooner done, but their times say little.")
]
Instruction = Annotated[
    str | None, typer.Option("--instruction", help="Put after each question, in place of the set's own words.")
]
RunCode = Annotated[
    bool, typer.Option("--run-code", help="Grade programs by running them: limited, but in no sandbox.")
]


@app.callback()
@takes_settings
def command(
    settings: Settings,
    context: typer.Context,
    questions: Questions = "tiny",
    methods: Methods = "small,large,glimp,random",
    n: Number = 100,
    out: Out = None,
    at_once: AtOnce = 1,
    instruction: Instruction = None,
    run_code: RunCode = False,
) -> None:
    """Compare methods on a set of questions; --seed picks other questions."""
    if context.invoked_subcommand is not None:
        return
    chosen = parse(methods)
    asked = question_set(questions, n, settings.seed or 0, instruction, run_code)
    if len(asked) < n:
        say(f"note: {questions} has {len(asked)} questions, not {n}")
    origin = {"command": shlex.join(["glimp", *sys.argv[1:]]), "commit": commit(), "machine": machine()}
    router = start(settings)
    setting = {"at_once": at_once, **_setting(settings, router)}
    ledger = Ledger(out, {"set": questions, "instruction": instruction, **setting})
    cancelled = threading.Event()
    try:
        with _progress(len(chosen) * len(asked)) as show, interrupts_set(cancelled):
            settled = run(router, chosen, asked, ledger, settings.conversation(), show, cancelled, at_once)
    except (Cancelled, KeyboardInterrupt):
        say(
            f"stopped after {len(ledger)} replies, " + (f"kept in {out}" if out else "none kept: --out FILE keeps them")
        )
        raise
    document = {"set": questions, **setting, **summarise(ledger, settled, asked, settings.seed or 0)}
    _report(settings, {**document, **origin})


def _setting(settings: Settings, router: GlimpRouter) -> dict[str, Any]:
    """What every reply depends on, apart from question and method."""
    small, large = settings.pair
    sampling = {name: value for name, value in asdict(router.sampling).items() if value not in (None, ())}
    config = asdict(router.config)
    return {"small": small, "large": large, "sampling": sampling, "config": config, "version": __version__}


@contextmanager
def _progress(total: int) -> Iterator[Show]:
    """A bar on stderr, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    right: dict[str, list[bool]] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("loading the models", total=total)

        def show(method: Method, record: Record) -> None:
            right.setdefault(method.label, []).append(record.correct)
            share = sum(right[method.label]) / len(right[method.label])
            bar.update(task, advance=1, description=f"{method.label} {share:.0%} right")

        yield show


def _report(settings: Settings, document: dict[str, Any]) -> None:
    if not settings.json:
        Console(width=None if sys.stdout.isatty() else WIDE).print(table(document))
        return
    typer.echo(json.dumps(document))


app.command("speed")(speed.command)
