"""The questions that a calibration asks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.errors import ConfigError
from glimp_core.types import Message

FIRST_SEED = HELD_OUT + 500_000
"""The bundled set begins here: neither training, demo nor benchmark uses these problems."""


def bundled_prompts(n: int) -> list[list[Message]]:
    """Return puzzles that the bundled pair has never seen."""
    return [[_asked(make_problem(FIRST_SEED + at).question)] for at in range(n)]


def read_prompts(path: str | Path, n: int | None = None) -> list[list[Message]]:
    """Return the first `n` prompts of a JSON Lines file, all without one.

    A line is a text, or an object with `messages`, or with `question` or `prompt`. Raises `ConfigError` for a file that
    cannot be read, or a line that is something else.
    """
    try:
        lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the prompts {str(path)!r} cannot be read: {error}") from error
    return [_messages(line, f"{str(path)!r}, line {number}") for number, line in enumerate(lines[:n], 1)]


def _messages(line: str, where: str) -> list[Message]:
    try:
        entry: Any = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    if isinstance(entry, str) and entry:
        return [_asked(entry)]
    if isinstance(entry, Mapping):
        if isinstance(entry.get("messages"), list):
            return list(entry["messages"])
        text = entry.get("question") or entry.get("prompt")
        if isinstance(text, str):
            return [_asked(text)]
    raise ConfigError(f"{where}: a prompt is a text, or an object with `question`, `prompt` or `messages`")


def _asked(text: str) -> Message:
    return {"role": "user", "content": text}
