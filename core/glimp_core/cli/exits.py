"""Converts the exceptions of a command to one line on stderr and an exit code."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from glimp_core.errors import Cancelled, ConfigError, ContextOverflowError, ModelLoadError, UnsupportedSchemaError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
DOES_NOT_FIT = 3
"""Two models that were read, and cannot work as a pair (`glimp check`)."""


def code_of(command: Callable[[], Any]) -> int:
    """Run a command; print what went wrong in one line, and return the exit code."""
    try:
        code = command()
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except (KeyboardInterrupt, Cancelled):
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_is_gone()
    except Exception as error:
        say(f"error: {message(error)}")
        return _failure(error)


def message(error: Exception) -> str:
    """Return an error in one line."""
    told = error.format_message() if hasattr(error, "format_message") else str(error)
    return " ".join(told.split()) or type(error).__name__


def say(line: str) -> None:
    """Print one line on stderr."""
    with suppress(OSError, ValueError):  # nobody reads stderr, or it is closed
        print(f"glimp: {line}", file=sys.stderr, flush=True)  # noqa: T201


def _failure(error: Exception) -> int:
    if isinstance(error, (ConfigError, ModelLoadError, ContextOverflowError, UnsupportedSchemaError)):
        return BAD_INPUT
    return int(getattr(error, "exit_code", FAILED))  # typer's own: 2 for a wrong use


def _reader_is_gone() -> int:
    """Replace stdout, which has no reader any more, so that Python prints no error about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
