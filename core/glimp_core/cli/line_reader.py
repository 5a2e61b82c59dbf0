"""Input from stdin, decoded or refused, and a history of lines that is kept for the next chat."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from glimp_core.cli.exits import say
from glimp_core.errors import ConfigError

LINES = 1000
"""The number of lines in the history."""


def whole_stdin() -> str:
    """Read stdin to its end. Raises `ConfigError` for bytes that are invalid in its encoding."""
    return _decoded(sys.stdin.read)


def next_line() -> str | None:
    """Return the next line, stripped, or None at the end. A terminal shows a prompt. Raises `ConfigError`."""
    typed = sys.stdin.isatty()
    try:
        return _decoded(lambda: input("> " if typed else "")).strip()
    except (EOFError, KeyboardInterrupt) as left:
        if typed:
            typer.echo(err=True)  # the shell's prompt starts on a line of its own
        if isinstance(left, KeyboardInterrupt):
            raise
        return None


def _decoded(read: Callable[[], str]) -> str:
    encoding = getattr(sys.stdin, "encoding", None) or "UTF-8"
    wrong: object = None
    try:
        text = read()
        # with the handler surrogateescape, an invalid byte becomes half a surrogate pair
        wrong = next((hex(ord(c) - 0xDC00) for c in text if "\udc80" <= c <= "\udcff"), None)
    except UnicodeDecodeError as error:
        encoding, wrong = error.encoding, hex(error.object[error.start])
    if wrong is not None:
        raise ConfigError(
            f"what is read from stdin is not in {encoding}: it has the byte {wrong}. Convert it (iconv -f LATIN1 "
            "-t UTF-8), or name its encoding in PYTHONIOENCODING"
        )
    return text


@contextlib.contextmanager
def kept_history(wanted: bool) -> Iterator[None]:
    """In a terminal, make lines editable as in a shell, with the history of earlier chats if `wanted`."""
    readline = _readline() if sys.stdin.isatty() else None
    if readline is None:
        yield
        return
    path = history_path()
    if wanted:
        with contextlib.suppress(OSError):  # in the first chat there is no file
            readline.read_history_file(path)
    try:
        yield
    finally:
        if wanted:
            _write(readline, path)


def history_path() -> Path:
    """Return the path of the history, in the state folder of the XDG specification."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
    return folder / "glimp" / "chat_history"


def _readline() -> Any:
    try:
        import readline
    except ImportError:  # Windows, and builds without it
        return None
    return readline


def _write(readline: Any, path: Path) -> None:
    """Write the history to a file that only its owner can read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        readline.set_history_length(LINES)
        readline.write_history_file(path)
    except OSError as error:
        say(f"note: the history of this chat is not kept: {path}: {error.strerror}")
