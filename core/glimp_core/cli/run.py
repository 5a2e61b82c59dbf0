"""`glimp run`: one question, one answer."""

import json
import sys
from typing import Annotated

import typer

from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import say
from glimp_core.cli.reply import reply, start
from glimp_core.cli.settings import Settings
from glimp_core.cli.view import View
from glimp_core.errors import ConfigError

TINY = (
    "this is the bundled pair, which only knows the puzzles of `glimp demo`: name your models with --small and --large"
)


@takes_settings
def command(
    settings: Settings,
    question: Annotated[str, typer.Argument(help="The question, or - to read it from stdin.", show_default=False)],
) -> None:
    """Have the pair answer one question."""
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise ConfigError("the question is empty: write it after `glimp run`, or pipe it in and pass -")
    router, view = start(settings), View.of(settings)
    view.pair(settings)
    if settings.is_bundled:
        say(f"note: {TINY}")
    done = reply(router, [*settings.conversation(), {"role": "user", "content": text}], view)
    view.close(done)
    if settings.json:
        typer.echo(json.dumps(done.document()))
