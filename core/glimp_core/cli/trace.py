"""`glimp trace`: shows the requests of a trace file."""

import json
import sys
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from glimp_core.cli.exits import say
from glimp_core.cli.settings import JsonOption
from glimp_core.errors import ConfigError
from glimp_core.policy import EntropyThreshold
from glimp_core.trace import Overview, Replay, Run, load, replay

Replays = list[tuple[str, Replay]]


def command(
    file: Annotated[Path, typer.Argument(help="A trace, as `glimp run --trace FILE` writes it.", show_default=False)],
    html: Annotated[Path | None, typer.Option("--html", help="Write one web page, which needs no network.")] = None,
    run: Annotated[int | None, typer.Option("--run", help="Show only this request; the first is 1.")] = None,
    thresholds: Annotated[
        str | None,
        typer.Option("--replay-threshold", help="Show the decisions of these thresholds, for example 0.5,1,1.5."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a trace: the writer, the entropy and the time of each step, and the decisions of other thresholds."""
    wanted = _numbers(thresholds)
    problems: list[str] = []
    runs = _chosen(load(file, problems), run, file)
    for problem in problems:
        say(f"note: {problem}")
    replays = _replays(runs, wanted)
    if html is not None:
        _write(html, runs, replays)
    if as_json:
        typer.echo(json.dumps(_document(runs, replays)))
    elif html is None:
        _show(runs, replays)


def _chosen(runs: list[Run], number: int | None, file: Path) -> list[Run]:
    if number is None:
        return runs
    if not 1 <= number <= len(runs):
        raise ConfigError(f"--run {number}: {str(file)!r} has {len(runs)} requests, numbered from 1")
    return [runs[number - 1]]


def _numbers(given: str | None) -> list[float]:
    try:
        return [float(part) for part in given.split(",")] if given else []
    except ValueError:
        raise ConfigError(f"--replay-threshold {given!r}: give entropies in nats, for example 0.5,1,1.5") from None


def _replays(runs: list[Run], thresholds: list[float]) -> Replays:
    """Return the decisions of each threshold on all runs together, after the recorded ones."""
    if not thresholds:
        return []
    recorded = reduce(add, [replay(run.completion, _Recorded(run)) for run in runs])
    told = [("recorded", recorded)]
    for threshold in thresholds:
        policies = [EntropyThreshold(threshold, run.head.entropy, run.head.on_tie) for run in runs]
        pairs = zip(runs, policies, strict=True)
        told.append((f"{threshold:g}", reduce(add, [replay(run.completion, policy) for run, policy in pairs])))
    return told


class _Recorded:
    """A policy that repeats the recorded decisions."""

    def __init__(self, run: Run):
        self._decisions = iter([routed.decision for routed in run.completion.routed])

    def decide(self, *_: Any) -> Any:
        """Return the next recorded decision."""
        return next(self._decisions)


def _write(path: Path, runs: list[Run], replays: Replays) -> None:
    from glimp_core.trace.page import page

    try:
        path.write_text(page(runs, replays), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html {str(path)!r} cannot be written: {error.strerror}") from error
    say(f"wrote {path}")


def _show(runs: list[Run], replays: Replays) -> None:
    from glimp_core.trace import console as views

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(views.run(runs[0]) if len(runs) == 1 else views.overview(runs))
    if replays:
        console.print("", views.replays(replays), sep="\n")


def _document(runs: list[Run], replays: Replays) -> dict[str, Any]:
    return {
        "runs": [_run(run) for run in runs],
        "overview": Overview.of(runs).document(),
        "replays": [
            {
                "threshold": name if name == "recorded" else float(name),
                "exact": told.exact,
                "intervention_rate": told.intervention_rate,
                "bounds": [told.lowest_rate, told.highest_rate],
                "large_token_share": told.large_token_share,
                "seconds": told.seconds,
            }
            for name, told in replays
        ],
    }


def _run(run: Run) -> dict[str, Any]:
    done = run.completion
    return {
        **run.head.model_dump(mode="json", exclude={"start", "kind", "glimp"}),
        "finished": run.finished,
        "broken": run.broken and run.broken.error,
        "decisions": [{"index": routed.index, **asdict(routed.decision)} for routed in done.routed],
        **done.document(),
    }
