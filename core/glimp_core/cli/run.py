"""`glimp run`: one question, one answer."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.chat.request.tools import read_choice, read_tools
from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import say
from glimp_core.cli.line_reader import whole_stdin
from glimp_core.cli.reply import reply, start
from glimp_core.cli.settings import Settings
from glimp_core.cli.view import View
from glimp_core.errors import ConfigError
from glimp_core.json_values import mended
from glimp_core.router import StreamOptions

TINY = (
    "this is the bundled pair, which solves only the puzzles of `glimp demo`: name your models with --small and --large"
)


@takes_settings
def command(
    settings: Settings,
    question: Annotated[str, typer.Argument(help="The question, or - to read it from stdin.", show_default=False)],
    schema: Annotated[Path | None, typer.Option(help="A JSON schema file: the answer is JSON that follows it.")] = None,
    tools: Annotated[Path | None, typer.Option(help="A JSON file with the tools that the pair may call.")] = None,
    tool_choice: Annotated[str | None, typer.Option(help="auto, required, none, or the name of one tool.")] = None,
) -> None:
    """Answer one question with the pair."""
    text = whole_stdin() if question == "-" else mended(question)
    if not text.strip():
        raise ConfigError("the question is empty: write it after `glimp run`, or pipe it in and pass -")
    demands = _demands(schema, tools, tool_choice)
    router, view = start(settings), View.of(settings)
    view.pair(settings)
    if settings.is_bundled:
        say(f"note: {TINY}")
    done = reply(router, [*settings.conversation(), {"role": "user", "content": text}], view, **demands)
    view.close(done)
    if settings.json:
        typer.echo(json.dumps(done.document()))


def _demands(schema: Path | None, tools: Path | None, tool_choice: str | None) -> StreamOptions:
    """Return the options of `GlimpRouter.stream` from the files. They are checked before a model loads."""
    demands: StreamOptions = {"tool_choice": tool_choice}
    if schema:
        demands["response_format"] = {"type": "json_schema", "json_schema": {"schema": _schema(schema)}}
    if tools:
        read = _read(tools)
        offered: list[dict[str, Any]] = read if isinstance(read, list) else [read]
        demands["tools"] = offered
        read_choice(tool_choice, read_tools(offered))
    return demands


def _schema(path: Path) -> dict[str, Any]:
    schema = _read(path)
    if not isinstance(schema, dict):
        raise ConfigError(f"{str(path)!r} holds no JSON schema: it must be an object, got {str(schema)[:100]}")
    prepare_schema(schema)
    return schema


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read JSON from {str(path)!r}: {getattr(error, 'strerror', None) or error}"
        ) from error
