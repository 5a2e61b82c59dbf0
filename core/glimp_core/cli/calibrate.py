"""`glimp calibrate`: finds the threshold for a goal and writes it to a profile."""

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from glimp_core.calibration import Goal, bundled_prompts, calibrating, read_prompts
from glimp_core.calibration.search import CalibrationPrompt
from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import say
from glimp_core.cli.reply import interrupts_set, start
from glimp_core.cli.settings import Settings
from glimp_core.errors import ConfigError
from glimp_core.profile import Profile
from glimp_core.router import GlimpRouter

BUNDLED_SIZE = 60
ROWS = 9


@takes_settings
def command(
    settings: Settings,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="A JSON Lines file: texts, or objects with `question`, `prompt` or `messages`. "
                     "Default: the puzzles of the bundled pair."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--target-rate", help="The large model's share of the steps. Default: 0.25.")
    ] = None,
    share: Annotated[float | None, typer.Option("--target-share", help="The large model's share of tokens.")] = None,
    time: Annotated[float | None, typer.Option("--target-seconds", help="Mean seconds per question.")] = None,
    n: Annotated[
        int | None, typer.Option("--n", help=f"Number of prompts. Default: all; {BUNDLED_SIZE} of the bundled ones.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file for the profile.")] = Path("glimp-profile.json"),
) -> None:  # fmt: skip
    """Find the threshold for a share of the steps or of the tokens by the large model, or for a time per question."""
    if settings.threshold is not None or settings.profile is not None:
        raise ConfigError("calibrating finds the threshold: leave out --threshold and --profile")
    if settings.file and settings.file.policy is not None:
        say("note: calibrating finds the threshold; the one of the pair file is not used")
    goal = _goal(rate, share, time)
    questions = _questions(settings, prompts, n)
    _require_writable(out)
    router = start(settings)
    profile = _calibrate(router, questions, goal)
    profile.save(out)
    say(f"wrote {out}: use it with --profile {out}, or load_profile({str(out)!r})")
    if settings.json:
        typer.echo(json.dumps(profile.document()))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(_shown(profile, goal))


def _require_writable(out: Path) -> None:
    """Raise `ConfigError` before the calibration if the profile cannot be written."""
    there = out.exists()
    try:
        with out.open("a"):
            pass
        if not there:
            out.unlink()
    except OSError as error:
        raise ConfigError(f"--out {str(out)!r} cannot be written: {error.strerror}") from error


def _goal(rate: float | None, share: float | None, time: float | None) -> Goal:
    named = {"rate": rate, "share": share, "seconds": time}
    given: list[Any] = [(name, value) for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise ConfigError("give one target: --target-rate, --target-share or --target-seconds")
    return Goal(*given[0]) if given else Goal("rate", 0.25)


def _questions(settings: Settings, prompts: Path | None, n: int | None) -> Sequence[CalibrationPrompt]:
    if n is not None and n < 1:
        raise ConfigError(f"--n {n} cannot work: it is a number of prompts")
    if prompts is None and not settings.is_bundled:
        say("note: calibrating on the bundled puzzles; prompts like yours (--prompts FILE) give a better threshold")
    chosen = read_prompts(prompts, n) if prompts else bundled_prompts(n or BUNDLED_SIZE)
    return [[*settings.conversation(), *messages] for messages in chosen]


def _calibrate(router: GlimpRouter, questions: Sequence[CalibrationPrompt], goal: Goal) -> Profile:
    cancelled = threading.Event()
    steps = calibrating(router, questions, goal, cancelled=cancelled)
    with _bar() as bar, closing(steps), interrupts_set(cancelled):
        task = bar.add_task("loading the models", total=len(questions))
        while True:
            try:
                at = next(steps)
            except StopIteration as stopped:
                return stopped.value  # type: ignore[no-any-return]
            bar.update(task, description=at.what, completed=at.done, total=at.of)


@contextmanager
def _bar() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        yield bar


def _shown(profile: Profile, goal: Goal) -> RenderableType:
    low, high = profile.interval
    measured = {
        "rate": f"{profile.measured_rate:.1%} of the steps",
        "share": f"{profile.measured_share:.1%} of the tokens",
        "seconds": f"{profile.measured_seconds:.2f} s a question",
    }
    wanted = f"{goal.value:g} s a question" if goal.measure == "seconds" else f"{goal.value:.1%}"
    lines = [
        f"threshold {profile.threshold:.4g} nats, 95 % interval {low:.4g} to {high:.4g}",
        f"asked for {goal.measure} {wanted}; measured on {profile.checked} other prompts: {measured[goal.measure]} "
        f"(rate {profile.measured_rate:.1%}, large model's tokens {profile.measured_share:.1%})",
        "",
        f"What other thresholds would give, from {profile.steps} steps:",
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("threshold", "rate", "large tokens", "seconds"):
        table.add_column(name, justify="right")
    for point in profile.curve[:: max(1, len(profile.curve) // ROWS)]:
        row = f"{point.threshold:.3g}", f"{point.rate:.0%}", f"{point.large_token_share:.0%}", f"{point.seconds:.2f}"
        table.add_row(*row)
    return Group(Text("\n".join(lines)), table)
