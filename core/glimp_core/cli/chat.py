"""`glimp chat`: a conversation with the pair."""

import difflib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

import typer

from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import message, say
from glimp_core.cli.line_reader import history_path, kept_history, next_line
from glimp_core.cli.reply import reply, start
from glimp_core.cli.run import TINY
from glimp_core.cli.settings import Settings
from glimp_core.cli.view import View
from glimp_core.completion import Completion
from glimp_core.errors import Cancelled, ConfigError, ContextOverflowError, EngineError
from glimp_core.policy import EntropyThreshold
from glimp_core.router import GlimpRouter, StreamOptions
from glimp_core.types import Message, Role
from glimp_core.views import terminal

KEPT = str(history_path()).replace(str(history_path().home()), "~")


@takes_settings
def command(
    settings: Settings,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help=f"Save the typed lines for the next chat ({KEPT}).")
    ] = True,
) -> None:
    """Chat with the pair, which remembers the conversation. /help lists the commands."""
    router, view = start(settings), View.of(settings)
    view.pair(settings)
    if settings.is_bundled:
        say(f"note: {TINY}")
    if sys.stdin.isatty():
        say("/help lists the commands, Ctrl-C stops a reply, Ctrl-D leaves")
    chat = Chat(router, view, settings)
    with kept_history(history):
        while (typed := next_line()) is not None and chat.take(typed):
            pass


@dataclass
class Chat:
    """A conversation and its settings; `take` handles each typed line."""

    router: GlimpRouter
    view: View
    settings: Settings
    messages: list[Message] = field(default_factory=list[Message])
    alone: Role | None = None
    last: Completion | None = None

    def __post_init__(self) -> None:
        self.messages = self.settings.conversation()

    def take(self, typed: str) -> bool:
        """Answer a question, or run a command. Returns False for the command that leaves."""
        name, _, argument = typed.partition(" ")
        if name in ("/quit", "/exit"):
            return False
        if not re.fullmatch("/[a-z]*", name):
            if typed:
                self._answer(typed)
            return True
        try:
            _command(name)(self, argument.strip())
        except ConfigError as error:
            if not sys.stdin.isatty():
                raise
            say(f"error: {message(error)}")
        return True

    def new(self, argument: str) -> None:
        """Forget the conversation"""
        self.messages = self.settings.conversation()

    def threshold(self, argument: str) -> None:
        """Set the entropy above which the large model writes a step (/threshold 0.5)"""
        if argument:
            try:
                value = float(argument)
            except ValueError:
                raise ConfigError(
                    f"/threshold {argument!r} is no number: write it in nats, as in /threshold 0.5"
                ) from None
            self.router.policy = EntropyThreshold.of(value, self.router.config)
        say(f"who writes a step: {self.router.policy!r}")

    def model(self, argument: str) -> None:
        """Answer with one model alone, or with both (/model small, /model large, /model pair)"""
        if argument not in ("", "small", "large", "pair"):
            raise ConfigError(f"/model {argument!r} is none of small, large and pair")
        if argument:
            self.alone = None if argument == "pair" else cast(Role, argument)
        small, large = self.settings.pair
        names = {"small": f"the small model alone, {small}", "large": f"the large model alone, {large}"}
        say(f"who writes: {names[self.alone] if self.alone else f'{small} + {large}'}")

    def trace(self, argument: str) -> None:
        """Show the writer, the entropy and the time of each step of the last reply"""
        if self.last is None:
            raise ConfigError("/trace has no reply to show yet: ask something first")
        self.view.console.print(terminal.reply(self.last))

    def help(self, argument: str) -> None:
        """List the commands"""
        lines = [f"/{name:10} {did.__doc__}" for name, did in COMMANDS.items()]
        self.view.write("\n".join([*lines, f"/{'quit':10} leave, as Ctrl-D does; Ctrl-C stops a reply"]) + "\n")

    def _answer(self, question: str) -> None:
        """Answer one question. A question without a reply is not remembered."""
        asked: Message = {"role": "user", "content": question}
        options: StreamOptions = {"alone": self.alone} if self.alone else {}
        try:
            done = reply(self.router, [*self.messages, asked], self.view, **options)
        except Cancelled:
            say("stopped; this question and its reply are forgotten")
            return
        except (ContextOverflowError, EngineError) as error:
            if not sys.stdin.isatty():
                raise
            say(f"error: {message(error)} (/new starts over)")
            return
        self.last = done
        self.view.note(done)
        if self.settings.json:
            typer.echo(json.dumps(done.document()))
        thought = {"reasoning_content": done.reasoning} if done.reasoning else {}
        self.messages += [asked, {"role": "assistant", "content": done.answer, **thought}]


COMMANDS: dict[str, Callable[[Chat, str], None]] = {
    "help": Chat.help, "new": Chat.new, "threshold": Chat.threshold, "model": Chat.model, "trace": Chat.trace,
}  # fmt: skip
"""The commands after a slash. Their docstrings are the lines of /help."""


def _command(name: str) -> Callable[[Chat, str], None]:
    if (found := COMMANDS.get(name[1:])) is None:
        close = difflib.get_close_matches(name[1:], [*COMMANDS, "quit"], n=1)
        meant = f"did you mean /{close[0]}?" if close else "/help lists them"
        raise ConfigError(f"there is no command {name}: {meant} (a question that starts so needs a word before it)")
    return found
