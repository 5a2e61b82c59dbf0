"""`glimp chat`: a conversation with the pair."""

import contextlib
import json
import sys

import typer

from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import message, say
from glimp_core.cli.reply import reply, start
from glimp_core.cli.run import TINY
from glimp_core.cli.settings import Settings
from glimp_core.cli.view import View
from glimp_core.completion import Completion
from glimp_core.errors import Cancelled, ContextOverflowError, EngineError
from glimp_core.router import GlimpRouter
from glimp_core.types import Message

HELP = "/new starts over, /quit or Ctrl-D leaves, Ctrl-C stops a reply"


@takes_settings
def command(settings: Settings) -> None:
    """Talk with the pair; it remembers the conversation."""
    router, view = start(settings), View.of(settings)
    view.pair(settings)
    if settings.is_bundled:
        say(f"note: {TINY}")
    if sys.stdin.isatty():
        say(HELP)
    history = settings.conversation()
    while (question := _ask()) is not None:
        if question == "/new":
            history = settings.conversation()
        elif question:
            history += _turn(router, history, question, view, settings)


def _turn(router: GlimpRouter, history: list[Message], question: str, view: View, settings: Settings) -> list[Message]:
    """Answer one question; returns what the conversation grows by, nothing where there is no reply."""
    asked: Message = {"role": "user", "content": question}
    try:
        done = reply(router, [*history, asked], view)
    except Cancelled:
        say("stopped; this question and its reply are forgotten")
        return []
    except (ContextOverflowError, EngineError) as error:
        if not sys.stdin.isatty():
            raise
        say(f"error: {message(error)} (/new starts over)")
        return []
    view.note(done)
    if settings.json:
        typer.echo(json.dumps(done.document()))
    return [asked, _answered(done)]


def _answered(done: Completion) -> Message:
    thought = {"reasoning_content": done.reasoning} if done.reasoning else {}
    return {"role": "assistant", "content": done.answer, **thought}


def _ask() -> str | None:
    """Return the next question, None at the end of the conversation."""
    typed = sys.stdin.isatty()
    if typed:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # line editing and history for input()
    try:
        question = input("> " if typed else "").strip()
    except (EOFError, KeyboardInterrupt) as left:
        if typed:
            typer.echo(err=True)  # the shell's prompt starts on a line of its own
        if isinstance(left, KeyboardInterrupt):
            raise
        return None
    return None if question in ("/quit", "/exit") else question
