"""`glimp demo`: the bundled pair solves a generated puzzle, without a network."""

import json

import typer

from glimp_core.bundled.problems import HELD_OUT, Problem, grade, make_problem
from glimp_core.cli.command import takes_settings
from glimp_core.cli.reply import reply, start
from glimp_core.cli.settings import Settings
from glimp_core.cli.view import View
from glimp_core.errors import ConfigError

SHOWN = 3
"""The puzzle without --seed: both models write steps of it."""


@takes_settings
def command(settings: Settings) -> None:
    """Let the bundled pair solve a puzzle that it was not trained on; --seed selects another puzzle."""
    problem = _problem(SHOWN if settings.seed is None else settings.seed)
    router, view = start(settings), View.of(settings)
    view.pair(settings)
    view.write(f"{problem.question}\n\n")
    done = reply(router, [*settings.conversation(), {"role": "user", "content": problem.question}], view)
    right = grade(problem, done.answer)
    view.write("\nright\n" if right else f"\nwrong, the answer is {problem.answer}\n")
    view.close(done)
    if settings.json:
        told = {"question": problem.question, "expected": problem.answer, "correct": right}
        typer.echo(json.dumps({**done.document(), **told}))


def _problem(seed: int) -> Problem:
    if seed < 0:
        raise ConfigError(f"--seed {seed} cannot work: the puzzles are numbered from 0")
    return make_problem(HELD_OUT + seed)
