"""`glimp bench`: compares methods (each model alone, the pair, and others) on questions with known answers."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from glimp_core.bench import KINDS, table
from glimp_core.bench.estimate import in_words
from glimp_core.bench.preset import PRESETS
from glimp_core.bench.questions import SETS
from glimp_core.bench.records import held
from glimp_core.cli import speed
from glimp_core.cli.command import takes_settings
from glimp_core.cli.experiment import Experiment, Wanted
from glimp_core.cli.settings import Settings, option

METHODS = (
    f"{', '.join(KINDS)}; with a number after @, or several separated by /, as in glimp@0.1/0.3 or random@0.25. "
    "random without a number has the intervention rate of glimp."
)

WIDE = 160
"""The width of a table in columns if stdout is not a terminal."""

app = typer.Typer(invoke_without_command=True)


PresetName = Annotated[
    str | None, option("--preset", f"Methods, seeds, sampling and budgets by name: {', '.join(PRESETS)}.")
]
Questions = Annotated[str, option("--set", f"The questions: {SETS}. Default: tiny.")]
Methods = Annotated[str | None, option("--methods", f"The methods: {METHODS} Default: small, large, glimp, random.")]
Number = Annotated[int | None, option("--n", "The number of questions. Default: 100; with a preset, all of a file.")]
Seeds = Annotated[int | None, option("--seeds", "Replies to each question, with consecutive seeds from --seed.", min=1)]
CalibrateOn = Annotated[
    str | None,
    option(
        "--calibrate-on", "Choose thresholds on this set, for --target-rate. With a preset: the set's other questions."
    ),
]
TargetRateOption = Annotated[
    str | None, option("--target-rate", "Intervention rates of the calibration, as in 0.25 or 0.25/0.125/0.5.")
]
Out = Annotated[
    Path | None,
    option("--out", "Save every reply in this JSON Lines file, and skip the replies that it has.", dir_okay=False),
]
Html = Annotated[Path | None, option("--html", "Write a report for the browser to this file.", dir_okay=False)]
DryRun = Annotated[bool, option("--dry-run", "Estimate the time of the run from a short measurement, and stop.")]
AtOnce = Annotated[
    int,
    option(
        "--at-once", "Replies that are written at the same time; with more than one, times are not comparable.", min=1
    ),
]
Instruction = Annotated[
    str | None, option("--instruction", "Text after each question, in place of the set's own instruction.")
]
RunCode = Annotated[bool, option("--run-code", "Grade programs by running them, with limits but without a sandbox.")]


@app.callback()
@takes_settings
def command(
    settings: Settings,
    context: typer.Context,
    preset: PresetName = None,
    questions: Questions = "tiny",
    methods: Methods = None,
    n: Number = None,
    seeds: Seeds = None,
    calibrate_on: CalibrateOn = None,
    target_rate: TargetRateOption = None,
    out: Out = None,
    html: Html = None,
    dry_run: DryRun = False,
    at_once: AtOnce = 1,
    instruction: Instruction = None,
    run_code: RunCode = False,
) -> None:
    """Compare methods on a set of questions; --seed selects other questions."""
    if context.invoked_subcommand is not None:
        return
    wanted = Wanted(
        preset, questions, methods, n, seeds, calibrate_on, target_rate, out, html, at_once, instruction, run_code
    )
    with held(None if dry_run else wanted.kept_in):
        experiment = Experiment.of(settings, wanted)
        document = experiment.cost() if dry_run else experiment.run()
    if settings.json:
        typer.echo(json.dumps(document))
    else:
        shown = in_words(document) if dry_run else table(document)
        Console(width=None if sys.stdout.isatty() else WIDE).print(shown)


app.command("speed")(speed.command)
