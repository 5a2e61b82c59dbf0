"""JSON values of callers: they are converted to JSON's own types, and half surrogate pairs are replaced.

JSON files, PDF readers and argument lists leave halves of surrogate pairs in texts.
"""

from collections.abc import Callable, Mapping
from typing import Any

from glimp_core.errors import ConfigError, shown

MAX_DEPTH = 400
"""The deepest nesting: templates and JSON writers are recursive, and must stay far below Python's limit."""
MAX_VALUES = 2_000_000
"""The most parts: a value that contains itself would have infinitely many."""


def in_json_types(name: str, value: Any) -> Any:
    """Return a copy in which every mapping is a dict and every sequence a list; other values are kept as they are.

    Raises `ConfigError` for what is nested too deep, has too many parts or contains itself, and for a mapping that
    cannot be read.
    """
    whole: list[Any] = [value]
    left: list[tuple[Any, Any, int]] = [(whole, 0, 0)]
    values = 0
    while left:
        holder, place, depth = left.pop()
        part, values = holder[place], values + 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            much = f"nested more than {MAX_DEPTH} levels deep" if depth > MAX_DEPTH else "of too many parts"
            raise ConfigError(f"{name} cannot be {much}, got {shown(value)}: make it smaller, or write it as a text")
        made = _copy(name, part)
        if made is not part:
            holder[place] = made
            left += [(made, key, depth + 1) for key in (made if isinstance(made, dict) else range(len(made)))]
    return whole[0]


def _copy(name: str, part: Any) -> Any:
    if not isinstance(part, (Mapping, list, tuple)):
        return part
    try:
        return dict(part) if isinstance(part, Mapping) else list(part)
    except Exception as error:
        raise ConfigError(f"{name} has a {type(part).__name__} that cannot be read: {error!r:.200}") from error


def mended(text: str) -> str:
    """Return a text with halves of surrogate pairs joined, and those without another half replaced by U+FFFD."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def with_texts(value: Any, change: Callable[[str], str], change_name: Callable[[str], str]) -> Any:
    """Return a copy of JSON with a change to every text and every name of a property. Any depth is allowed."""
    whole: list[Any] = [value]
    left: list[tuple[Any, Any]] = [(whole, 0)]
    made: Any
    while left:
        holder, place = left.pop()
        part = holder[place]
        if isinstance(part, str):
            holder[place] = change(part)
        elif isinstance(part, dict):
            holder[place] = made = {change_name(name): inner for name, inner in part.items()}
            left += [(made, name) for name in made]
        elif isinstance(part, list):
            holder[place] = made = list(part)
            left += [(made, at) for at in range(len(made))]
    return whole[0]
